/** A sealed object in use: its key is at hand, streams are sealed and opened with it. */
import { wipe } from '../crypto/index.ts';
import {
  newObjectId,
  newObjectKey,
  ObjectOpener,
  ObjectSealer,
  openEnvelope,
  openManifest,
  parseEnvelope,
  PartsOpener,
  planStream,
  sealEnvelope,
  sealManifest,
  type ByteSpan,
  type Manifest,
  type ObjectBinding,
  type SealedPart,
  type SealOptions,
  type StreamPlace,
} from '../formats/index.ts';
import { protectingKeyOf, protectNew, type Protection } from './protection.ts';
import { EngineTransform, engineTransformStream, type Engine } from './streams.ts';

/** One stream through the object's key, to be run once: as a Node stream, as a web stream, or by hand. */
export class ObjectStream<E extends Engine = Engine> {
  readonly engine: E;

  constructor(engine: E) {
    this.engine = engine;
  }

  /** For `pipeline(source, stream.node(), target)`. */
  node(): EngineTransform {
    return new EngineTransform(this.engine);
  }

  /** For `source.pipeThrough(stream.web())`. */
  web(): TransformStream<Uint8Array, Uint8Array> {
    return engineTransformStream(this.engine);
  }
}

/**
 * An object whose key is known. It holds that key until it is wiped (`using` does it); streams that were begun before go on.
 */
export class SealedObject {
  /** Goes beside the object: a metadata value ({@link metadata}), or in front of its stream. */
  readonly envelope: Buffer;
  readonly #key: Buffer;
  readonly #tenant: string;
  readonly #objectId: Buffer;
  #isWiped = false;

  constructor(envelope: Buffer, key: Buffer, tenant: string) {
    this.envelope = envelope;
    this.#key = key;
    this.#tenant = tenant;
    this.#objectId = parseEnvelope(envelope).objectId;
  }

  /** The envelope as text for a header or a metadata value: base64url. */
  get metadata(): string {
    return this.envelope.toString('base64url');
  }

  /**
   * Seals one stream. `sealer.part` of its engine is what {@link complete} takes, once it has ended.
   * @param part 1 to 10,000 for a part; the whole object otherwise
   */
  seal(options: SealOptions & { readonly part?: number } = {}): ObjectStream<ObjectSealer> {
    return new ObjectStream(new ObjectSealer(this.#use(), this.#place(options.part), options));
  }

  /** Opens one stream, header included. */
  open(part?: number): ObjectStream {
    return new ObjectStream(new ObjectOpener(this.#use(), this.#place(part)));
  }

  /** Opens a range of one stream from its header and the segments that {@link planStream} names, one after the other. */
  openRange(range: ByteSpan, part?: number): ObjectStream {
    const windowOf = ({ segmentBytes }: { segmentBytes: number }) => planStream(range, segmentBytes).window;
    return new ObjectStream(new ObjectOpener(this.#use(), this.#place(part), windowOf));
  }

  /** The manifest of the parts that make the object, in the order of their numbers. Store it with the object. */
  complete(parts: readonly SealedPart[]): Buffer {
    return sealManifest(this.#use(), { tenant: this.#tenant, objectId: this.#objectId }, parts);
  }

  /** Checks a manifest. @throws SelloError SELLO_OBJECT_NOT_AUTHENTIC, SELLO_OBJECT_FORMAT_UNKNOWN */
  manifest(bytes: Buffer): Manifest {
    return openManifest(this.#use(), { tenant: this.#tenant, objectId: this.#objectId }, bytes);
  }

  /** Opens parts laid end to end: all of them, or the sealed bytes that {@link planParts} names for a range. */
  openParts(manifest: Manifest, range?: ByteSpan): ObjectStream {
    return new ObjectStream(new PartsOpener(this.#use(), this.#tenant, manifest, range));
  }

  /** Makes an envelope of the same object for another place or under another key. */
  async reseal(to: { readonly place: ObjectBinding; readonly protection: Protection }): Promise<Buffer> {
    /* Precondition: streams are bound to their tenant, so an envelope of another would open nothing. */
    if (to.place.tenant !== this.#tenant)
      throw new TypeError('an object cannot be resealed for another tenant');
    const { fields, key } = await protectNew(to.protection, to.place);
    try {
      return sealEnvelope({ ...fields, objectId: this.#objectId }, key, to.place, this.#use());
    } finally {
      wipe(key);
    }
  }

  wipe(): void {
    this.#isWiped = true;
    wipe(this.#key);
  }

  [Symbol.dispose](): void {
    this.wipe();
  }

  #use(): Buffer {
    /* Precondition: a key of zeros is no key. */
    if (this.#isWiped) throw new TypeError('sealed object was wiped');
    return this.#key;
  }

  #place(part = 0): StreamPlace {
    return { tenant: this.#tenant, objectId: this.#objectId, part };
  }
}

/** A new object: a random key, sealed into an envelope. */
export async function newSealedObject(place: ObjectBinding, protection: Protection): Promise<SealedObject> {
  const { fields, key } = await protectNew(protection, place);
  const objectKey = newObjectKey();
  try {
    const envelope = sealEnvelope({ ...fields, objectId: newObjectId() }, key, place, objectKey);
    return new SealedObject(envelope, objectKey, place.tenant);
  } catch (error) {
    wipe(objectKey);
    throw error;
  } finally {
    wipe(key);
  }
}

/** @throws SelloError SELLO_OBJECT_NOT_AUTHENTIC, SELLO_OBJECT_FORMAT_UNKNOWN, and what the key server's client throws */
export async function openSealedObject(
  envelope: Buffer,
  place: ObjectBinding,
  protection: Protection,
): Promise<SealedObject> {
  const key = await protectingKeyOf(parseEnvelope(envelope), protection, place);
  try {
    return new SealedObject(envelope, openEnvelope(envelope, key, place), place.tenant);
  } finally {
    wipe(key);
  }
}
