/**
 * Messages that one request seals or opens together. Those under one version share a salt, so message key and commitment are derived once, and short ones are
 * enciphered together (crypto/gcm-series.ts). Whoever holds two envelopes can see that they were made together (docs/formats/key-envelope.md).
 *
 * What is secret lives as long as the request: its owner calls {@link MessageSeries.end}.
 */
import { equalSecrets, GcmSeries, seriesMessageBytes, wipe } from '../crypto/index.ts';
import {
  associatedOf,
  beginSeries,
  innerContext,
  numberedEnvelope,
  openSealed,
  sealNumbered,
  type Derive,
  type EnvelopeFacts,
  type ParsedEnvelope,
  type SealingFace,
} from './envelope.ts';

/** Numbers have four bytes. */
const mostMessages = 2 ** 32 - 1;

interface Sealing {
  readonly facts: EnvelopeFacts;
  readonly header: Buffer;
  readonly messageKey: Buffer;
  readonly gcm: GcmSeries | undefined;
  next: number;
}

interface Opening {
  readonly seed: Buffer;
  readonly commitment: Buffer;
  readonly messageKey: Buffer;
  readonly gcm: GcmSeries | undefined;
}

interface KnownContext {
  readonly tenant: string;
  readonly keyId: Buffer;
  readonly face: SealingFace;
  readonly context: Uint8Array;
  readonly inner: Buffer;
}

export class MessageSeries {
  /** Messages that have not come yet. */
  #left: number;
  #sealing: Sealing | undefined;
  #opening: Opening | undefined;
  #known: KnownContext | undefined;

  /** @param messages how many there are likely to be */
  constructor(messages: number) {
    this.#left = messages;
  }

  /** As {@link innerContext}: the same values as before give the same hash. */
  innerContext(tenant: string, keyId: Buffer, face: SealingFace, context: Uint8Array): Buffer {
    const known = this.#known;
    if (known?.context === context && known.keyId === keyId && known.face === face && known.tenant === tenant)
      return known.inner;
    const inner = innerContext(tenant, keyId, face, context);
    this.#known = { tenant, keyId, face, context, inner };
    return inner;
  }

  /** As `sealEnvelope`. */
  seal(facts: EnvelopeFacts, derive: Derive, context: Buffer, plaintext: Uint8Array): Buffer {
    this.#left--;
    let sealing = this.#sealing;
    if (sealing === undefined || !isSame(sealing.facts, facts) || sealing.next > mostMessages) {
      endOf(sealing);
      sealing = { facts, ...beginSeries(facts, derive), gcm: undefined, next: 0 };
      if (facts.algorithm === 'AES256') sealing = { ...sealing, gcm: new GcmSeries(sealing.messageKey) };
      this.#sealing = sealing;
    }
    const { gcm, header } = sealing;
    const number = sealing.next++;
    const room = numberedEnvelope(header, number, plaintext.length);
    if (gcm !== undefined && plaintext.length <= seriesMessageBytes) {
      const associated = associatedOf(header, header.length, context);
      gcm.seal(room.envelope, room.start, number, associated, plaintext, this.#left);
    } else sealNumbered(facts.algorithm, sealing.messageKey, room, { header, number, context }, plaintext);
    return room.envelope;
  }

  /** As `openEnvelope`. */
  open(envelope: ParsedEnvelope, derive: Derive, context: Buffer): Buffer | undefined {
    this.#left--;
    const { algorithm, commitment, header, number, sealed, seed } = envelope;
    if (this.#opening?.seed.equals(seed) !== true) {
      endOf(this.#opening);
      const derived = derive(seed);
      const gcm =
        number !== undefined && algorithm === 'AES256' ? new GcmSeries(derived.messageKey) : undefined;
      this.#opening = { seed: Buffer.from(seed), ...derived, gcm };
    }
    const opening = this.#opening;
    // Before any decryption: an AEAD alone may open under two keys.
    if (!equalSecrets(opening.commitment, commitment)) return undefined;
    if (opening.gcm === undefined || number === undefined || sealed.length > seriesMessageBytes)
      return openSealed(envelope, opening.messageKey, context);
    return opening.gcm.open(number, associatedOf(header, header.length, context), sealed, this.#left);
  }

  /** Overwrites what is secret. Nothing is sealed or opened afterwards. */
  end(): void {
    endOf(this.#sealing);
    endOf(this.#opening);
    this.#sealing = undefined;
    this.#opening = undefined;
  }
}

function isSame(a: EnvelopeFacts, b: EnvelopeFacts): boolean {
  return (
    a.version === b.version &&
    a.keyId.equals(b.keyId) &&
    a.face === b.face &&
    a.algorithm === b.algorithm &&
    a.source.kind === 'version' &&
    b.source.kind === 'version'
  );
}

function endOf(state: Sealing | Opening | undefined): void {
  if (state === undefined) return;
  wipe(state.messageKey);
  state.gcm?.wipe();
}
