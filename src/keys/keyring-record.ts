/**
 * What the keystore remembers of a key beside its bytes: versions and their states, and what may be done with them
 * (docs/formats/keyring.md). One small JSON record per key, changed by compare-and-set alone. A key that nobody ever rotated or
 * disabled has none: its only version is the value at its own place.
 */
import { SelloError } from '../errors.ts';
import type { KeyAlgorithm } from './algorithm.ts';
import { keyIdBytes } from './envelope.ts';

/**
 * `creating`: the record is written before the value, so that no two ever belong to different keys. `deleting`: values are being
 * removed. `deleted`: nothing is left but this, so that a record that vanishes is noticed.
 */
export type KeyState = 'enabled' | 'disabled' | 'pending-deletion' | 'creating' | 'deleting' | 'deleted';

/** `compromised`: never seals again, still opens, and each use is told. `destroyed`: its bytes are gone. */
export type VersionState = 'enabled' | 'disabled' | 'compromised' | 'destroyed';

/**
 * Where a version's bytes are. `kes`: the value at the key's own place, in KES's layout. `stored`: a record of its own.
 * `transit`: in Vault's Transit engine, which never gives them out.
 */
export type VersionCustody = 'kes' | 'stored' | 'transit';

export interface VersionRecord {
  readonly version: number;
  readonly state: VersionState;
  readonly custody: VersionCustody;
  readonly algorithm: KeyAlgorithm;
  /** Seconds since the epoch. */
  readonly createdAt: number;
  /** When its state last changed. */
  readonly changedAt: number;
  /** `stored`: the last part of its record's path. `transit`: the version of the Transit key, in decimal. */
  readonly place?: string | undefined;
  /** {@link MasterKey.fingerprint}; none for `transit`. */
  readonly fingerprint?: string | undefined;
  /** When it may be destroyed: set when that is asked for. */
  readonly destroyAfter?: number | undefined;
  /** It was marked as compromised before it was disabled: it seals never again. */
  readonly wasCompromised?: true | undefined;
  /** Who asked. */
  readonly destroyBy?: string | undefined;
}

export interface Deletion {
  readonly requestedAt: number;
  /** Seconds since the epoch: not before. */
  readonly after: number;
  readonly by: string;
}

/** What Vault's Transit knows of a key beside its versions. */
export interface TransitSettings {
  /** Every ciphertext needs a context, as with a key that Vault derives from. For the life of the key. */
  readonly derived: boolean;
  /** The Transit face may delete the key. */
  readonly deletionAllowed: boolean;
  /** A caller of the Transit face who names a version may name none below. 0: none but the one that seals. */
  readonly minEncryptionVersion: number;
}

/** Of a key that was not made by the Transit face and not changed by it. */
export const defaultTransitSettings: TransitSettings = {
  derived: false,
  deletionAllowed: false,
  minEncryptionVersion: 0,
};

export interface KeyringRecord {
  /** Random, for the life of the key; 32 hexadecimal digits. */
  readonly id: string;
  /** Grows with every change: a smaller one than was seen is an old record put back. */
  readonly generation: number;
  readonly state: KeyState;
  readonly createdAt: number;
  readonly createdBy: string;
  readonly changedAt: number;
  readonly changedBy: string;
  /** Ascending, no gaps. */
  readonly versions: readonly VersionRecord[];
  /** Ciphertexts of lower versions are refused. At least 1. */
  readonly minDecryptionVersion: number;
  /** Compromised versions open for rewrapping only. */
  readonly rewrapOnly: boolean;
  /** Ciphertexts of one face open on the others. */
  readonly crossFace: boolean;
  /** Seconds between rotations; 0: by hand only. */
  readonly rotateEvery: number;
  /** Seconds since the epoch: when the next rotation is due. 0 without a schedule. */
  readonly rotateAt: number;
  readonly deletion?: Deletion | undefined;
  /** Of the value at the key's own place, where that is no version: it holds the HMAC key alone. */
  readonly valueFingerprint?: string | undefined;
  /** None: {@link defaultTransitSettings}. */
  readonly transit?: TransitSettings | undefined;
  /** The last holds (restraint.ts) that were written into it, by their ids: none is written twice, whatever came after it. */
  readonly holds?: readonly string[] | undefined;
}

/** Ids of holds that a record remembers. */
export const rememberedHolds = 32;

/** A record with so many still fits into what a keystore takes, with room to spare. */
export const maxVersions = 256;

const format = 1;

export function formatKeyring(record: KeyringRecord): Buffer {
  return Buffer.from(JSON.stringify({ format, ...record }));
}

/** @throws SelloError SELLO_STORED_KEY_UNREADABLE */
export function parseKeyring(value: Buffer): KeyringRecord {
  let parsed: unknown;
  try {
    parsed = JSON.parse(value.toString());
  } catch {
    throw unreadable('not JSON');
  }
  const record = parsed as Partial<KeyringRecord> & { format?: unknown };
  if (typeof parsed !== 'object' || parsed === null) throw unreadable('no object');
  if (record.format !== format)
    throw unreadable(`format ${String(record.format)} is not known to this release`);
  if (typeof record.id !== 'string' || !hexId.test(record.id)) throw unreadable('id');
  if (!isCount(record.generation) || record.generation === 0) throw unreadable('generation');
  if (!keyStates.has(record.state as KeyState)) throw unreadable('state');
  for (const field of ['createdAt', 'changedAt', 'rotateEvery', 'rotateAt'] as const)
    if (!isCount(record[field])) throw unreadable(field);
  for (const field of ['createdBy', 'changedBy'] as const)
    if (typeof record[field] !== 'string') throw unreadable(field);
  for (const field of ['rewrapOnly', 'crossFace'] as const)
    if (typeof record[field] !== 'boolean') throw unreadable(field);
  const { deletion, minDecryptionVersion, versions } = record;
  if (!Array.isArray(versions) || versions.length > maxVersions) throw unreadable('versions');
  // Of an ended key nothing but its record is left; every other has its first version.
  if ((versions.length === 0) !== (record.state === 'deleted')) throw unreadable('versions');
  for (const [position, version] of (versions as readonly unknown[]).entries()) {
    if (!isVersion(version) || version.version !== position + 1) throw unreadable(`version ${position + 1}`);
    if (version.custody === 'kes' && position > 0) throw unreadable(`version ${position + 1}`);
  }
  if (!isCount(minDecryptionVersion) || minDecryptionVersion === 0) throw unreadable('minDecryptionVersion');
  if (versions.length > 0 && minDecryptionVersion > versions.length) throw unreadable('minDecryptionVersion');
  if ((deletion !== undefined) !== (record.state === 'pending-deletion')) throw unreadable('deletion');
  if (deletion !== undefined && !isDeletion(deletion)) throw unreadable('deletion');
  const { valueFingerprint } = record;
  const isPlain = valueFingerprint === undefined;
  if (!isPlain && (typeof valueFingerprint !== 'string' || !fingerprintPattern.test(valueFingerprint)))
    throw unreadable('valueFingerprint');
  // The first version is at the key's own place, or with a custodian, or something else is there.
  if (versions.length > 0 && isPlain === (record.versions![0]!.custody === 'stored'))
    throw unreadable('valueFingerprint');
  if (record.transit !== undefined && !isTransitSettings(record.transit, versions.length))
    throw unreadable('transit');
  if (record.holds !== undefined && !isHoldList(record.holds)) throw unreadable('holds');
  const { format: _, ...rest } = record;
  return rest as KeyringRecord;
}

export const hexId = new RegExp(`^[0-9a-f]{${2 * keyIdBytes}}$`);
const fingerprintPattern = /^[0-9a-f]{32}$/;
export const keyStates: ReadonlySet<KeyState> = new Set([
  'enabled',
  'disabled',
  'pending-deletion',
  'creating',
  'deleting',
  'deleted',
]);
export const versionStates: ReadonlySet<VersionState> = new Set([
  'enabled',
  'disabled',
  'compromised',
  'destroyed',
]);
const placePattern = /^[0-9a-z.]{1,64}$/;

function isVersion(value: unknown): value is VersionRecord {
  if (typeof value !== 'object' || value === null) return false;
  const version = value as Partial<VersionRecord>;
  const { custody, place, fingerprint } = version;
  const isPlaced =
    custody === 'kes'
      ? place === undefined && typeof fingerprint === 'string'
      : custody === 'stored'
        ? typeof place === 'string' && typeof fingerprint === 'string'
        : custody === 'transit' && typeof place === 'string' && fingerprint === undefined;
  return (
    isPlaced &&
    (place === undefined || placePattern.test(place)) &&
    (fingerprint === undefined || fingerprintPattern.test(fingerprint)) &&
    isCount(version.version) &&
    versionStates.has(version.state as VersionState) &&
    (version.algorithm === 'AES256' || version.algorithm === 'ChaCha20') &&
    isCount(version.createdAt) &&
    isCount(version.changedAt) &&
    (version.destroyAfter === undefined || isCount(version.destroyAfter)) &&
    (version.wasCompromised === undefined || version.wasCompromised === true) &&
    (version.destroyBy === undefined || typeof version.destroyBy === 'string')
  );
}

function isDeletion(value: unknown): value is Deletion {
  if (typeof value !== 'object' || value === null) return false;
  const { after, by, requestedAt } = value as Partial<Deletion>;
  return isCount(after) && isCount(requestedAt) && typeof by === 'string';
}

function isTransitSettings(value: unknown, versions: number): value is TransitSettings {
  if (typeof value !== 'object' || value === null) return false;
  const { deletionAllowed, derived, minEncryptionVersion } = value as Partial<TransitSettings>;
  return (
    typeof deletionAllowed === 'boolean' &&
    typeof derived === 'boolean' &&
    isCount(minEncryptionVersion) &&
    // Of an ended key the versions are gone, and their numbers with them.
    (versions === 0 || minEncryptionVersion <= versions)
  );
}

function isHoldList(value: unknown): value is readonly string[] {
  return (
    Array.isArray(value) &&
    value.length <= rememberedHolds &&
    value.every((id) => typeof id === 'string' && /^[0-9a-f]{64}$/.test(id))
  );
}

/** A whole number, not negative. */
export function isCount(value: unknown): value is number {
  return typeof value === 'number' && Number.isSafeInteger(value) && value >= 0;
}

function unreadable(what: string): SelloError {
  return new SelloError('SELLO_STORED_KEY_UNREADABLE', { detail: `keyring record: ${what}` });
}
