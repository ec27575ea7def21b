/** The root key of a file keystore: 32 bytes from a file, the environment or a systemd credential. */
import { readFile } from 'node:fs/promises';
import path from 'node:path';
import type { Environment } from '../config/environment.ts';
import type { SecretSource } from '../config/model.ts';
import { secretBytes, secretCopy, wipe } from '../crypto/index.ts';
import { SelloError } from '../errors.ts';

export const rootKeyBytes = 32;

/** Longest text form: base64 or hex with white space around. */
const maxTextBytes = 1024;

/**
 * Raw 32 bytes (file and credential only), or their hex or base64 text.
 * @returns memory of its own; the caller wipes it
 * @throws SelloError SELLO_CONFIG_INVALID, never with a byte of the key
 */
export async function readRootKey(source: SecretSource, env: Environment = process.env): Promise<Buffer> {
  switch (source.from) {
    case 'env': {
      const text = env[source.name];
      if (text === undefined || text === '') throw invalid(`environment variable ${source.name} is not set`);
      return decodeText(Buffer.from(text), `environment variable ${source.name}`);
    }
    case 'credential': {
      // systemd.exec(5): LoadCredential= and SetCredentialEncrypted= put files into this folder.
      const folder = env['CREDENTIALS_DIRECTORY'];
      if (folder === undefined)
        throw invalid('CREDENTIALS_DIRECTORY is not set: not started with a systemd credential');
      if (source.name === '' || source.name.startsWith('.') || source.name.includes('/')) {
        throw invalid(`${JSON.stringify(source.name)} is no name of a credential`);
      }
      return readKeyFile(path.join(folder, source.name));
    }
    case 'file':
      return readKeyFile(source.path);
  }
}

async function readKeyFile(file: string): Promise<Buffer> {
  let content: Buffer;
  try {
    content = await readFile(file);
  } catch (error) {
    throw new SelloError('SELLO_CONFIG_INVALID', { detail: `root key: cannot read ${file}`, cause: error });
  }
  if (content.length === rootKeyBytes) {
    const key = secretCopy(content);
    wipe(content);
    return key;
  }
  return decodeText(content, file);
}

/** Wipes `text`. */
function decodeText(text: Buffer, where: string): Buffer {
  try {
    if (text.length > maxTextBytes) throw invalid(`${where}: too long`);
    const trimmed = text.toString('latin1').trim();
    const key = secretBytes(rootKeyBytes);
    if (/^[0-9a-fA-F]{64}$/.test(trimmed)) key.write(trimmed, 'hex');
    else if (/^[A-Za-z0-9+/_-]{43}=?$/.test(trimmed)) key.write(trimmed, 'base64');
    else throw invalid(`${where}: expected 32 bytes, raw or as hex or base64`);
    return key;
  } finally {
    wipe(text);
  }
}

function invalid(detail: string): SelloError {
  return new SelloError('SELLO_CONFIG_INVALID', { detail: `root key: ${detail}` });
}
