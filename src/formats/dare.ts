/**
 * DARE 2.0, and 1.0 for reading (docs/formats/dare.md): the format in which MinIO stores what it encrypts. A stream is a row of
 * packages of up to 64 KiB of plaintext, each `header (16) ‖ ciphertext ‖ tag (16)`:
 *
 * - 2.0: `0x20 ‖ cipher ‖ length - 1 (2, little endian) ‖ stream nonce (12)`. The top bit of the nonce's first byte says that this is the
 *   last package; the AEAD's nonce is that field with the package's number XORed into its last four bytes (little endian).
 * - 1.0: `0x10 ‖ cipher ‖ length - 1 ‖ number (4, little endian) ‖ nonce (8)`. Nothing says which package is the last.
 *
 * The first four bytes of a header are associated data, the rest is the nonce.
 *
 * What the format cannot do: an empty stream has no bytes, so nobody can tell it from one that was emptied, and 1.0 does not notice
 * a cut between packages. Who knows how long the plaintext is gives that length, and both are noticed.
 *
 * Limits: 2^32 packages (256 TiB) under one key.
 */
import { createCipheriv, createDecipheriv } from 'node:crypto';
import {
  aeadNonceBytes,
  aeadTagBytes,
  secretBytes,
  secretCopy,
  takeRandom,
  wipe,
  type Aead,
} from '../crypto/index.ts';
import { SelloError } from '../errors.ts';
import type { ByteSpan } from './range.ts';

export const darePackageBytes = 65_536;
const headerBytes = 16;
/** What a package is longer than its plaintext. */
export const dareOverheadBytes = headerBytes + aeadTagBytes;
const maxPackages = 2 ** 32;
const finalBit = 0x80;
const tagOptions = { authTagLength: aeadTagBytes };

const ciphers: readonly Aead[] = ['aes-256-gcm', 'chacha20-poly1305'];

/** Bytes of a stream of so much plaintext. */
export function dareSealedLength(plainBytes: number): number {
  return plainBytes + dareOverheadBytes * Math.ceil(plainBytes / darePackageBytes);
}

/** Plaintext bytes of a stream of full packages and a last one; undefined when no stream has that length. */
export function darePlainLength(sealedBytes: number): number | undefined {
  const packages = Math.ceil(sealedBytes / (darePackageBytes + dareOverheadBytes));
  const plain = sealedBytes - packages * dareOverheadBytes;
  return plain < packages || plain > packages * darePackageBytes || plain < 0 ? undefined : plain;
}

/** Which packages hold a range of plaintext, and what of them is wanted. */
export interface DareWindow {
  readonly firstPackage: number;
  readonly skip: number;
  readonly length: number;
  /** The stream's last package is among them. */
  readonly isToEnd: boolean;
}

export interface DarePlan {
  /** Sealed bytes of these packages, from the start of the stream. */
  readonly sealed: ByteSpan;
  readonly window: DareWindow;
}

/** Packages that hold plaintext bytes `from` to before `to` of a stream of `plainBytes`. */
export function planDare({ from, to }: ByteSpan, plainBytes: number): DarePlan {
  /* Precondition: an empty range has no package of its own. */
  if (!Number.isSafeInteger(from) || !Number.isSafeInteger(to) || from < 0 || to <= from || to > plainBytes)
    throw new RangeError(`byte range: got ${from} to ${to} of ${plainBytes}`);
  const first = Math.floor(from / darePackageBytes);
  const end = Math.ceil(to / darePackageBytes);
  const sealedPackage = darePackageBytes + dareOverheadBytes;
  const isToEnd = end * darePackageBytes >= plainBytes;
  return {
    sealed: { from: first * sealedPackage, to: isToEnd ? dareSealedLength(plainBytes) : end * sealedPackage },
    window: { firstPackage: first, skip: from - first * darePackageBytes, length: to - from, isToEnd },
  };
}

export interface DareSealOptions {
  readonly aead?: Aead | undefined;
  /** 12 fresh random bytes, the top bit of the first clear; given only to reproduce published vectors. */
  readonly nonce?: Buffer | undefined;
}

/** Seals a stream as DARE 2.0. `update` and `final` append what is to be sent to `out`. */
export class DareSealer {
  readonly #key: Buffer;
  readonly #aead: Aead;
  readonly #nonce: Buffer;
  readonly #plain = secretBytes(darePackageBytes);
  #filled = 0;
  #package = 0;
  #ended = false;

  /** @param key 32 bytes, for this stream alone; copied */
  constructor(
    key: Uint8Array,
    { aead = 'aes-256-gcm', nonce = takeRandom(aeadNonceBytes) }: DareSealOptions = {},
  ) {
    /* Precondition: both ciphers take 32 bytes. */
    if (key.length !== 32) throw new TypeError(`DARE key: expected 32 bytes, got ${key.length}`);
    if (nonce.length !== aeadNonceBytes)
      throw new TypeError(`DARE nonce: expected 12 bytes, got ${nonce.length}`);
    this.#key = secretCopy(key);
    this.#aead = aead;
    this.#nonce = Buffer.from(nonce);
    this.#nonce[0]! &= ~finalBit;
  }

  update(chunk: Uint8Array, out: Buffer[]): void {
    /* Precondition: nothing follows the last package. */
    if (this.#ended) throw new TypeError('sealed stream has ended');
    for (let at = 0; at < chunk.length;) {
      // A full package goes once more follows: only then it is known not to be the last.
      if (this.#filled === darePackageBytes) this.#seal(false, out);
      const end = Math.min(chunk.length, at + darePackageBytes - this.#filled);
      this.#plain.set(chunk.subarray(at, end), this.#filled);
      this.#filled += end - at;
      at = end;
    }
  }

  final(out: Buffer[]): void {
    if (this.#ended) throw new TypeError('sealed stream has ended');
    if (this.#filled > 0) this.#seal(true, out);
    this.wipe();
  }

  wipe(): void {
    this.#ended = true;
    wipe(this.#key, this.#plain);
  }

  #seal(isLast: boolean, out: Buffer[]): void {
    /* Precondition: past the last number nonces would repeat. */
    if (this.#package >= maxPackages) throw new SelloError('SELLO_OBJECT_TOO_LARGE');
    const header = Buffer.alloc(headerBytes);
    header[0] = 0x20;
    header[1] = ciphers.indexOf(this.#aead);
    header.writeUInt16LE(this.#filled - 1, 2);
    this.#nonce.copy(header, 4);
    if (isLast) header[4]! |= finalBit;
    const nonce = numbered(header, this.#package++);
    const cipher = createCipheriv(this.#aead as 'aes-256-gcm', this.#key, nonce, tagOptions);
    cipher.setAAD(header.subarray(0, 4));
    const sealed = cipher.update(this.#plain.subarray(0, this.#filled));
    cipher.final(); // both are stream ciphers: nothing is left to write
    out.push(header, sealed, cipher.getAuthTag());
    this.#filled = 0;
  }
}

/** The AEAD's nonce of a 2.0 package. */
function numbered(header: Buffer, index: number): Buffer {
  const nonce = Buffer.from(header.subarray(4));
  nonce.writeUInt32LE((nonce.readUInt32LE(8) ^ index) >>> 0, 8);
  return nonce;
}

export interface DareOpenOptions {
  /** Versions that are taken; 2.0 alone unless said otherwise. A stream has one. */
  readonly versions?: readonly (1 | 2)[] | undefined;
  /** Plaintext bytes of the whole stream, where somebody authentic says so: another length then fails. */
  readonly plainBytes?: number | undefined;
  /** For a range: which packages will come. */
  readonly window?: DareWindow | undefined;
}

/**
 * Opens a stream, or some packages of one. `update` and `final` append authenticated plaintext to `out`, and throw
 * SELLO_OBJECT_NOT_AUTHENTIC (SELLO_OBJECT_FORMAT_UNKNOWN for what is no DARE) once something is not; after that nothing more comes out.
 */
export class DareOpener {
  readonly #key: Buffer;
  readonly #versions: readonly (1 | 2)[];
  readonly #plainBytes: number | undefined;
  readonly #window: DareWindow | undefined;
  /** The package under way: header, ciphertext, tag. */
  readonly #package = Buffer.allocUnsafeSlow(darePackageBytes + dareOverheadBytes);
  #filled = 0;
  #index: number;
  #version: 1 | 2 | undefined;
  #cipher = 0;
  /** Of 2.0: the same in every package. */
  #nonce: Buffer | undefined;
  #sawLast = false;
  #sawShort = false;
  #length = 0;
  #skip: number;
  #wanted: number;
  #failed = false;

  /** @param key 32 bytes; copied */
  constructor(key: Uint8Array, { versions = [2], plainBytes, window }: DareOpenOptions = {}) {
    if (key.length !== 32) throw new TypeError(`DARE key: expected 32 bytes, got ${key.length}`);
    this.#key = secretCopy(key);
    this.#versions = versions;
    this.#plainBytes = plainBytes;
    this.#window = window;
    this.#index = window?.firstPackage ?? 0;
    this.#skip = window?.skip ?? 0;
    this.#wanted = window?.length ?? Infinity;
  }

  /** Authenticated plaintext bytes so far, of all packages that came. */
  get length(): number {
    return this.#length;
  }

  update(chunk: Uint8Array, out: Buffer[]): void {
    this.#guard(() => {
      for (let at = 0; at < chunk.length;) {
        const end = Math.min(chunk.length, at + this.#missing());
        this.#package.set(chunk.subarray(at, end), this.#filled);
        this.#filled += end - at;
        at = end;
        if (this.#filled === headerBytes) this.#judgeHeader();
        if (this.#filled > headerBytes && this.#missing() === 0) this.#open(out);
      }
    });
  }

  final(_out: Buffer[]): void {
    this.#guard(() => {
      if (this.#filled > 0) throw notAuthentic('stream ends inside a package');
      const isWhole = this.#window === undefined || this.#window.isToEnd;
      /* Postcondition: a stream of 2.0 that has begun ends in its last package, and a range has all that was asked for. */
      if (isWhole && this.#version === 2 && !this.#sawLast)
        throw notAuthentic('stream ends before its last package');
      if (this.#window !== undefined && this.#wanted > 0) throw notAuthentic('range is not whole');
      if (this.#window === undefined && this.#plainBytes !== undefined && this.#length !== this.#plainBytes)
        throw notAuthentic('stream has another length');
    });
    this.wipe();
  }

  /** Ends the use of the key; also for streams that are given up. */
  wipe(): void {
    this.#failed = true;
    wipe(this.#key);
    this.#package.fill(0);
  }

  #guard(work: () => void): void {
    if (this.#failed) throw notAuthentic('failed before, or ended');
    try {
      work();
    } catch (error) {
      this.wipe();
      throw error;
    }
  }

  /** Bytes that the header, or once that is there the package, still lacks. */
  #missing(): number {
    if (this.#filled < headerBytes) return headerBytes - this.#filled;
    return dareOverheadBytes + this.#package.readUInt16LE(2) + 1 - this.#filled;
  }

  #judgeHeader(): void {
    const header = this.#package;
    const version = header[0] === 0x20 ? 2 : header[0] === 0x10 ? 1 : undefined;
    if (version === undefined || ciphers[header[1]!] === undefined)
      throw new SelloError('SELLO_OBJECT_FORMAT_UNKNOWN', { detail: 'not a DARE package' });
    /* Precondition: what is refused now must not be let in by a later package. */
    if (!this.#versions.includes(version))
      throw new SelloError('SELLO_OBJECT_FORMAT_UNKNOWN', { detail: `DARE ${version}.0` });
    if (this.#version === undefined) {
      this.#version = version;
      this.#cipher = header[1]!;
    }
    if (version !== this.#version || header[1] !== this.#cipher)
      throw notAuthentic('another version or cipher');
    if (this.#sawLast) throw notAuthentic('bytes behind the last package');
    // Only the last one is not full. 1.0 does not mark it, so there it is the one behind which nothing comes.
    const isShort = header.readUInt16LE(2) + 1 < darePackageBytes;
    if (this.#sawShort) throw notAuthentic('bytes behind a package that is not full');
    this.#sawShort = isShort;
    if (version === 2) {
      const isLast = (header[4]! & finalBit) !== 0;
      if (isShort && !isLast) throw notAuthentic('package is not full');
      const nonce = Buffer.from(header.subarray(4, headerBytes));
      nonce[0]! &= ~finalBit;
      this.#nonce ??= nonce;
      if (!nonce.equals(this.#nonce)) throw notAuthentic('package of another stream');
      // A stream that ends before the range's plan says is shorter than whoever made the plan was told.
      if (isLast && this.#window?.isToEnd === false) throw notAuthentic('stream ends too soon');
      this.#sawLast = isLast;
    } else if (header.readUInt32LE(4) !== this.#index) throw notAuthentic('package out of order');
    if (this.#index >= maxPackages) throw notAuthentic('too many packages');
  }

  #open(out: Buffer[]): void {
    const bytes = this.#package.subarray(0, this.#filled);
    const nonce =
      this.#version === 2
        ? numbered(bytes.subarray(0, headerBytes), this.#index)
        : bytes.subarray(4, headerBytes);
    const decipher = createDecipheriv(ciphers[this.#cipher]! as 'aes-256-gcm', this.#key, nonce, tagOptions);
    decipher.setAAD(bytes.subarray(0, 4));
    decipher.setAuthTag(bytes.subarray(-aeadTagBytes));
    const plain = decipher.update(bytes.subarray(headerBytes, -aeadTagBytes));
    try {
      decipher.final();
    } catch {
      /* Postcondition: no byte of an unauthenticated plaintext leaves. */
      plain.fill(0);
      throw notAuthentic('package');
    }
    this.#index++;
    this.#filled = 0;
    this.#length += plain.length;
    const from = Math.min(this.#skip, plain.length);
    this.#skip -= from;
    const to = Math.min(plain.length, from + this.#wanted);
    this.#wanted -= to - from;
    if (to > from) out.push(from === 0 && to === plain.length ? plain : plain.subarray(from, to));
  }
}

function notAuthentic(detail: string): SelloError {
  return new SelloError('SELLO_OBJECT_NOT_AUTHENTIC', { detail });
}
