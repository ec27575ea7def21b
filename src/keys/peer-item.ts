/**
 * What replicas tell one another of keys (docs/resilience.md, Peers): holds, the end of holds, states of keyrings. No item has a secret
 * in it but the token of a hold that is over.
 */
import { isName, type KeyName } from './names.ts';
import {
  hexId,
  isCount,
  keyStates,
  maxVersions,
  versionStates,
  type KeyState,
  type VersionState,
} from './keyring-record.ts';
import { holdIdOf, type Hold, type HoldChange, type ToldState } from './restraint.ts';
import { mostSpanSeconds } from './transitions.ts';

export type PeerItem =
  | { readonly kind: 'hold'; readonly hold: Hold }
  /** The hold was withdrawn by who has its token. */
  | { readonly kind: 'withdrawn'; readonly hold: Hold; readonly token: string }
  | { readonly kind: 'state'; readonly key: KeyName; readonly state: ToldState };

/** An identity is 64 characters; a person's name is bounded where it comes from. */
const maxByLength = 512;
const hex256 = /^[0-9a-f]{64}$/;

/** Of another replica, or of a file: nothing is taken that is not exactly of this form. */
export function parsePeerItem(value: unknown): PeerItem | undefined {
  const item = fieldsOf(value);
  if (item === undefined) return undefined;
  switch (item['kind']) {
    case 'hold': {
      const hold = parseHold(item['hold']);
      return hold === undefined ? undefined : { kind: 'hold', hold };
    }
    case 'withdrawn': {
      const { token } = item;
      const hold = parseHold(item['hold']);
      return hold !== undefined && isHex256(token) ? { kind: 'withdrawn', hold, token } : undefined;
    }
    case 'state': {
      const state = parseState(item['state']);
      return isKey(item['key']) && state !== undefined
        ? { kind: 'state', key: item['key'], state }
        : undefined;
    }
    default:
      return undefined;
  }
}

export function parseHold(value: unknown): Hold | undefined {
  const hold = fieldsOf(value);
  if (hold === undefined) return undefined;
  const { at, by, createdAt, id, key, keyId, lock } = hold;
  const change = parseChange(hold['change']);
  if (!isHex256(lock) || !isKey(key) || change === undefined || !isCount(at)) return undefined;
  if (typeof by !== 'string' || by.length > maxByLength) return undefined;
  if (keyId !== undefined && !(typeof keyId === 'string' && hexId.test(keyId))) return undefined;
  if (createdAt !== undefined && !isCount(createdAt)) return undefined;
  const said = { lock, key, keyId, createdAt, change, by, at };
  return id === holdIdOf(said) ? { id, ...said } : undefined;
}

function parseChange(value: unknown): HoldChange | undefined {
  const change = fieldsOf(value);
  const { kind, state, version, wait } = change ?? {};
  if (kind === 'disable') return { kind };
  if (kind === 'schedule-deletion' && isCount(wait) && wait <= mostSpanSeconds) return { kind, wait };
  if (kind !== 'set-version' || (state !== 'disabled' && state !== 'compromised')) return undefined;
  return isVersionNumber(version) ? { kind, version, state } : undefined;
}

function parseState(value: unknown): ToldState | undefined {
  const told = fieldsOf(value);
  if (told === undefined) return undefined;
  const { createdAt, crossFace, generation, id, minDecryptionVersion, rewrapOnly, state, versions } = told;
  if (id !== undefined && !(typeof id === 'string' && hexId.test(id))) return undefined;
  if (!isCount(createdAt) || !isCount(generation) || !isCount(minDecryptionVersion)) return undefined;
  if (minDecryptionVersion > maxVersions) return undefined;
  if (typeof crossFace !== 'boolean' || typeof rewrapOnly !== 'boolean') return undefined;
  if (!keyStates.has(state as KeyState)) return undefined;
  if (!Array.isArray(versions) || versions.length > maxVersions) return undefined;
  if (!versions.every((each) => versionStates.has(each as VersionState))) return undefined;
  return {
    id,
    createdAt,
    generation,
    state: state as KeyState,
    versions: versions as VersionState[],
    minDecryptionVersion,
    rewrapOnly,
    crossFace,
  };
}

function fieldsOf(value: unknown): Readonly<Record<string, unknown>> | undefined {
  return typeof value === 'object' && value !== null && !Array.isArray(value)
    ? (value as Record<string, unknown>)
    : undefined;
}

function isKey(value: unknown): value is KeyName {
  return typeof value === 'string' && isName(value);
}

function isHex256(value: unknown): value is string {
  return typeof value === 'string' && hex256.test(value);
}

function isVersionNumber(value: unknown): value is number {
  return isCount(value) && value > 0 && value <= maxVersions;
}
