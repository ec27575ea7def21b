/**
 * The bytes of a master key, and the only code that touches them. They cannot be printed, serialised or
 * cloned, and after `wipe` every use throws.
 */
import { inspect } from 'node:util';
import { createHash } from 'node:crypto';
import {
  equalSecrets,
  hchacha20,
  hmacSha256,
  PreparedHmac,
  secretBytes,
  takeRandom,
  wipe,
} from '../crypto/index.ts';
import { SelloError } from '../errors.ts';
import type { KeyAlgorithm } from './algorithm.ts';
import { envelopeSeedBytes, type DerivedKeys } from './envelope.ts';
import type { Instant } from './instant.ts';

export const masterKeyBytes = 32;

/** Random input from which each message's own key is derived. */
export const messageSaltBytes = 16;

const envelopeLabel = Buffer.from('sello key envelope v1\0');
/** [i]₂ ‖ label ‖ 0x00 ‖ context ‖ [L]₂ of SP 800-108r1 §4.1: counter and length take four bytes each. */
const envelopeMessageBytes = 4 + envelopeLabel.length + envelopeSeedBytes + 4;
const envelopeOutputBits = 512;

export interface KeyFacts {
  readonly algorithm: KeyAlgorithm;
  readonly createdAt: Instant;
  /** Identity of the creator; empty when the stored form names none. */
  readonly createdBy: string;
}

export class MasterKey implements KeyFacts {
  readonly algorithm: KeyAlgorithm;
  readonly createdAt: Instant;
  readonly createdBy: string;
  /** False for keys that KES made before 2024-02-29: `mac` refuses them. */
  readonly supportsMac: boolean;

  /** key ‖ HMAC key, 64 bytes of memory of their own; undefined once wiped. */
  #bytes: Buffer | undefined;
  #derivation: PreparedHmac | undefined;
  #envelopeDerivation: PreparedHmac | undefined;
  #id: string | undefined;

  /**
   * Copies the bytes; the caller wipes its own.
   * @throws SelloError SELLO_KEY_MATERIAL_INVALID
   */
  constructor(key: Uint8Array, macKey: Uint8Array | undefined, facts: KeyFacts) {
    if (key.length !== masterKeyBytes || (macKey !== undefined && macKey.length !== masterKeyBytes)) {
      throw new SelloError('SELLO_KEY_MATERIAL_INVALID', {
        detail: `expected ${masterKeyBytes} bytes, got ${key.length} and ${macKey?.length ?? 'none'} for HMAC`,
      });
    }
    this.algorithm = facts.algorithm;
    this.createdAt = facts.createdAt;
    this.createdBy = facts.createdBy;
    this.supportsMac = macKey !== undefined;
    this.#bytes = secretBytes(2 * masterKeyBytes);
    this.#bytes.set(key);
    if (macKey === undefined) this.#bytes.fill(0, masterKeyBytes);
    else this.#bytes.set(macKey, masterKeyBytes);
  }

  /** A new key from random bytes, with an HMAC key. */
  static generate(facts: KeyFacts): MasterKey {
    const random = takeRandom(2 * masterKeyBytes);
    try {
      return new MasterKey(random.subarray(0, masterKeyBytes), random.subarray(masterKeyBytes), facts);
    } finally {
      wipe(random);
    }
  }

  /**
   * A key from the caller's bytes, with a random HMAC key, as KES's import makes it.
   * @throws SelloError SELLO_KEY_MATERIAL_INVALID
   */
  static import(key: Uint8Array, facts: KeyFacts): MasterKey {
    const macKey = takeRandom(masterKeyBytes);
    try {
      return new MasterKey(key, macKey, facts);
    } finally {
      wipe(macKey);
    }
  }

  /** hex(SHA-256(key)[0..16]): the key id inside KES's old ciphertexts. */
  get id(): string {
    this.#id ??= createHash('sha256').update(this.#key()).digest().toString('hex', 0, 16);
    return this.#id;
  }

  get isWiped(): boolean {
    return this.#bytes === undefined;
  }

  /**
   * The key of one message: HMAC-SHA256(key, salt) for AES256, HChaCha20(key, salt) for ChaCha20. Old
   * ciphertexts name their own algorithm, hence the parameter. The caller wipes the result.
   */
  messageKey(algorithm: KeyAlgorithm, salt: Uint8Array): Buffer {
    if (algorithm === 'ChaCha20') return hchacha20(this.#key(), salt);
    if (this.#derivation === undefined) this.#derivation = new PreparedHmac(this.#key(), messageSaltBytes);
    return this.#derivation.digest(salt);
  }

  /** Message key and commitment of an envelope (envelope.ts). The caller wipes the message key. */
  envelopeKeys(seed: Buffer): DerivedKeys {
    this.#envelopeDerivation ??= prepareEnvelopeKeys(this.#key());
    return deriveEnvelopeKeys(this.#envelopeDerivation, seed);
  }

  /**
   * What tells this key's bytes from any others without telling them: SHA-256 over a label, `id` and both keys, cut to 16 bytes. A
   * keyring keeps it of each version, so that a stored value put in another's place is found out.
   */
  fingerprint(id: Buffer): string {
    return createHash('sha256')
      .update('sello key fingerprint v1')
      .update(id)
      .update(this.#alive())
      .digest('hex')
      .slice(0, 32);
  }

  /**
   * HMAC-SHA256 of `message` under the separate HMAC key.
   * @throws SelloError SELLO_KEY_WITHOUT_MAC
   */
  mac(message: Uint8Array): Buffer {
    const macKey = this.#macKey();
    if (macKey === undefined) throw new SelloError('SELLO_KEY_WITHOUT_MAC');
    return hmacSha256(macKey, message);
  }

  /** Lends the bytes to code that stores them. They are views of this key: not to be kept, changed or wiped. */
  lend<Result>(use: (key: Buffer, macKey: Buffer | undefined) => Result): Result {
    return use(this.#key(), this.#macKey());
  }

  /** True when both hold the same bytes and algorithm; in constant time. */
  equals(other: MasterKey): boolean {
    return (
      this.algorithm === other.algorithm &&
      this.supportsMac === other.supportsMac &&
      equalSecrets(this.#alive(), other.#alive())
    );
  }

  /** Overwrites the bytes. Safe to call twice. */
  wipe(): void {
    this.#bytes?.fill(0);
    this.#bytes = undefined;
    this.#derivation?.wipe();
    this.#derivation = undefined;
    this.#envelopeDerivation?.wipe();
    this.#envelopeDerivation = undefined;
  }

  toString(): string {
    return '[MasterKey]';
  }

  toJSON(): string {
    return '[MasterKey]';
  }

  [inspect.custom](): string {
    return '[MasterKey]';
  }

  #key(): Buffer {
    return this.#alive().subarray(0, masterKeyBytes);
  }

  #macKey(): Buffer | undefined {
    const bytes = this.#alive();
    return this.supportsMac ? bytes.subarray(masterKeyBytes) : undefined;
  }

  /* Precondition of every use: the key has not been wiped. */
  #alive(): Buffer {
    if (this.#bytes === undefined)
      throw new SelloError('SELLO_INTERNAL', { detail: 'master key used after it was wiped' });
    return this.#bytes;
  }
}

/** The two blocks of the KDF's output, by an HMAC that is prepared for messages of its length. */
export function deriveEnvelopeKeys(prepared: PreparedHmac, seed: Buffer): DerivedKeys {
  const message = Buffer.allocUnsafe(envelopeMessageBytes);
  envelopeLabel.copy(message, 4);
  seed.copy(message, 4 + envelopeLabel.length);
  message.writeUInt32BE(envelopeOutputBits, envelopeMessageBytes - 4);
  message.writeUInt32BE(1, 0);
  const messageKey = prepared.digest(message);
  message.writeUInt32BE(2, 0);
  return { messageKey, commitment: prepared.digest(message) };
}

/** For {@link deriveEnvelopeKeys}. As secret as the key; its owner wipes it. */
export function prepareEnvelopeKeys(key: Uint8Array): PreparedHmac {
  return new PreparedHmac(key, envelopeMessageBytes);
}

/** The same from key bytes that serve once. */
export function envelopeKeysOf(key: Uint8Array, seed: Buffer): DerivedKeys {
  const prepared = prepareEnvelopeKeys(key);
  try {
    return deriveEnvelopeKeys(prepared, seed);
  } finally {
    prepared.wipe();
  }
}
