/**
 * File names of a file keystore. Names of keys say whose data they guard, so they are not on the disk in clear:
 * a file is named by the deterministic encryption of its key's name (SIV construction, RFC 5297 §2, with
 * HMAC-SHA256 as the PRF and AES-256 in counter mode), in lower-case hexadecimal:
 *
 *   siv = HMAC-SHA256(macKey, name)[0..16)      file = hex(siv ‖ (name ⊕ AES-256-CTR(encKey, siv)))
 *
 * Deterministic, so that link(2) finds the name taken; equal names look equal within one store only, and the
 * length of a name shows. The first byte picks one of 256 folders: 100,000 keys are 400 to a folder.
 */
import { createCipheriv } from 'node:crypto';
import { equalSecrets, hkdfSha256, hmacSha256, wipe } from '../crypto/index.ts';
import { isName, maxNameLength } from '../keys/names.ts';

const sivBytes = 16;
const keyBytes = 32;
const blockBytes = 16;
const blocksPerName = Math.ceil(maxNameLength / blockBytes);

export const shardCount = 256;

export function shardName(shard: number): string {
  return shard.toString(16).padStart(2, '0');
}

const filePattern = new RegExp(`^[0-9a-f]{${2 * (sivBytes + 1)},${2 * (sivBytes + maxNameLength)}}$`);

export class FileNames {
  readonly #macKey: Buffer;
  readonly #encryptionKey: Buffer;

  constructor(storeKey: Buffer, storeId: Buffer) {
    const keys = hkdfSha256(storeKey, storeId, Buffer.from('sello-file-keystore v1 names'), 2 * keyBytes);
    this.#macKey = keys.subarray(0, keyBytes);
    this.#encryptionKey = keys.subarray(keyBytes);
  }

  fileOf(name: string): { readonly shard: number; readonly file: string } {
    const clear = Buffer.from(name, 'latin1');
    const siv = this.#siv(clear);
    const hidden = xor(clear, this.#keystream([siv]), 0);
    return { shard: siv[0]!, file: siv.toString('hex') + hidden.toString('hex') };
  }

  /** The names of those of `files` that this store made and that lie in the folder they belong to. */
  namesOf(shard: number, files: readonly string[]): string[] {
    const own = files.filter((file) => filePattern.test(file) && file.startsWith(shardName(shard)));
    const bytes = own.map((file) => Buffer.from(file, 'hex'));
    const sivs = bytes.map((file) => file.subarray(0, sivBytes));
    const keystream = this.#keystream(sivs);
    const names: string[] = [];
    for (const [position, file] of bytes.entries()) {
      const clear = xor(file.subarray(sivBytes), keystream, position * blocksPerName * blockBytes);
      const name = clear.toString('latin1');
      if (isName(name) && equalSecrets(this.#siv(clear), sivs[position]!)) names.push(name);
    }
    return names;
  }

  wipe(): void {
    wipe(this.#macKey, this.#encryptionKey);
  }

  #siv(clear: Buffer): Buffer {
    return hmacSha256(this.#macKey, clear).subarray(0, sivBytes);
  }

  /**
   * The counter blocks of many names in one call of the cipher: a cipher object per name would make a large
   * store slow to open. Counter mode is the block cipher over siv, siv + 1, …; the low 32 bits are cleared first so
   * that counting never carries (RFC 5297 §2.5 clears bits for the same reason).
   */
  #keystream(sivs: readonly Buffer[]): Buffer {
    const counters = Buffer.alloc(sivs.length * blocksPerName * blockBytes);
    let offset = 0;
    for (const siv of sivs) {
      for (let block = 0; block < blocksPerName; block++, offset += blockBytes) {
        siv.copy(counters, offset);
        counters.writeUInt32BE(block, offset + blockBytes - 4);
      }
    }
    const cipher = createCipheriv('aes-256-ecb', this.#encryptionKey, null).setAutoPadding(false);
    return cipher.update(counters);
  }
}

function xor(bytes: Buffer, keystream: Buffer, offset: number): Buffer {
  const result = Buffer.alloc(bytes.length);
  for (let at = 0; at < bytes.length; at++) result[at] = bytes[at]! ^ keystream[offset + at]!;
  return result;
}
