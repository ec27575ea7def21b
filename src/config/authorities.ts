/**
 * What is in the CA files. A CA names the tenant of the certificates it issued, so one CA in two tenants would put
 * clients of one into the other. A CA is its public key: the same key in another file or with another name
 * is the same CA.
 */
import { createHash, X509Certificate } from 'node:crypto';
import { readdir, readFile, realpath, stat } from 'node:fs/promises';
import { join } from 'node:path';
import { isInside, pairs } from './isolation.ts';
import type { IsolationProblem } from './isolation.ts';
import type { Config } from './model.ts';

const pemBlock =
  /-----BEGIN (?:TRUSTED |X509 )?CERTIFICATE-----[\s\S]*?-----END (?:TRUSTED |X509 )?CERTIFICATE-----/g;

/** Every certificate of a PEM text. @throws when there is none or one cannot be parsed */
export function parseCertificates(pem: string): X509Certificate[] {
  const blocks = pem.match(pemBlock);
  if (blocks === null) throw new Error('holds no PEM certificate');
  return blocks.map((block) => new X509Certificate(block));
}

/** The files of a CA setting: itself, or every file of the folder (hidden ones left out, as Kubernetes makes them). */
export async function authorityFiles(path: string): Promise<string[]> {
  if (!(await stat(path)).isDirectory()) return [path];
  const names = (await readdir(path)).filter((name) => !name.startsWith('.')).toSorted();
  const files: string[] = [];
  for (const name of names) if ((await stat(join(path, name))).isFile()) files.push(join(path, name));
  return files;
}

/** Lower-case hex SHA-256 of the public key, as for clients. */
export function publicKeyHash(certificate: X509Certificate): string {
  return createHash('sha256')
    .update(certificate.publicKey.export({ type: 'spki', format: 'der' }))
    .digest('hex');
}

/**
 * Tenants whose CA files hold the same CA, or a CA and one that it issued; and keystores that are one folder by way
 * of symbolic links. Files that cannot be read are left to those who need them.
 */
export async function sharedInTheWorld(config: Config): Promise<IsolationProblem[]> {
  const problems: IsolationProblem[] = [];
  const authorities = await Promise.all(
    config.tenants.map(async ({ name, clients }, tenant) => {
      const used = clients.auth === 'on' && clients.caFile !== undefined;
      return { name, tenant, found: used ? (await readable(clients.caFile)).map(authorityOf) : [] };
    }),
  );
  for (const [a, b] of pairs(authorities)) {
    const overlap = sharedAuthority(a.found, b.found);
    if (overlap === undefined) continue;
    const message = `tenants '${a.name}' and '${b.name}' share a CA: ${overlap}`;
    problems.push({ message, path: ['tenants', b.tenant, 'clients', 'ca'] });
  }
  const stores = await Promise.all(
    config.tenants.map(async ({ name, keystore }, tenant) => ({
      name,
      tenant,
      path: 'path' in keystore ? await realpath(keystore.path).catch(() => undefined) : undefined,
    })),
  );
  for (const [a, b] of pairs(stores)) {
    if (a.path === undefined || b.path === undefined || !isInside(a.path, b.path)) continue;
    const message = `tenants '${a.name}' and '${b.name}' share a keystore: '${a.path}' and '${b.path}'`;
    problems.push({ message, path: ['tenants', b.tenant, 'keystore'] });
  }
  return problems;
}

/** A CA with what is compared, found once: there may be hundreds of tenants, and every two are compared. */
interface Authority {
  readonly certificate: X509Certificate;
  readonly key: string;
  readonly name: string;
}

function authorityOf(certificate: X509Certificate): Authority {
  const name = (certificate.subject ?? '').replaceAll('\n', ', ');
  return { certificate, key: publicKeyHash(certificate), name };
}

function sharedAuthority(as: readonly Authority[], bs: readonly Authority[]): string | undefined {
  for (const a of as) {
    for (const b of bs) {
      if (a.key === b.key) return `'${a.name}' (public key ${a.key})`;
      if (hasIssued(a, b)) return `'${a.name}' has issued '${b.name}'`;
      if (hasIssued(b, a)) return `'${b.name}' has issued '${a.name}'`;
    }
  }
  return undefined;
}

function hasIssued({ certificate: issuer }: Authority, { certificate }: Authority): boolean {
  return certificate.checkIssued(issuer) && certificate.verify(issuer.publicKey);
}

async function readable(path: string): Promise<X509Certificate[]> {
  try {
    const files = await authorityFiles(path);
    const texts = await Promise.all(files.map((file) => readFile(file, 'utf8')));
    return texts.flatMap((text) => {
      try {
        return parseCertificates(text);
      } catch {
        return [];
      }
    });
  } catch {
    return [];
  }
}
