/**
 * The segmented AEAD stream that both of our formats share (STREAM of Hoang, Reyhanitabar, Rogaway and Vizár 2015, in the form of
 * c2sp.org/chunked-encryption): the plaintext is cut into segments of one size, each sealed under the same key with the nonce
 * `base nonce ⊕ index`, and the last segment is always shorter than the others, if need be empty. So a stream that was cut, extended,
 * reordered or joined with another does not open, and segments can be opened alone.
 *
 * Limits: the key is derived for one stream and never used for another, so nonces repeat for nobody. 2^38 segments, which
 * no object reaches.
 *
 * Nothing is copied: ciphers are fed with the chunks as they come, and what they return goes on. Plaintext is held back until the
 * tag of its segment has been checked, which bounds memory to one segment and one chunk.
 */
import { createCipheriv, createDecipheriv, type CipherGCM, type DecipherGCM } from 'node:crypto';
import { aeadTagBytes, type Aead } from '../crypto/index.ts';
import { SelloError } from '../errors.ts';

/** What seals and opens one stream. Its holder wipes it. */
export interface StreamKey {
  readonly aead: Aead;
  /** 32 bytes. */
  readonly key: Buffer;
  /** 12 bytes. */
  readonly baseNonce: Buffer;
  readonly segmentBytes: number;
}

const maxSegments = 2 ** 38;
const tagOptions = { authTagLength: aeadTagBytes };

/** Writes `base ⊕ index` (12 bytes, big endian). The index has at most 38 bits: 6 bytes hold it. */
function nonceOf(target: Buffer, base: Buffer, index: number): Buffer {
  /* Precondition: past the last index nonces would repeat. */
  if (index >= maxSegments) throw new SelloError('SELLO_OBJECT_TOO_LARGE');
  target.set(base);
  const low = index % 2 ** 32;
  target.writeUInt32BE((target.readUInt32BE(8) ^ low) >>> 0, 8);
  if (low !== index) target.writeUInt32BE((target.readUInt32BE(4) ^ Math.floor(index / 2 ** 32)) >>> 0, 4);
  return target;
}

/** Seals a stream. `update` and `final` append what is to be sent to `out`. */
export class SegmentSealer {
  readonly #key: StreamKey;
  readonly #nonce = Buffer.alloc(12);
  #cipher: CipherGCM | undefined;
  #index = 0;
  /** Plaintext bytes in the segment under way. */
  #filled = 0;
  #length = 0;
  #lastTag: Buffer | undefined;

  constructor(key: StreamKey) {
    this.#key = key;
  }

  /** Plaintext bytes so far. */
  get length(): number {
    return this.#length;
  }

  /** Tag of the last segment, once the stream has ended. */
  get lastTag(): Buffer | undefined {
    return this.#lastTag;
  }

  update(chunk: Uint8Array, out: Buffer[]): void {
    const { segmentBytes } = this.#key;
    for (let at = 0; at < chunk.length;) {
      const end = Math.min(chunk.length, at + segmentBytes - this.#filled);
      const piece = at === 0 && end === chunk.length ? chunk : chunk.subarray(at, end);
      out.push((this.#cipher ??= this.#begin()).update(piece));
      this.#filled += end - at;
      this.#length += end - at;
      at = end;
      if (this.#filled === segmentBytes) out.push(this.#seal());
    }
  }

  final(out: Buffer[]): void {
    /* Precondition: a stream ends once; a second last segment would be one more under another index. */
    if (this.#lastTag !== undefined) throw new TypeError('sealed stream has ended');
    // Always a segment of its own when the one before was full: the last is the one that is not.
    this.#lastTag = this.#seal();
    out.push(this.#lastTag);
  }

  #begin(): CipherGCM {
    /* Precondition: nothing follows the last segment. */
    if (this.#lastTag !== undefined) throw new TypeError('sealed stream has ended');
    const { aead, key, baseNonce } = this.#key;
    const nonce = nonceOf(this.#nonce, baseNonce, this.#index++);
    return createCipheriv(aead as 'aes-256-gcm', key, nonce, tagOptions);
  }

  #seal(): Buffer {
    const cipher = this.#cipher ?? this.#begin();
    cipher.final(); // both are stream ciphers: nothing is left to write
    this.#cipher = undefined;
    this.#filled = 0;
    return cipher.getAuthTag();
  }
}

export interface OpenWindow {
  /** Index of the first segment that will come. */
  readonly firstSegment: number;
  /** Plaintext bytes of it to leave out. */
  readonly skip: number;
  /** Plaintext bytes wanted. */
  readonly length: number;
}

/**
 * Opens a stream, or from a segment on the part of one. `update` and `final` append authenticated plaintext to `out`, and throw
 * SELLO_OBJECT_NOT_AUTHENTIC once something is not; after that nothing more comes out.
 *
 * A chunk is held by reference until the next one arrives: it might end in the stream's last tag. Its memory must not be reused before.
 */
export class SegmentOpener {
  readonly #key: StreamKey;
  readonly #window: OpenWindow | undefined;
  readonly #nonce = Buffer.alloc(12);
  readonly #tag = Buffer.alloc(aeadTagBytes);
  #tagLength = 0;
  #decipher: DecipherGCM | undefined;
  #index: number;
  /** Ciphertext bytes of the segment under way that went through the cipher. */
  #filled = 0;
  /** Plaintext of the segment under way: not authenticated yet. */
  #held: Buffer[] = [];
  /** What came last: at least its final 16 bytes may be a tag. */
  #pending: Uint8Array = Buffer.alloc(0);
  #skip: number;
  #wanted: number;
  #length = 0;
  #sawLast = false;
  #failed = false;

  /** @param window for a part of a stream; the whole one otherwise */
  constructor(key: StreamKey, window?: OpenWindow) {
    this.#key = key;
    this.#window = window;
    this.#index = window?.firstSegment ?? 0;
    this.#skip = window?.skip ?? 0;
    this.#wanted = window?.length ?? Infinity;
  }

  /** Authenticated plaintext bytes so far, of all segments that came. */
  get length(): number {
    return this.#length;
  }

  /** The tag of the last segment that was opened. */
  get lastTag(): Buffer {
    return this.#tag;
  }

  update(chunk: Uint8Array, out: Buffer[]): void {
    this.#guard(() => {
      const pending = this.#pending;
      if (chunk.length >= aeadTagBytes) {
        this.#pending = chunk;
        this.#feed(pending, out);
      } else {
        const sure = Math.max(0, pending.length - aeadTagBytes);
        this.#pending = Buffer.concat([pending.subarray(sure), chunk]);
        this.#feed(pending.subarray(0, sure), out);
      }
    });
  }

  final(out: Buffer[]): void {
    this.#guard(() => {
      const pending = this.#pending;
      const sure = pending.length - aeadTagBytes;
      if (sure < 0) throw truncated();
      this.#feed(pending.subarray(0, sure), out);
      if (this.#tagLength > 0) {
        // A tag that has begun ends in what is left, and leaves fewer bytes than a tag behind it.
        this.#feed(pending.subarray(sure), out);
        throw truncated();
      }
      this.#tag.set(pending.subarray(sure));
      const isFull = this.#filled === this.#key.segmentBytes;
      this.#open(out);
      this.#sawLast = !isFull;
      /* Postcondition: a whole stream ends in a segment that is not full, and a part of one has all that was asked for. */
      if (this.#window === undefined ? isFull : this.#wanted > 0) throw truncated();
    });
  }

  /** True when the stream's own end was among what was opened: its length is then {@link length} from the first segment on. */
  get sawLast(): boolean {
    return this.#sawLast;
  }

  /** Overwrites plaintext that was never authenticated. For streams that are given up. */
  abandon(): void {
    this.#failed = true;
    for (const piece of this.#held) piece.fill(0);
    this.#held = [];
    this.#decipher = undefined;
    this.#pending = Buffer.alloc(0);
  }

  #guard(work: () => void): void {
    if (this.#failed) throw notAuthentic();
    try {
      work();
    } catch (error) {
      this.abandon();
      throw error;
    }
  }

  /** Takes bytes that are no part of the stream's last tag. */
  #feed(bytes: Uint8Array, out: Buffer[]): void {
    const { segmentBytes } = this.#key;
    for (let at = 0; at < bytes.length;) {
      if (this.#filled < segmentBytes) {
        const end = Math.min(bytes.length, at + segmentBytes - this.#filled);
        const piece = at === 0 && end === bytes.length ? bytes : bytes.subarray(at, end);
        this.#held.push((this.#decipher ??= this.#begin()).update(piece));
        this.#filled += end - at;
        at = end;
      } else {
        const end = Math.min(bytes.length, at + aeadTagBytes - this.#tagLength);
        this.#tag.set(bytes.subarray(at, end), this.#tagLength);
        this.#tagLength += end - at;
        at = end;
        if (this.#tagLength === aeadTagBytes) this.#open(out);
      }
    }
  }

  #begin(): DecipherGCM {
    const { aead, key, baseNonce } = this.#key;
    const nonce = nonceOf(this.#nonce, baseNonce, this.#index);
    return createDecipheriv(aead as 'aes-256-gcm', key, nonce, tagOptions);
  }

  /** Checks the segment under way and lets its plaintext go. */
  #open(out: Buffer[]): void {
    const decipher = this.#decipher ?? this.#begin();
    decipher.setAuthTag(this.#tag);
    try {
      decipher.final();
    } catch {
      throw notAuthentic();
    }
    for (const piece of this.#held) this.#release(piece, out);
    this.#held = [];
    this.#length += this.#filled;
    this.#decipher = undefined;
    this.#filled = 0;
    this.#tagLength = 0;
    this.#index++;
  }

  #release(piece: Buffer, out: Buffer[]): void {
    const from = Math.min(this.#skip, piece.length);
    this.#skip -= from;
    const to = Math.min(piece.length, from + this.#wanted);
    this.#wanted -= to - from;
    if (to > from) out.push(from === 0 && to === piece.length ? piece : piece.subarray(from, to));
  }
}

function notAuthentic(): SelloError {
  return new SelloError('SELLO_OBJECT_NOT_AUTHENTIC');
}

function truncated(): SelloError {
  return new SelloError('SELLO_OBJECT_NOT_AUTHENTIC', { detail: 'stream ends before its last segment' });
}
