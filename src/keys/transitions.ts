/**
 * Which changes a keyring allows, as pure functions from one record to the next. Who may ask is access/'s business, when two ask at
 * once the keystore's (compare-and-set), and whether a version is still used the use log's.
 */
import { SelloError } from '../errors.ts';
import {
  defaultTransitSettings,
  type KeyringRecord,
  type TransitSettings,
  type VersionRecord,
  type VersionState,
} from './keyring-record.ts';

/** What an administrator can ask of a key. Spans are seconds. */
export type KeyChange =
  | { readonly kind: 'disable' | 'enable' | 'cancel-deletion' }
  | { readonly kind: 'schedule-deletion'; readonly wait: number }
  | {
      readonly kind: 'set-version';
      readonly version: number;
      readonly state: Exclude<VersionState, 'destroyed'>;
    }
  | { readonly kind: 'schedule-destruction'; readonly version: number; readonly wait: number }
  | { readonly kind: 'cancel-destruction'; readonly version: number }
  | { readonly kind: 'set-min-decryption-version'; readonly version: number }
  | { readonly kind: 'set-rewrap-only' | 'set-cross-face'; readonly on: boolean }
  | { readonly kind: 'set-min-encryption-version'; readonly version: number }
  | { readonly kind: 'set-deletion-allowed'; readonly on: boolean }
  | { readonly kind: 'set-rotation'; readonly every: number };

/** Who changes something, and when (seconds since the epoch). */
export interface Change {
  readonly by: string;
  readonly at: number;
}

/** Rotating more often than this only makes ciphertexts of many versions. */
export const leastRotationSeconds = 3600;
/** Longer than a century of seconds is a slip of the pen. */
export const mostSpanSeconds = 3_155_760_000;

/** The version that seals: the newest enabled one. */
export function sealingVersion({ versions }: KeyringRecord): VersionRecord | undefined {
  return versions.findLast(({ state }) => state === 'enabled');
}

/** @throws SelloError SELLO_KEY_CHANGE_REFUSED with the reason, SELLO_KEY_VERSION_NOT_FOUND, SELLO_KEY_DELETION_PENDING */
export function applyChange(record: KeyringRecord, change: KeyChange, by: Change): KeyringRecord {
  checkAlive(record);
  if (record.state === 'pending-deletion' && change.kind !== 'cancel-deletion')
    throw new SelloError('SELLO_KEY_DELETION_PENDING');
  switch (change.kind) {
    case 'disable':
      if (record.state !== 'enabled') throw refused('the key is disabled already');
      return next(record, by, { state: 'disabled' });
    case 'enable':
      if (record.state !== 'disabled') throw refused('the key is enabled already');
      return next(record, by, { state: 'enabled' });
    case 'schedule-deletion': {
      const after = by.at + checkSpan(change.wait);
      return next(record, by, {
        state: 'pending-deletion',
        deletion: { requestedAt: by.at, after, by: by.by },
      });
    }
    case 'cancel-deletion':
      if (record.state !== 'pending-deletion') throw refused('no deletion is scheduled');
      // As AWS KMS: who stopped the deletion says in a second step that the key is to be used again.
      return next(record, by, { state: 'disabled', deletion: undefined });
    case 'set-version':
      return setVersion(record, change.version, change.state, by);
    case 'schedule-destruction': {
      const version = destroyableVersion(record, change.version);
      const destroyAfter = by.at + checkSpan(change.wait);
      return withVersion(record, by, { ...version, destroyAfter, destroyBy: by.by });
    }
    case 'cancel-destruction': {
      const version = versionOf(record, change.version);
      if (version.destroyAfter === undefined) throw refused('no destruction is scheduled');
      return withVersion(record, by, { ...version, destroyAfter: undefined, destroyBy: undefined });
    }
    case 'set-min-decryption-version': {
      const sealing = sealingVersion(record)?.version ?? record.versions.length;
      versionOf(record, change.version);
      if (change.version > sealing)
        throw refused(`version ${String(sealing)} seals: what it makes could not be opened`);
      return next(record, by, { minDecryptionVersion: change.version });
    }
    case 'set-min-encryption-version': {
      if (change.version !== 0) versionOf(record, change.version);
      const sealing = sealingVersion(record)?.version ?? record.versions.length;
      if (change.version > sealing)
        throw refused(`version ${String(sealing)} seals: it could not be named any more`);
      return withTransit(record, by, { minEncryptionVersion: change.version });
    }
    case 'set-deletion-allowed':
      return withTransit(record, by, { deletionAllowed: change.on });
    case 'set-rewrap-only':
      return next(record, by, { rewrapOnly: change.on });
    case 'set-cross-face':
      return next(record, by, { crossFace: change.on });
    case 'set-rotation': {
      const every = checkSpan(change.every);
      if (every !== 0 && every < leastRotationSeconds)
        throw refused(`a rotation every ${String(every)} s: at least ${String(leastRotationSeconds)}`);
      return next(record, by, { rotateEvery: every, rotateAt: every === 0 ? 0 : by.at + every });
    }
  }
}

/** A rotation on schedule is still to be done. */
export function isDue({ rotateAt, state }: KeyringRecord, nowSeconds: number): boolean {
  return state === 'enabled' && rotateAt !== 0 && nowSeconds >= rotateAt;
}

/** A newest version is added, enabled. */
export function addVersion(record: KeyringRecord, version: VersionRecord, by: Change): KeyringRecord {
  checkAlive(record);
  if (record.state === 'pending-deletion') throw new SelloError('SELLO_KEY_DELETION_PENDING');
  const rotateAt = record.rotateEvery === 0 ? 0 : by.at + record.rotateEvery;
  return next(record, by, { versions: [...record.versions, version], rotateAt });
}

/** @throws SelloError SELLO_KEY_CHANGE_REFUSED */
export function destroyVersion(record: KeyringRecord, number: number, by: Change): KeyringRecord {
  checkAlive(record);
  const version = destroyableVersion(record, number);
  if (version.destroyAfter === undefined) throw refused('its destruction was not scheduled');
  if (by.at < version.destroyAfter)
    throw refused(`its waiting period ends ${instantText(version.destroyAfter)}`);
  return withVersion(record, by, {
    ...version,
    state: 'destroyed',
    destroyAfter: undefined,
    destroyBy: undefined,
    changedAt: by.at,
  });
}

/** @throws SelloError SELLO_KEY_CHANGE_REFUSED: when its end is asked for, not only when that is due */
function destroyableVersion(record: KeyringRecord, number: number): VersionRecord {
  const version = versionOf(record, number);
  if (version.custody === 'kes')
    throw refused(
      `version ${String(number)} lies at the key's own place, with its HMAC key: it can be disabled, and ends with the key`,
    );
  if (version.state !== 'disabled') throw refused('only a disabled version can be destroyed');
  return version;
}

/** @throws SelloError SELLO_KEY_CHANGE_REFUSED */
export function beginDeletion(record: KeyringRecord, by: Change): KeyringRecord {
  if (record.state === 'deleting') return record;
  if (record.state !== 'pending-deletion') throw refused('no deletion is scheduled');
  if (by.at < record.deletion!.after)
    throw refused(`its waiting period ends ${instantText(record.deletion!.after)}`);
  return next(record, by, { state: 'deleting', deletion: undefined });
}

/** A key that ends, or has ended, does not change any more. */
function checkAlive({ state }: KeyringRecord): void {
  if (state === 'deleting') throw new SelloError('SELLO_KEY_DELETION_PENDING');
  if (state === 'deleted') throw new SelloError('SELLO_KEY_NOT_FOUND');
}

export function versionOf({ versions }: KeyringRecord, number: number): VersionRecord {
  const version = versions[number - 1];
  if (version === undefined) throw new SelloError('SELLO_KEY_VERSION_NOT_FOUND');
  return version;
}

/** One generation later. Every change of a record comes through here. */
export function next(record: KeyringRecord, by: Change, changes: Partial<KeyringRecord>): KeyringRecord {
  return { ...record, ...changes, generation: record.generation + 1, changedAt: by.at, changedBy: by.by };
}

function withTransit(record: KeyringRecord, by: Change, changes: Partial<TransitSettings>): KeyringRecord {
  return next(record, by, { transit: { ...(record.transit ?? defaultTransitSettings), ...changes } });
}

function setVersion(
  record: KeyringRecord,
  number: number,
  state: Exclude<VersionState, 'destroyed'>,
  by: Change,
): KeyringRecord {
  const version = versionOf(record, number);
  if (version.state === 'destroyed') throw refused('the version is destroyed');
  if (version.state === state) throw refused(`the version is ${state} already`);
  if (version.state === 'compromised' && state === 'enabled')
    throw refused('a compromised version never seals again: rotate the key');
  if (version.wasCompromised === true && state === 'enabled')
    throw refused('a compromised version never seals again: mark it as compromised, and it opens');
  if (state !== 'enabled' && sealingVersion(record) === version && !hasOtherSealing(record, number))
    throw refused('no other version could seal: rotate the key first, or disable the key');
  return withVersion(record, by, {
    ...version,
    state,
    changedAt: by.at,
    // Disabled, it is still one that others know.
    wasCompromised: version.state === 'compromised' ? true : undefined,
    // Who enables it again takes back what was planned for it.
    ...(state === 'disabled' ? {} : { destroyAfter: undefined, destroyBy: undefined }),
  });
}

/** Whether a version besides this one can seal what may be opened. */
export function hasOtherSealing(record: KeyringRecord, number: number): boolean {
  const least = leastSealing(record);
  return record.versions.some(
    ({ version, state }) => version !== number && version >= least && state === 'enabled',
  );
}

/** What a lower version sealed could not be opened, or nobody may name it. */
function leastSealing({ minDecryptionVersion, transit }: KeyringRecord): number {
  return Math.max(minDecryptionVersion, transit?.minEncryptionVersion ?? 0);
}

function withVersion(record: KeyringRecord, by: Change, changed: VersionRecord): KeyringRecord {
  const versions = record.versions.map((version) =>
    version.version === changed.version ? changed : version,
  );
  const sealing = sealingVersion({ ...record, versions });
  const least = leastSealing(record);
  if (sealing !== undefined && sealing.version < least)
    throw refused(
      `version ${String(sealing.version)} would seal, and the minimum for ${least === record.minDecryptionVersion ? 'opening' : 'sealing'} is ${String(least)}`,
    );
  return next(record, by, { versions });
}

function checkSpan(seconds: number): number {
  if (!Number.isSafeInteger(seconds) || seconds < 0 || seconds > mostSpanSeconds)
    throw refused(`a span of ${String(seconds)} s`);
  return seconds;
}

function instantText(seconds: number): string {
  return new Date(seconds * 1000).toISOString();
}

function refused(detail: string): SelloError {
  return new SelloError('SELLO_KEY_CHANGE_REFUSED', { detail });
}
