/**
 * A key in memory: its versions as far as they were needed, and what may be done with each. Work with a version whose bytes are here is
 * done at once; the bytes of another one are asked of the keystore.
 */
import type { Face } from '../access/operations.ts';
import { SelloError } from '../errors.ts';
import type { KeyAlgorithm } from './algorithm.ts';
import { dataKeyBytes, issueDataKey, open, seal, type DataKey } from './ciphertext.ts';
import { takeRandom } from '../crypto/index.ts';
import {
  innerContext,
  isEnvelope,
  openEnvelope,
  parseEnvelope,
  sealEnvelope,
  type ParsedEnvelope,
  type SealingFace,
} from './envelope.ts';
import { formatInstant } from './instant.ts';
import type { KeyringRecord, VersionRecord } from './keyring-record.ts';
import type { MasterKey } from './material.ts';
import { sealingVersion } from './transitions.ts';

/** What a ciphertext is bound to. */
export interface Binding {
  readonly tenant: string;
  readonly face: Face;
  readonly context: Buffer;
}

/** What a ciphertext says of itself, before anything is known of it. */
export interface CiphertextVersion {
  /** 1 for KES's layout. */
  readonly version: number;
  readonly envelope: ParsedEnvelope | undefined;
}

/** The ciphertext names a version that this keyring does not have: it may be of a newer state of the key. */
export class UnknownVersion extends Error {}

export interface KeyDescription {
  readonly algorithm: KeyAlgorithm;
  /** RFC 3339 with nanoseconds, UTC. */
  readonly createdAt: string;
  /** Identity of the maker; empty when nobody is known. */
  readonly createdBy: string;
}

export interface KeyringParts {
  /** Undefined for a key that was never rotated or changed: version 1 alone, enabled. */
  readonly record: KeyringRecord | undefined;
  /** Version 1 in KES's layout; it holds the key's HMAC key too. */
  readonly first: MasterKey;
  /** Reads the bytes of a later version. */
  readonly readVersion: (version: VersionRecord) => Promise<MasterKey>;
}

export class Keyring {
  readonly record: KeyringRecord | undefined;
  readonly first: MasterKey;
  readonly #id: Buffer | undefined;
  readonly #readVersion: KeyringParts['readVersion'];
  readonly #materials = new Map<number, MasterKey>();
  readonly #reading = new Map<number, Promise<MasterKey>>();
  readonly #sealing: VersionRecord | undefined;
  #isWiped = false;

  constructor({ record, first, readVersion }: KeyringParts) {
    this.record = record;
    this.first = first;
    this.#readVersion = readVersion;
    this.#id = record === undefined ? undefined : Buffer.from(record.id, 'hex');
    this.#sealing = record === undefined ? undefined : sealingVersion(record);
  }

  get isWiped(): boolean {
    return this.#isWiped;
  }

  get generation(): number {
    return this.record?.generation ?? 0;
  }

  /** The same bytes in the same state. */
  equals(other: Keyring): boolean {
    return (
      this.generation === other.generation &&
      this.record?.id === other.record?.id &&
      !this.first.isWiped &&
      this.first.equals(other.first)
    );
  }

  describe(): KeyDescription {
    const { algorithm, createdAt, createdBy } = this.first;
    return { algorithm, createdAt: formatInstant(createdAt), createdBy };
  }

  /** The version that seals now. @throws SelloError SELLO_KEY_DISABLED, SELLO_KEY_DELETION_PENDING */
  get sealingVersion(): number {
    if (this.record === undefined) return 1;
    this.#checkState();
    if (this.#sealing === undefined)
      throw new SelloError('SELLO_KEY_DISABLED', { detail: 'no version is enabled' });
    return this.#sealing.version;
  }

  issue(binding: Binding): DataKey | Promise<DataKey> {
    const version = this.sealingVersion;
    if (this.#isKesLayout(version)) return issueDataKey(this.first, binding.context);
    const material = this.material(version);
    const make = (key: MasterKey): DataKey => {
      const plaintext = takeRandom(dataKeyBytes);
      return { plaintext, ciphertext: this.#seal(key, version, binding, plaintext), version };
    };
    return material instanceof Promise ? material.then(make) : make(material);
  }

  /** `plaintext` stays the caller's, who wipes it. */
  encrypt(binding: Binding, plaintext: Buffer): Buffer | Promise<Buffer> {
    const version = this.sealingVersion;
    if (this.#isKesLayout(version)) return seal(this.first, plaintext, binding.context);
    const material = this.material(version);
    return material instanceof Promise
      ? material.then((key) => this.#seal(key, version, binding, plaintext))
      : this.#seal(material, version, binding, plaintext);
  }

  /**
   * Which version made a ciphertext, after all checks that need no key.
   * @throws SelloError for a version that may not be used; {@link UnknownVersion}
   */
  versionFor(ciphertext: Buffer, isRewrap: boolean): CiphertextVersion {
    const { record } = this;
    if (!isEnvelope(ciphertext)) {
      if (record !== undefined) this.#checkVersion(1, isRewrap);
      return { version: 1, envelope: undefined };
    }
    const envelope = parseEnvelope(ciphertext);
    if (envelope === undefined) throw notAuthentic();
    if (record === undefined) throw new UnknownVersion();
    if (!envelope.keyId.equals(this.#id!)) throw new UnknownVersion();
    if (envelope.version > record.versions.length) throw new UnknownVersion();
    this.#checkVersion(envelope.version, isRewrap);
    return { version: envelope.version, envelope };
  }

  /** Opens what {@link versionFor} looked at. The caller wipes the result. @throws SelloError SELLO_CIPHERTEXT_NOT_AUTHENTIC */
  open(found: CiphertextVersion, ciphertext: Buffer, binding: Binding): Buffer | Promise<Buffer> {
    const { envelope, version } = found;
    if (envelope === undefined) return open(this.first, ciphertext, binding.context);
    const material = this.material(version);
    return material instanceof Promise
      ? material.then((key) => this.#open(key, envelope, binding))
      : this.#open(material, envelope, binding);
  }

  /** HMAC-SHA256 under the key's HMAC key, which no rotation changes. @throws SelloError SELLO_KEY_WITHOUT_MAC */
  mac(message: Buffer): Buffer {
    if (this.record !== undefined) this.#checkState();
    return this.first.mac(message);
  }

  /** The bytes of a version. They are this keyring's: valid for the synchronous work of the caller. */
  material(version: number): MasterKey | Promise<MasterKey> {
    if (version === 1 && this.#isFirstHere) return this.first;
    return this.#materials.get(version) ?? this.#load(version);
  }

  /** Overwrites all bytes. Safe to call twice. */
  wipe(): void {
    this.#isWiped = true;
    this.first.wipe();
    for (const material of this.#materials.values()) material.wipe();
    this.#materials.clear();
  }

  get #isFirstHere(): boolean {
    return this.record === undefined || this.record.versions[0]?.custody === 'kes';
  }

  #isKesLayout(version: number): boolean {
    return version === 1 && this.#isFirstHere;
  }

  /** One read of a version however many wait for it. */
  #load(version: number): Promise<MasterKey> {
    let reading = this.#reading.get(version);
    if (reading === undefined) {
      reading = this.#readVersion(this.record!.versions[version - 1]!)
        .then((material) => {
          if (this.#isWiped) {
            material.wipe();
            throw new SelloError('SELLO_STORE_FAILED', {
              detail: 'key changed while one of its versions was read',
            });
          }
          this.#materials.set(version, material);
          return material;
        })
        .finally(() => this.#reading.delete(version));
      this.#reading.set(version, reading);
    }
    return reading;
  }

  #seal(key: MasterKey, version: number, { tenant, face, context }: Binding, plaintext: Buffer): Buffer {
    const keyId = this.#id!;
    const sealing = sealingFace(face);
    const facts = {
      keyId,
      version,
      face: sealing,
      algorithm: key.algorithm,
      source: { kind: 'version' },
    } as const;
    return sealEnvelope(
      facts,
      (seed) => key.envelopeKeys(seed),
      innerContext(tenant, keyId, sealing, context),
      plaintext,
    );
  }

  #open(key: MasterKey, envelope: ParsedEnvelope, { tenant, face, context }: Binding): Buffer {
    const mayOpen = envelope.face === face || this.record!.crossFace || face === 'admin';
    if (!mayOpen || envelope.source.kind !== 'version') throw notAuthentic();
    const bound = innerContext(tenant, this.#id!, envelope.face, context);
    const plaintext = openEnvelope(envelope, (seed) => key.envelopeKeys(seed), bound);
    if (plaintext === undefined) throw notAuthentic();
    return plaintext;
  }

  #checkState(): void {
    const { state } = this.record!;
    if (state === 'enabled' || state === 'creating') return;
    throw new SelloError(state === 'disabled' ? 'SELLO_KEY_DISABLED' : 'SELLO_KEY_DELETION_PENDING');
  }

  #checkVersion(number: number, isRewrap: boolean): void {
    this.#checkState();
    const { minDecryptionVersion, rewrapOnly, versions } = this.record!;
    const { state } = versions[number - 1]!;
    if (number < minDecryptionVersion) throw new SelloError('SELLO_KEY_VERSION_TOO_OLD');
    if (state === 'disabled' || state === 'destroyed')
      throw new SelloError('SELLO_KEY_DISABLED', { detail: `version ${String(number)} is ${state}` });
    if (state === 'compromised' && rewrapOnly && !isRewrap) throw new SelloError('SELLO_KEY_REWRAP_ONLY');
  }
}

/** Administrators rewrap; what they make belongs to the face it came from. */
function sealingFace(face: Face): SealingFace {
  /* Precondition: rewrapping names the face of what it opened. */
  if (face === 'admin') throw new TypeError("nothing is sealed for the administrators' face");
  return face;
}

function notAuthentic(): SelloError {
  return new SelloError('SELLO_CIPHERTEXT_NOT_AUTHENTIC');
}
