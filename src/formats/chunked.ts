/**
 * c2sp.org/chunked-encryption with AES-256-GCM (Cobblestone-256), exactly: 56 bytes of header (24 of salt, 32 of key commitment),
 * then segments of 16 KiB (docs/formats/chunked.md). For exchange with other programs; our own format is object.ts.
 *
 * The key must be uniformly random: there is no extract step.
 */
import {
  aeadKeyBytes,
  equalSecrets,
  hkdfExpandSha512,
  secretCopy,
  takeRandom,
  wipe,
} from '../crypto/index.ts';
import { SelloError } from '../errors.ts';
import { SegmentOpener, SegmentSealer, type StreamKey } from './segments.ts';

export const chunkedSegmentBytes = 16_384;
export const chunkedHeaderBytes = 56;
const saltBytes = 24;
const label = Buffer.from('c2sp.org/chunked-encryption@v1+AEAD_AES_256_GCM\0', 'latin1');

/** Key and commitment of one stream. The caller wipes the key. */
function derive(
  key: Uint8Array,
  salt: Uint8Array,
  context: Uint8Array,
): { stream: StreamKey; commitment: Buffer } {
  const derived = hkdfExpandSha512(key, Buffer.concat([label, salt, context]), 76);
  const stream: StreamKey = {
    aead: 'aes-256-gcm',
    key: secretCopy(derived.subarray(0, 32)),
    baseNonce: Buffer.from(derived.subarray(32, 44)),
    segmentBytes: chunkedSegmentBytes,
  };
  const commitment = Buffer.from(derived.subarray(44));
  wipe(derived);
  return { stream, commitment };
}

function checkKey(key: Uint8Array): void {
  if (key.length !== aeadKeyBytes)
    throw new TypeError(`chunked encryption key: expected ${aeadKeyBytes} bytes, got ${key.length}`);
}

/** Seals one stream: `header`, then what `update` and `final` append. */
export class ChunkedSealer extends SegmentSealer {
  readonly header: Buffer;
  readonly #stream: StreamKey;

  /** @param salt fresh 24 random bytes; given only to reproduce published vectors */
  constructor(key: Uint8Array, context: Uint8Array, salt: Buffer = takeRandom(saltBytes)) {
    checkKey(key);
    const { stream, commitment } = derive(key, salt, context);
    super(stream);
    this.#stream = stream;
    this.header = Buffer.concat([salt, commitment]);
  }

  wipe(): void {
    wipe(this.#stream.key);
  }
}

/** Opens one stream from its first byte on. The commitment is checked before the first byte of plaintext. */
export class ChunkedOpener {
  readonly #key: Buffer;
  readonly #context: Buffer;
  readonly #header = Buffer.alloc(chunkedHeaderBytes);
  #headerLength = 0;
  #opener: SegmentOpener | undefined;
  #stream: StreamKey | undefined;

  constructor(key: Uint8Array, context: Uint8Array) {
    checkKey(key);
    this.#key = secretCopy(key);
    this.#context = Buffer.from(context);
  }

  update(chunk: Uint8Array, out: Buffer[]): void {
    let rest = chunk;
    if (this.#opener === undefined) {
      const taken = Math.min(chunkedHeaderBytes - this.#headerLength, chunk.length);
      this.#header.set(chunk.subarray(0, taken), this.#headerLength);
      this.#headerLength += taken;
      if (this.#headerLength < chunkedHeaderBytes) return;
      this.#opener = this.#begin();
      rest = chunk.subarray(taken);
    }
    this.#opener.update(rest, out);
  }

  final(out: Buffer[]): void {
    if (this.#opener === undefined) throw new SelloError('SELLO_OBJECT_NOT_AUTHENTIC');
    this.#opener.final(out);
  }

  wipe(): void {
    wipe(this.#key, this.#stream?.key);
    this.#opener?.abandon();
  }

  #begin(): SegmentOpener {
    const { stream, commitment } = derive(this.#key, this.#header.subarray(0, saltBytes), this.#context);
    this.#stream = stream;
    /* Precondition: AES-GCM alone opens under more keys than one; the commitment does not. */
    if (!equalSecrets(commitment, this.#header.subarray(saltBytes))) {
      wipe(stream.key);
      throw new SelloError('SELLO_OBJECT_NOT_AUTHENTIC');
    }
    return new SegmentOpener(stream);
  }
}
