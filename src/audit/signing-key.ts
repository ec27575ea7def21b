/** The Ed25519 key that signs checkpoints: from a file, or generated there when the file is absent. */
import { createPrivateKey, generateKeyPairSync, randomUUID, type KeyObject } from 'node:crypto';
import { link, mkdir, readFile, unlink, writeFile } from 'node:fs/promises';
import path from 'node:path';
import { SelloError } from '../errors.ts';

/** @throws SelloError SELLO_AUDIT_UNAVAILABLE */
export async function loadSigningKey(file: string): Promise<KeyObject> {
  for (let tries = 0; ; tries++) {
    let pem: Buffer;
    try {
      pem = await readFile(file);
    } catch (error) {
      const code = (error as NodeJS.ErrnoException).code ?? String(error);
      if (code !== 'ENOENT' || tries > 0) throw unusable(file, code, error);
      await generate(file);
      continue;
    }
    try {
      const key = createPrivateKey(pem);
      if (key.asymmetricKeyType !== 'ed25519') throw new TypeError('it is no Ed25519 key');
      return key;
    } catch (error) {
      throw unusable(file, error instanceof Error ? error.message : String(error), error);
    } finally {
      pem.fill(0);
    }
  }
}

/** Of several processes at once one makes the key, and all use it. */
async function generate(file: string): Promise<void> {
  const { privateKey } = generateKeyPairSync('ed25519');
  const pem = Buffer.from(privateKey.export({ format: 'pem', type: 'pkcs8' }));
  const temporary = path.join(path.dirname(file), `.sello-tmp-${randomUUID()}`);
  try {
    await mkdir(path.dirname(file), { recursive: true, mode: 0o750 });
    await writeFile(temporary, pem, { mode: 0o600, flag: 'wx', flush: true });
    await link(temporary, file);
  } catch (error) {
    const code = (error as NodeJS.ErrnoException).code ?? String(error);
    if (code !== 'EEXIST') throw unusable(file, `it is absent and cannot be made: ${code}`, error);
  } finally {
    pem.fill(0);
    await unlink(temporary).catch(() => undefined);
  }
}

function unusable(file: string, why: string, cause: unknown): SelloError {
  return new SelloError('SELLO_AUDIT_UNAVAILABLE', {
    detail: `audit signing key '${file}' (setting signingKey): ${why}`,
    cause,
  });
}
