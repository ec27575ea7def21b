/** Certificates and API keys for the real clients of a test: one throw-away CA, short lives, files as programs want them. */
import {
  createHash,
  createPrivateKey,
  createPublicKey,
  randomBytes,
  webcrypto,
  X509Certificate,
} from 'node:crypto';
import { mkdir, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import {
  BasicConstraintsExtension,
  cryptoProvider,
  ExtendedKeyUsage,
  ExtendedKeyUsageExtension,
  KeyUsageFlags,
  KeyUsagesExtension,
  PemConverter,
  SubjectAlternativeNameExtension,
  X509CertificateGenerator,
  type X509Certificate as IssuedCertificate,
} from '@peculiar/x509';

const algorithm = { name: 'ECDSA', namedCurve: 'P-256', hash: 'SHA-256' } as const;
const lifeMs = 24 * 3600_000;
const clockSkewMs = 3600_000;

/** A certificate with its key, as PEM files, and the identity KES gives it. */
export interface CertificateFiles {
  readonly cert: string;
  readonly key: string;
  /** Hex SHA-256 of the DER SubjectPublicKeyInfo. */
  readonly identity: string;
}

export interface ApiKey {
  /** `kes:v1:…` */
  readonly text: string;
  readonly identity: string;
}

export interface TestAuthority {
  /** PEM file of the CA. */
  readonly ca: string;
  issue(commonName: string, usage: 'server' | 'client'): Promise<CertificateFiles>;
}

/** A CA whose files live in `folder`. Server certificates are for 127.0.0.1 and localhost. */
export async function createAuthority(folder: string): Promise<TestAuthority> {
  cryptoProvider.set(webcrypto as Crypto);
  await mkdir(folder, { recursive: true });
  const caKeys = await webcrypto.subtle.generateKey(algorithm, true, ['sign', 'verify']);
  const authority = await X509CertificateGenerator.createSelfSigned({
    ...dates(),
    name: 'CN=Sello test CA',
    keys: caKeys,
    signingAlgorithm: algorithm,
    extensions: [
      new BasicConstraintsExtension(true, undefined, true),
      new KeyUsagesExtension(KeyUsageFlags.keyCertSign | KeyUsageFlags.cRLSign, true),
    ],
  });
  const ca = join(folder, 'ca.crt');
  await writeFile(ca, authority.toString('pem'));

  async function issue(commonName: string, usage: 'server' | 'client'): Promise<CertificateFiles> {
    const keys = await webcrypto.subtle.generateKey(algorithm, true, ['sign', 'verify']);
    const issued = await X509CertificateGenerator.create({
      ...dates(),
      subject: `CN=${commonName}`,
      issuer: authority.subject,
      publicKey: keys.publicKey,
      signingKey: caKeys.privateKey,
      signingAlgorithm: algorithm,
      extensions: [
        new BasicConstraintsExtension(false, undefined, true),
        new KeyUsagesExtension(KeyUsageFlags.digitalSignature, true),
        new ExtendedKeyUsageExtension([
          usage === 'server' ? ExtendedKeyUsage.serverAuth : ExtendedKeyUsage.clientAuth,
        ]),
        ...(usage === 'server'
          ? [
              new SubjectAlternativeNameExtension([
                { type: 'ip', value: '127.0.0.1' },
                { type: 'dns', value: 'localhost' },
              ]),
            ]
          : []),
      ],
    });
    const cert = join(folder, `${commonName}.crt`);
    const key = join(folder, `${commonName}.key`);
    const pkcs8 = await webcrypto.subtle.exportKey('pkcs8', keys.privateKey);
    await writeFile(cert, issued.toString('pem'));
    await writeFile(key, PemConverter.encode(pkcs8, 'PRIVATE KEY'), { mode: 0o600 });
    return { cert, key, identity: identityOf(issued) };
  }

  return { ca, issue };
}

/** A new API key: `kes:v1:` + base64(0x00 ‖ Ed25519 seed); its identity is that of the public key (KES format). */
export function createApiKey(): ApiKey {
  const seed = randomBytes(32);
  const pkcs8 = Buffer.concat([Buffer.from('302e020100300506032b657004220420', 'hex'), seed]);
  const privateKey = createPrivateKey({ key: pkcs8, format: 'der', type: 'pkcs8' });
  const spki = createPublicKey(privateKey).export({ format: 'der', type: 'spki' });
  return {
    text: `kes:v1:${Buffer.concat([Buffer.of(0), seed]).toString('base64')}`,
    identity: createHash('sha256').update(spki).digest('hex'),
  };
}

function identityOf(certificate: IssuedCertificate): string {
  const spki = new X509Certificate(certificate.toString('pem')).publicKey.export({
    format: 'der',
    type: 'spki',
  });
  return createHash('sha256').update(spki).digest('hex');
}

function dates(): { serialNumber: string; notBefore: Date; notAfter: Date } {
  return {
    serialNumber: `01${randomBytes(15).toString('hex')}`,
    notBefore: new Date(Date.now() - clockSkewMs),
    notAfter: new Date(Date.now() + lifeMs),
  };
}
