/**
 * What keeps a key from being used beside its record in the store, as pure functions: a hold, which an administrator asked for while the
 * store could not be reached, and the state that a peer tells of. Both only ever take away: no function here returns a record that
 * allows more than the one it was given.
 */
import { createHash } from 'node:crypto';
import { framed } from '../crypto/index.ts';
import type { Keyring } from './keyring.ts';
import type { KeyringRecord, KeyState, VersionState } from './keyring-record.ts';
import type { KeyName } from './names.ts';
import { hasOtherSealing, sealingVersion, type KeyChange } from './transitions.ts';

/** Changes that only restrict, and so can be in force before the store knows of them. */
export type HoldChange =
  | { readonly kind: 'disable' }
  | { readonly kind: 'schedule-deletion'; readonly wait: number }
  | { readonly kind: 'set-version'; readonly version: number; readonly state: 'disabled' | 'compromised' };

export interface Hold {
  /** {@link holdIdOf}: nobody can pass on another restriction under the id of this one. */
  readonly id: string;
  /** SHA-256 of a random token, in hex. Who shows the token may withdraw the hold: its maker, and whom its maker told. */
  readonly lock: string;
  readonly key: KeyName;
  /** Which key of this name, as far as it was known where the hold was asked for. */
  readonly keyId?: string | undefined;
  /** Seconds since the epoch. */
  readonly createdAt?: number | undefined;
  readonly change: HoldChange;
  readonly by: string;
  /** Seconds since the epoch. */
  readonly at: number;
}

/** What a keyring record says of the use of its key, and nothing else of it. */
export interface ToldState {
  readonly id?: string | undefined;
  readonly createdAt: number;
  readonly generation: number;
  readonly state: KeyState;
  readonly versions: readonly VersionState[];
  readonly minDecryptionVersion: number;
  readonly rewrapOnly: boolean;
  readonly crossFace: boolean;
}

export function isHoldChange(change: KeyChange): change is HoldChange {
  return (
    change.kind === 'disable' ||
    change.kind === 'schedule-deletion' ||
    (change.kind === 'set-version' && change.state !== 'enabled')
  );
}

export function lockOf(token: string): string {
  return createHash('sha256').update(token, 'hex').digest('hex');
}

/** A hash over everything that a hold says. */
export function holdIdOf({ at, by, change, createdAt, key, keyId, lock }: Omit<Hold, 'id'>): string {
  const asked =
    change.kind === 'set-version'
      ? [change.kind, String(change.version), change.state]
      : [change.kind, 'wait' in change ? String(change.wait) : ''];
  const parts = ['sello hold v1', lock, key, keyId ?? '', String(createdAt ?? ''), by, String(at), ...asked];
  return createHash('sha256')
    .update(framed(...parts.map((part) => Buffer.from(part))))
    .digest('hex');
}

export function toldStateOf(record: KeyringRecord): ToldState {
  const { createdAt, crossFace, generation, id, minDecryptionVersion, rewrapOnly, state, versions } = record;
  return {
    id,
    createdAt,
    generation,
    state,
    versions: versions.map((version) => version.state),
    minDecryptionVersion,
    rewrapOnly,
    crossFace,
  };
}

/** Names may be used again: whether this is the key that was meant, as far as both sides know. */
export function isOfKey(
  { first, stored }: Pick<Keyring, 'first' | 'stored'>,
  meant: { readonly id?: string | undefined; readonly createdAt?: number | undefined },
): boolean {
  if (stored !== undefined && meant.id !== undefined) return stored.id === meant.id;
  return meant.createdAt === undefined || meant.createdAt === Math.max(0, first.createdAt.seconds);
}

/** {@link isOfKey} for a keyring that was read alone. Of one that is implied the id is not known. */
export function isOfRecord(
  { createdAt, id, isImplicit }: KeyringRecord & { readonly isImplicit?: boolean },
  meant: Pick<Hold, 'keyId' | 'createdAt'>,
): boolean {
  if (isImplicit !== true && meant.keyId !== undefined) return id === meant.keyId;
  return meant.createdAt === undefined || meant.createdAt === createdAt;
}

/** @param record of the store; undefined: the key's only version, enabled */
export function restrained(
  record: KeyringRecord | undefined,
  base: () => KeyringRecord,
  holds: readonly Hold[],
  told: readonly ToldState[],
): KeyringRecord | undefined {
  if (holds.length === 0 && told.length === 0) return record;
  const before = record ?? base();
  let after = before;
  for (const hold of holds) after = withHold(after, hold.change);
  for (const state of told) after = withTold(after, state);
  const sealing = sealingVersion(after);
  // Of the versions that are left none may seal what could not be opened.
  if (sealing !== undefined && sealing.version < after.minDecryptionVersion)
    after = withVersions(after, (_, state) => stricter(state, 'compromised'));
  if (record !== undefined) return after;
  // A key without a keyring has no other rules than these two.
  const isFree = after.state === before.state && after.versions[0]!.state === 'enabled';
  return isFree ? undefined : after;
}

function withHold(record: KeyringRecord, change: HoldChange): KeyringRecord {
  switch (change.kind) {
    case 'disable':
      return withState(record, 'disabled');
    case 'schedule-deletion':
      return withState(record, 'pending-deletion');
    case 'set-version':
      return withVersions(record, (version, state) =>
        version === change.version ? stricter(state, change.state) : state,
      );
  }
}

function withTold(record: KeyringRecord, told: ToldState): KeyringRecord {
  const after = withVersions(withState(record, told.state), (version, state) =>
    stricter(state, told.versions[version - 1] ?? 'enabled'),
  );
  return {
    ...after,
    minDecryptionVersion: Math.max(record.minDecryptionVersion, told.minDecryptionVersion),
    rewrapOnly: record.rewrapOnly || told.rewrapOnly,
    crossFace: record.crossFace && told.crossFace,
  };
}

/** Two states of one key of which nobody knows the order: what either refuses. */
export function strictest(one: ToldState, other: ToldState): ToldState {
  const longer = one.versions.length >= other.versions.length ? one : other;
  const shorter = longer === one ? other : one;
  return {
    id: one.id ?? other.id,
    createdAt: one.createdAt,
    generation: Math.max(one.generation, other.generation),
    state: stateRank[one.state] >= stateRank[other.state] ? one.state : other.state,
    versions: longer.versions.map((state, i) => stricter(state, shorter.versions[i] ?? 'enabled')),
    minDecryptionVersion: Math.max(one.minDecryptionVersion, other.minDecryptionVersion),
    rewrapOnly: one.rewrapOnly || other.rewrapOnly,
    crossFace: one.crossFace && other.crossFace,
  };
}

const stateRank: Readonly<Record<KeyState, number>> = {
  enabled: 0,
  creating: 0,
  disabled: 1,
  'pending-deletion': 2,
  deleting: 3,
  deleted: 3,
};

const versionRank: Readonly<Record<VersionState, number>> = {
  enabled: 0,
  compromised: 1,
  disabled: 2,
  destroyed: 3,
};

function withState(record: KeyringRecord, state: KeyState): KeyringRecord {
  if (stateRank[state] <= stateRank[record.state]) return record;
  // A key is gone when the store says so; until then it is one that will be: no caller may make another in its place.
  return { ...record, state: stateRank[state] > stateRank['disabled'] ? 'pending-deletion' : state };
}

function withVersions(
  record: KeyringRecord,
  stateOf: (version: number, state: VersionState) => VersionState,
): KeyringRecord {
  return {
    ...record,
    versions: record.versions.map((version) => ({
      ...version,
      state: stateOf(version.version, version.state),
    })),
  };
}

function stricter(one: VersionState, other: VersionState): VersionState {
  return versionRank[other] > versionRank[one] ? other : one;
}

/** Whether a hold asks for more than the record has already. */
export function restrictsMore(record: KeyringRecord, change: HoldChange): boolean {
  if (change.kind === 'disable') return stateRank[record.state] < stateRank.disabled;
  if (change.kind === 'schedule-deletion') return stateRank[record.state] < stateRank['pending-deletion'];
  const state = record.versions[change.version - 1]?.state;
  return (
    state !== undefined && stricter(state, change.state) !== state && record.state !== 'pending-deletion'
  );
}

/** After it no version would seal, though the key goes on. */
export function leavesNothingToSeal(record: KeyringRecord, change: HoldChange): boolean {
  return (
    change.kind === 'set-version' &&
    sealingVersion(record)?.version === change.version &&
    !hasOtherSealing(record, change.version)
  );
}
