/**
 * Who signs a trail's checkpoints: an Ed25519 key in a file of this node, or one that a keystore's server holds and never gives out.
 * The public half of the latter is kept beside the trail, so that a process can start, and go on with its stream, while that server is away.
 */
import { createPublicKey, sign, verify, type KeyObject } from 'node:crypto';
import { readFile, rename, rm, writeFile } from 'node:fs/promises';
import { SelloError } from '../errors.ts';
import type { RemoteSigner, SignerKey } from '../keystores/index.ts';
import { publicKeyOf } from './checkpoint.ts';
import { loadSigningKey } from './signing-key.ts';

export interface Signer {
  /** The public half. */
  readonly key: KeyObject;
  sign(message: Buffer): Promise<Buffer>;
}

export function localSigner(privateKey: KeyObject): Signer {
  return {
    key: createPublicKey(privateKey),
    sign: (message) => Promise.resolve(sign(null, message, privateKey)),
  };
}

/** @throws SelloError SELLO_AUDIT_UNAVAILABLE */
export async function openSigner(
  trailFolder: string,
  keyFile: string,
  remote: RemoteSigner | undefined,
): Promise<Signer> {
  if (remote === undefined) return localSigner(await loadSigningKey(keyFile));
  const { version, raw } = await remoteKey(`${trailFolder}.remote-key.json`, remote);
  const key = publicKeyOf(raw);
  return {
    key,
    async sign(message) {
      const signature = await remote.sign(version, message);
      // The file beside the trail is no secret and no authority: what is signed has to be by the key that the stream names.
      if (!verify(null, message, key, signature))
        throw new Error(
          `what ${remote.location} signed is not by version ${String(version)} as it was known`,
        );
      return signature;
    },
  };
}

interface KeptKey {
  readonly location: string;
  readonly version: number;
  readonly publicKey: string;
}

async function remoteKey(file: string, remote: RemoteSigner): Promise<SignerKey> {
  let found: SignerKey;
  try {
    found = await remote.publicKey();
  } catch (error) {
    const known =
      error instanceof SelloError && error.retryable ? await keptKey(file, remote.location) : undefined;
    if (known !== undefined) return known;
    const detail = error instanceof SelloError ? (error.detail ?? error.message) : String(error);
    throw new SelloError('SELLO_AUDIT_UNAVAILABLE', {
      detail: `the key that signs checkpoints (${remote.location}) is not known yet: ${detail}`,
      cause: error,
    });
  }
  const kept: KeptKey = {
    location: remote.location,
    version: found.version,
    publicKey: found.raw.toString('base64'),
  };
  const temporary = `${file}.sello-tmp-${String(process.pid)}`;
  try {
    await writeFile(temporary, `${JSON.stringify(kept)}\n`, { mode: 0o640 });
    await rename(temporary, file);
  } catch {
    // Only a start without that server needs it.
    await rm(temporary, { force: true });
  }
  return found;
}

async function keptKey(file: string, location: string): Promise<SignerKey | undefined> {
  try {
    const kept = JSON.parse(await readFile(file, 'utf8')) as KeptKey;
    const raw = Buffer.from(kept.publicKey, 'base64');
    if (kept.location !== location || !Number.isSafeInteger(kept.version) || raw.length !== 32)
      return undefined;
    return { version: kept.version, raw };
  } catch {
    return undefined;
  }
}
