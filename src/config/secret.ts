/** Secrets live outside the configuration: in a file, an environment variable or a systemd credential. */
import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import { SelloError } from '../errors.ts';
import type { Environment } from './environment.ts';
import type { AnySecret, SecretSource } from './model.ts';

/** Root keys and passwords are short. */
const maxSecretBytes = 64 * 1024;

/**
 * The secret's bytes, as they are but for one line end at the end. The caller owns and wipes them.
 * @throws SelloError SELLO_CONFIG_INVALID with the place, never the secret, in its detail
 */
export function readSecret(source: AnySecret, env: Environment = process.env): Buffer {
  const bytes =
    source.from === 'env'
      ? fromVariable(source.name, env)
      : source.from === 'text'
        ? source.text.reveal()
        : fromFile(secretFile(source, env));
  let length = bytes.length;
  if (bytes[length - 1] === 0x0a) length--;
  if (bytes[length - 1] === 0x0d) length--;
  if (length === 0) throw unreadable(`${describeSecret(source)} is empty`);
  if (length === bytes.length) return bytes;
  const secret = Buffer.allocUnsafeSlow(length);
  bytes.copy(secret);
  bytes.fill(0);
  return secret;
}

/** Where a secret is, for messages. */
export function describeSecret(source: AnySecret): string {
  if (source.from === 'file') return `file '${source.path}'`;
  if (source.from === 'text') return 'secret in the configuration';
  return source.from === 'env' ? `environment variable '${source.name}'` : `credential '${source.name}'`;
}

/** systemd.exec(5), LoadCredential=: one file per credential in $CREDENTIALS_DIRECTORY. */
export function secretFile(source: Exclude<SecretSource, { from: 'env' }>, env: Environment): string {
  if (source.from === 'file') return source.path;
  const folder = env['CREDENTIALS_DIRECTORY'];
  if (folder === undefined || folder === '') {
    throw unreadable(`credential '${source.name}': CREDENTIALS_DIRECTORY is not set`);
  }
  return join(folder, source.name);
}

function fromVariable(name: string, env: Environment): Buffer {
  const text = Object.hasOwn(env, name) ? env[name] : undefined;
  if (text === undefined) throw unreadable(`environment variable '${name}' is not set`);
  const bytes = Buffer.allocUnsafeSlow(Buffer.byteLength(text));
  bytes.write(text);
  return bytes;
}

function fromFile(path: string): Buffer {
  let bytes: Buffer;
  try {
    bytes = readFileSync(path);
  } catch (cause) {
    throw unreadable(`file '${path}' cannot be read (${errorCodeOf(cause)})`, cause);
  }
  if (bytes.length <= maxSecretBytes) return bytes;
  bytes.fill(0);
  throw unreadable(`file '${path}' is larger than ${maxSecretBytes} bytes`);
}

function unreadable(detail: string, cause?: unknown): SelloError {
  return new SelloError('SELLO_CONFIG_INVALID', { detail, cause });
}

function errorCodeOf(error: unknown): string {
  return error instanceof Error && 'code' in error ? String(error.code) : 'unknown error';
}
