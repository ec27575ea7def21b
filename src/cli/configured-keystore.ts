/** The keystore a configuration file names, opened for work on its keys. */
import { readFile, stat } from 'node:fs/promises';
import path from 'node:path';
import type { KeystoreConfig, TenantConfig } from '../config/model.ts';
import { SelloError } from '../errors.ts';
import type { Keystore } from '../keystores/index.ts';
import { toConfigFailure } from './config-failure.ts';
import { Failure, fileFailure } from './failure.ts';
import { type Io, pathOf } from './io.ts';

/** Which keystore a configuration file names, and for which tenant. Nothing is opened. */
export interface NamedKeystore {
  readonly keystore: KeystoreConfig;
  readonly tenant: string;
}

type FileConfig = Extract<KeystoreConfig, { kind: 'file' }>;

/** {@link keystoreOf} for work that only keystores of the kind `file` know. */
export async function fileKeystoreOf(
  io: Io,
  file: string,
  tenantName?: string,
): Promise<{ readonly keystore: FileConfig; readonly tenant: string }> {
  const { keystore, tenant } = await keystoreOf(io, file, tenantName);
  if (keystore.kind === 'file') return { keystore, tenant };
  throw new Failure(`keystore of ${file} is of the kind '${keystore.kind}'`, {
    hint:
      keystore.kind === 'fs'
        ? "This is for keystores of the kind 'file'. Copy the folder of an 'fs' keystore as it is; it has no root key."
        : "This is for keystores of the kind 'file'.",
  });
}

export async function keystoreOf(io: Io, file: string, tenantName?: string): Promise<NamedKeystore> {
  const text = await readFile(pathOf(io, file), 'utf8').catch((error: unknown) => {
    throw fileFailure(error, file);
  });
  const { parseConfig } = await import('../config/index.ts');
  let tenants: readonly TenantConfig[];
  try {
    ({ tenants } = parseConfig(await completed(text), {
      file: pathOf(io, file),
      env: io.env,
      workingDirectory: io.cwd,
    }));
  } catch (error) {
    throw toConfigFailure(error, file);
  }
  const { keystore, name } = tenantOf(tenants, tenantName, file);
  return { keystore, tenant: name };
}

/**
 * Opens the keystore of `file`; the caller closes it.
 * @param role a source must be there: stores make their folder when they are first opened, and nothing would come out
 *   of a path that was mistyped, with every sign of success
 */
export async function openKeystoreOf(
  io: Io,
  file: string,
  role: 'source' | 'target',
  tenantName?: string,
): Promise<Keystore> {
  const { keystore } = await keystoreOf(io, file, tenantName);
  if (role === 'source' && 'path' in keystore) {
    const header = keystore.kind === 'file' ? path.join(keystore.path, 'store.json') : keystore.path;
    for (const needed of [keystore.path, header]) {
      await stat(needed).catch((error: unknown) => {
        throw fileFailure(error, needed, `keystore of ${file}`);
      });
    }
  }
  try {
    const { openKeystore } = await import('../keystores/index.ts');
    const opened = await openKeystore(keystore, { env: io.env });
    await opened.health();
    return opened;
  } catch (error) {
    if (!(error instanceof SelloError)) throw error;
    throw new Failure(`keystore of ${file}: ${error.detail ?? error.message}`, {
      hint: 'Is the path right, and does no server have it open?',
      cause: error,
    });
  }
}

export function tenantOf(
  tenants: readonly TenantConfig[],
  name: string | undefined,
  file: string,
): TenantConfig {
  const names = tenants.map((tenant) => tenant.name).join(', ');
  if (name === undefined) {
    if (tenants.length === 1) return tenants[0]!;
    throw new Failure(`${file} has several tenants`, { hint: `Choose one of them: ${names}.` });
  }
  const found = tenants.find((tenant) => tenant.name === name);
  if (found === undefined)
    throw new Failure(`${file} has no tenant '${name}'`, { hint: `There are: ${names}.` });
  return found;
}

/**
 * A KES file for `migrate` may hold its keystore alone. What a server needs besides is added behind the text, so that
 * lines keep their numbers; nothing of it is used.
 */
async function completed(text: string): Promise<string> {
  const { isMap, parseDocument } = await import('yaml');
  const top = parseDocument(text).contents;
  if (!isMap(top) || !top.has('keystore')) return text;
  const added = [
    ...(top.has('admin') || top.has('root') ? [] : ['admin: {identity: disabled}']),
    ...(top.has('tls') ? [] : ['tls: {key: unused, cert: unused}']),
  ];
  return added.length === 0 ? text : `${text.trimEnd()}\n${added.join('\n')}\n`;
}
