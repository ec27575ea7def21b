/** Certificates and API keys for the real clients of a test: one throw-away CA, short lives, files as programs want them. */
import {
  createHash,
  createPrivateKey,
  createPublicKey,
  generateKeyPairSync,
  randomBytes,
  sign,
  type KeyObject,
} from 'node:crypto';
import { mkdir, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { bitString, bool, context, integer, name, objectId, octets, pem, sequence, utcTime } from './der.ts';

const lifeMs = 24 * 3600_000;
const clockSkewMs = 3600_000;

/** Object identifiers of RFC 5280 and RFC 5758. */
const oid = {
  ecdsaWithSha256: '1.2.840.10045.4.3.2',
  basicConstraints: '2.5.29.19',
  keyUsage: '2.5.29.15',
  extendedKeyUsage: '2.5.29.37',
  subjectAltName: '2.5.29.17',
  serverAuth: '1.3.6.1.5.5.7.3.1',
  clientAuth: '1.3.6.1.5.5.7.3.2',
};

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
  await mkdir(folder, { recursive: true });
  const authority = generateKeyPairSync('ec', { namedCurve: 'P-256' });
  const caName = 'Sello test CA';
  const caExtensions = [
    extension(oid.basicConstraints, true, sequence(bool(true))),
    extension(oid.keyUsage, true, Buffer.of(0x03, 0x02, 0x01, 0x06)), // keyCertSign, cRLSign
  ];
  const ca = join(folder, 'ca.crt');
  await writeFile(ca, certificate(caName, caName, authority.publicKey, authority.privateKey, caExtensions));

  let issued = 0;
  async function issue(commonName: string, usage: 'server' | 'client'): Promise<CertificateFiles> {
    const keys = generateKeyPairSync('ec', { namedCurve: 'P-256' });
    const extensions = [
      extension(oid.basicConstraints, true, sequence()),
      extension(oid.keyUsage, true, Buffer.of(0x03, 0x02, 0x07, 0x80)), // digitalSignature
      extension(
        oid.extendedKeyUsage,
        false,
        sequence(objectId(usage === 'server' ? oid.serverAuth : oid.clientAuth)),
      ),
    ];
    if (usage === 'server') {
      const names = sequence(context(2, Buffer.from('localhost')), context(7, Buffer.of(127, 0, 0, 1)));
      extensions.push(extension(oid.subjectAltName, false, names));
    }
    // Two servers that start at once ask for the same name: a certificate of the one and a key of the other are no pair.
    const pair = join(folder, `${commonName}-${String(++issued)}`);
    const cert = `${pair}.crt`;
    const key = `${pair}.key`;
    await writeFile(cert, certificate(commonName, caName, keys.publicKey, authority.privateKey, extensions));
    await writeFile(key, keys.privateKey.export({ format: 'pem', type: 'pkcs8' }), { mode: 0o600 });
    return { cert, key, identity: identityOf(keys.publicKey) };
  }

  return { ca, issue };
}

/** A new API key: `kes:v1:` + base64(0x00 ‖ Ed25519 seed); its identity is that of the public key (KES format). */
export function createApiKey(): ApiKey {
  const seed = randomBytes(32);
  const pkcs8 = Buffer.concat([Buffer.from('302e020100300506032b657004220420', 'hex'), seed]);
  const privateKey = createPrivateKey({ key: pkcs8, format: 'der', type: 'pkcs8' });
  return {
    text: `kes:v1:${Buffer.concat([Buffer.of(0), seed]).toString('base64')}`,
    identity: identityOf(createPublicKey(privateKey)),
  };
}

function identityOf(publicKey: KeyObject): string {
  return createHash('sha256')
    .update(publicKey.export({ format: 'der', type: 'spki' }))
    .digest('hex');
}

/** A version 3 certificate (RFC 5280 §4.1) as PEM. */
function certificate(
  subject: string,
  issuer: string,
  publicKey: KeyObject,
  signer: KeyObject,
  extensions: readonly Buffer[],
): string {
  const now = Date.now();
  const body = sequence(
    context(0, integer(Buffer.of(2)), 'constructed'),
    integer(Buffer.concat([Buffer.of(1), randomBytes(15)])),
    sequence(objectId(oid.ecdsaWithSha256)),
    name(issuer),
    sequence(utcTime(new Date(now - clockSkewMs)), utcTime(new Date(now + lifeMs))),
    name(subject),
    publicKey.export({ format: 'der', type: 'spki' }),
    context(3, sequence(...extensions), 'constructed'),
  );
  const signature = sign('sha256', body, signer);
  return pem('CERTIFICATE', sequence(body, sequence(objectId(oid.ecdsaWithSha256)), bitString(signature)));
}

function extension(id: string, critical: boolean, value: Buffer): Buffer {
  return sequence(objectId(id), ...(critical ? [bool(true)] : []), octets(value));
}
