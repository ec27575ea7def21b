/**
 * A key in memory: its versions as far as they were needed, and what may be done with each. Work with a version whose bytes are here is
 * done at once; the bytes of another one are asked of the keystore.
 */
import type { Face } from '../access/operations.ts';
import { SelloError } from '../errors.ts';
import type { KeyAlgorithm } from './algorithm.ts';
import { dataKeyBytes, issueDataKey, open, seal, type DataKey } from './ciphertext.ts';
import { takeRandom, wipe } from '../crypto/index.ts';
import {
  innerContext,
  isEnvelope,
  openEnvelope,
  parseEnvelope,
  sealEnvelope,
  type EnvelopeSource,
  type ParsedEnvelope,
  type SealingFace,
} from './envelope.ts';
import { formatInstant } from './instant.ts';
import type { CustodyHead } from './custody-head.ts';
import type { CustodyKeys, MessageKey } from './custody-keys.ts';
import { defaultTransitSettings, type KeyringRecord, type VersionRecord } from './keyring-record.ts';
import { MasterKey } from './material.ts';
import type { MessageSeries } from './series.ts';
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
  /** What stands at the key's own place: version 1 in KES's layout, or the head of a key in custody. It holds the key's HMAC key. */
  readonly first: MasterKey | CustodyHead;
  /** For versions in custody. */
  readonly custody?: CustodyKeys | undefined;
  /** Reads the bytes of a later version. */
  readonly readVersion: (version: VersionRecord) => Promise<MasterKey>;
}

export class Keyring {
  /** As the store has it. */
  readonly stored: KeyringRecord | undefined;
  #record: KeyringRecord | undefined;
  readonly first: MasterKey | CustodyHead;
  readonly #custody: CustodyKeys | undefined;
  readonly #id: Buffer | undefined;
  readonly #readVersion: KeyringParts['readVersion'];
  readonly #materials = new Map<number, MasterKey>();
  readonly #reading = new Map<number, Promise<MasterKey>>();
  #sealing: VersionRecord | undefined;
  #isWiped = false;

  constructor({ custody, record, first, readVersion }: KeyringParts) {
    this.stored = record;
    this.#record = record;
    this.#custody = custody;
    this.first = first;
    this.#readVersion = readVersion;
    this.#id = record === undefined ? undefined : Buffer.from(record.id, 'hex');
    this.#sealing = record === undefined ? undefined : sealingVersion(record);
  }

  get isWiped(): boolean {
    return this.#isWiped;
  }

  /** What may be done with the key: {@link stored}, unless something restrains it (restraint.ts). */
  get record(): KeyringRecord | undefined {
    return this.#record;
  }

  /** @param record of the same versions, with less allowed; {@link stored}: nothing restrains the key any more */
  restrict(record: KeyringRecord | undefined): void {
    if (record === this.#record) return;
    this.#record = record;
    this.#sealing = record === undefined ? undefined : sealingVersion(record);
  }

  get generation(): number {
    return this.stored?.generation ?? 0;
  }

  /** The same bytes in the same state. */
  equals(other: Keyring): boolean {
    return (
      this.generation === other.generation &&
      this.stored?.id === other.stored?.id &&
      // A custodian adds versions on its own.
      this.stored?.versions.length === other.stored?.versions.length &&
      !this.first.isWiped &&
      (this.first instanceof MasterKey
        ? other.first instanceof MasterKey && this.first.equals(other.first)
        : !(other.first instanceof MasterKey) && this.first.equals(other.first))
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

  /** @throws SelloError SELLO_KEY_VERSION_NOT_FOUND, SELLO_KEY_VERSION_TOO_OLD, SELLO_KEY_DISABLED for a `wanted` that may not seal */
  versionToSeal(wanted: number | undefined): number {
    const newest = this.sealingVersion;
    if (wanted === undefined || wanted === newest) return newest;
    const version = this.record?.versions[wanted - 1];
    if (version === undefined) throw new SelloError('SELLO_KEY_VERSION_NOT_FOUND');
    const { minDecryptionVersion, transit = defaultTransitSettings } = this.record!;
    if (wanted < Math.max(transit.minEncryptionVersion, minDecryptionVersion))
      throw new SelloError('SELLO_KEY_VERSION_TOO_OLD');
    if (version.state !== 'enabled')
      throw new SelloError('SELLO_KEY_DISABLED', { detail: `version ${String(wanted)} is ${version.state}` });
    return wanted;
  }

  /** @param wanted the version to seal with; undefined: the newest enabled one */
  issue(binding: Binding, wanted?: number): DataKey | Promise<DataKey> {
    const version = this.versionToSeal(wanted);
    const kes = this.#kesLayout(version, binding.face);
    if (kes !== undefined) return issueDataKey(kes, binding.context);
    const plaintext = takeRandom(dataKeyBytes);
    const ciphertext = this.#encrypt(version, binding, plaintext);
    return ciphertext instanceof Promise
      ? ciphertext.then(
          (sealed) => ({ plaintext, ciphertext: sealed, version }),
          (error: unknown) => {
            wipe(plaintext);
            throw error;
          },
        )
      : { plaintext, ciphertext, version };
  }

  /** `plaintext` stays the caller's, who wipes it. */
  encrypt(
    binding: Binding,
    plaintext: Buffer,
    wanted?: number,
    series?: MessageSeries,
  ): Buffer | Promise<Buffer> {
    const version = this.versionToSeal(wanted);
    const kes = this.#kesLayout(version, binding.face);
    return kes === undefined
      ? this.#encrypt(version, binding, plaintext, series)
      : seal(kes, plaintext, binding.context);
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
    // Also where it is restrained: it has no id before it has a keyring.
    if (record === undefined || this.#id === undefined) throw new UnknownVersion();
    if (!envelope.keyId.equals(this.#id)) throw new UnknownVersion();
    if (envelope.version > record.versions.length) throw new UnknownVersion();
    this.#checkVersion(envelope.version, isRewrap);
    return { version: envelope.version, envelope };
  }

  /** Opens what {@link versionFor} looked at. The caller wipes the result. @throws SelloError SELLO_CIPHERTEXT_NOT_AUTHENTIC */
  open(
    found: CiphertextVersion,
    ciphertext: Buffer,
    binding: Binding,
    series?: MessageSeries,
  ): Buffer | Promise<Buffer> {
    const { envelope, version } = found;
    if (envelope === undefined) {
      const kes = this.#kesLayout(1);
      // No key in custody ever made this, and the Transit face neither.
      if (kes === undefined || (binding.face === 'transit' && this.record?.crossFace !== true))
        throw notAuthentic();
      return open(kes, ciphertext, binding.context);
    }
    const { face } = binding;
    if (envelope.face !== face && !this.record!.crossFace) throw notAuthentic();
    const contextOf = series ?? { innerContext };
    const context = contextOf.innerContext(binding.tenant, this.#id!, envelope.face, binding.context);
    // What a custodian holds is another key for each message.
    const opener =
      envelope.source.kind === 'version' && series !== undefined ? series : { open: openEnvelope };
    const finish = (key: MessageKey | undefined): Buffer => {
      const plaintext =
        key === undefined ? undefined : opener.open(envelope, (seed) => key.derive(seed), context);
      key?.done();
      if (plaintext === undefined) throw notAuthentic();
      return plaintext;
    };
    const key = this.#openingKey(version, envelope.source, context);
    return key instanceof Promise ? key.then(finish) : finish(key);
  }

  /** HMAC-SHA256 under the key's HMAC key, which no rotation changes. @throws SelloError SELLO_KEY_WITHOUT_MAC */
  mac(message: Buffer): Buffer | Promise<Buffer> {
    if (this.record !== undefined) this.#checkState();
    return this.first.mac(message);
  }

  /** Overwrites all bytes. Safe to call twice. */
  wipe(): void {
    this.#isWiped = true;
    this.first.wipe();
    for (const material of this.#materials.values()) material.wipe();
    this.#materials.clear();
  }

  /** Version 1 where it is in KES's layout. What the Transit face seals says so, whatever key it is sealed with. */
  #kesLayout(version: number, sealingFor?: Face): MasterKey | undefined {
    if (sealingFor === 'transit') {
      /* Precondition: TenantKeys gives a key its keyring before the Transit face uses it. */
      if (this.record === undefined) throw new TypeError('a key without a keyring has no id to name');
      return undefined;
    }
    if (version !== 1 || !(this.first instanceof MasterKey)) return undefined;
    return this.record === undefined || this.record.versions[0]?.custody === 'kes' ? this.first : undefined;
  }

  /** The bytes of a version. They are this keyring's: valid for the synchronous work of the caller. */
  #material(version: number): MasterKey | Promise<MasterKey> {
    return this.#kesLayout(version) ?? this.#materials.get(version) ?? this.#load(version);
  }

  #encrypt(
    version: number,
    binding: Binding,
    plaintext: Buffer,
    series?: MessageSeries,
  ): Buffer | Promise<Buffer> {
    const record = this.record!;
    const keyId = this.#id!;
    const face = sealingFace(binding.face);
    const context = (series ?? { innerContext }).innerContext(binding.tenant, keyId, face, binding.context);
    const versionRecord = record.versions[version - 1]!;
    const sealer =
      versionRecord.custody !== 'transit' && series !== undefined ? series : { seal: sealEnvelope };
    const finish = (key: MessageKey): Buffer => {
      const { algorithm } = versionRecord;
      const facts = { keyId, version, face, algorithm, source: key.source };
      try {
        return sealer.seal(facts, (seed) => key.derive(seed), context, plaintext);
      } finally {
        key.done();
      }
    };
    const key =
      versionRecord.custody === 'transit'
        ? this.#custodyKeys.forSealing(record.id, versionRecord, context, plaintext.length)
        : this.#ownKey(version);
    return key instanceof Promise ? key.then(finish) : finish(key);
  }

  #openingKey(
    version: number,
    source: EnvelopeSource,
    context: Buffer,
  ): MessageKey | undefined | Promise<MessageKey | undefined> {
    const isHere = this.record!.versions[version - 1]!.custody !== 'transit';
    // A version is in one custody: a source of the other kind was not made by it.
    if (isHere !== (source.kind === 'version')) return undefined;
    const made = this.record!.versions[version - 1]!;
    return isHere
      ? this.#ownKey(version)
      : this.#custodyKeys.forOpening(this.record!.id, made, source, context);
  }

  #ownKey(version: number): MessageKey | Promise<MessageKey> {
    const material = this.#material(version);
    return material instanceof Promise ? material.then(messageKeyOf) : messageKeyOf(material);
  }

  get #custodyKeys(): CustodyKeys {
    if (this.#custody === undefined)
      throw new SelloError('SELLO_STORED_KEY_UNREADABLE', {
        detail: 'the key is with a custodian, and none is configured',
      });
    return this.#custody;
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

function messageKeyOf(key: MasterKey): MessageKey {
  return { source: { kind: 'version' }, derive: (seed) => key.envelopeKeys(seed), done: () => undefined };
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
