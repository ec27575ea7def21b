/**
 * The text that stands for a stored value in KV. KES stores its text as it is, or what a Transit key made of it (`vault:vN:…`). Bytes
 * that are no text, which KES never has, get a form of their own.
 */
import { isUtf8 } from 'node:buffer';
import { decodeBase64, encodeBase64, secretCopy, wipe } from '../crypto/index.ts';
import { SelloError } from '../errors.ts';
import {
  escapedLength,
  isVaultProblem,
  pathOf,
  secretJson,
  secretStringAt,
  type VaultConnection,
} from '../vault/index.ts';

/** Marks a value that is no text: base64 follows. */
const bytesMark = Buffer.from('sello:base64:');

/** Vault's limit for a string in a request (`max_json_string_value_length`), which counts it as it is written. */
const maxTextBytes = 1024 * 1024;

const transitMark = /^vault:v\d{1,9}:/;
/** Long enough for the mark above. */
const markBytes = 20;

export interface TransitKey {
  readonly engine: string;
  readonly key: string;
}

export class ValueForm {
  readonly #vault: VaultConnection;
  readonly #transit: TransitKey | undefined;

  constructor(vault: VaultConnection, transit: TransitKey | undefined) {
    this.#vault = vault;
    this.#transit = transit;
  }

  /** The caller wipes the result. */
  async toStored(value: Buffer): Promise<Buffer> {
    if (this.#transit !== undefined) return this.#encrypt(value, this.#transit);
    const isText = isUtf8(value) && escapedLength(value) <= maxTextBytes;
    if (isText && !startsWith(value, bytesMark) && !isWrapped(value)) return secretCopy(value);
    return markedBytes(value);
  }

  /** Takes `stored` over: it is wiped or becomes the result. @throws SelloError SELLO_STORED_KEY_UNREADABLE */
  async fromStored(stored: Buffer): Promise<Buffer> {
    if (isWrapped(stored)) {
      try {
        return await this.#decrypt(stored);
      } finally {
        wipe(stored);
      }
    }
    if (!startsWith(stored, bytesMark)) return stored;
    const value = decodeBase64(stored, bytesMark.length);
    wipe(stored);
    if (value === undefined) throw unreadable('not base64 behind its mark');
    return value;
  }

  async #encrypt(value: Buffer, { engine, key }: TransitKey): Promise<Buffer> {
    const plaintext = encodeBase64(value);
    const body = secretJson('{"plaintext":', { secret: plaintext }, '}');
    wipe(plaintext);
    try {
      const answer = await this.#vault.write({
        path: pathOf(engine, 'encrypt', key),
        body,
        isRepeatable: true,
      });
      const ciphertext = secretStringAt(answer.bytes, ['data', 'ciphertext']);
      if (ciphertext === undefined || !isWrapped(ciphertext)) {
        throw new SelloError('SELLO_STORE_FAILED', { detail: `vault: '${engine}' gave no ciphertext` });
      }
      return ciphertext;
    } finally {
      wipe(body);
    }
  }

  /** Any version of the Transit key, unlike KES, which knows `vault:v1:` alone. */
  async #decrypt(stored: Buffer): Promise<Buffer> {
    if (this.#transit === undefined)
      throw unreadable('encrypted by Transit, and no Transit key is configured');
    const { engine, key } = this.#transit;
    const body = secretJson('{"ciphertext":', { secret: stored }, '}');
    try {
      const answer = await this.#vault.write({
        path: pathOf(engine, 'decrypt', key),
        body,
        isRepeatable: true,
      });
      const plaintext = secretStringAt(answer.bytes, ['data', 'plaintext']);
      answer.wipe();
      const value = plaintext === undefined ? undefined : decodeBase64(plaintext);
      wipe(plaintext);
      if (value === undefined) throw unreadable('Transit gave no plaintext');
      return value;
    } catch (error) {
      // 400: the ciphertext is damaged, of another key, or of a version below its minimum.
      if (isVaultProblem(error, 'refused')) throw unreadable(error.detail ?? 'Transit refuses it', error);
      throw error;
    } finally {
      wipe(body);
    }
  }
}

/** base64 behind a mark: for what is no text, and for all records. */
export function markedBytes(value: Uint8Array): Buffer {
  const encoded = encodeBase64(value);
  const marked = secretCopy(Buffer.concat([bytesMark, encoded]));
  wipe(encoded);
  return marked;
}

function isWrapped(text: Buffer): boolean {
  return transitMark.test(text.toString('latin1', 0, markBytes));
}

function startsWith(text: Buffer, start: Buffer): boolean {
  return text.length >= start.length && text.subarray(0, start.length).equals(start);
}

function unreadable(detail: string, cause?: unknown): SelloError {
  return new SelloError('SELLO_STORED_KEY_UNREADABLE', { detail, cause });
}
