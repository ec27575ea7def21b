/**
 * What of the holds on a key becomes a state of its keyring: pure functions from a record and a hold to the change that is written. Who
 * was asked for a hold writes all of it. What a peer tells of has been seen by nobody here, and is written as far as an administrator
 * can undo it, or go on after it: it begins no deletion, and makes versions no faster than a schedule may.
 */
import { createHash } from 'node:crypto';
import { maxVersions, rememberedHolds, type KeyringRecord } from './keyring-record.ts';
import { leavesNothingToSeal, restrictsMore, type Hold, type HoldChange } from './restraint.ts';
import { leastRotationSeconds } from './transitions.ts';

export type OpenHold = Hold & {
  /** It was asked for in this server. */
  readonly isOurs: boolean;
};

export type Settlement =
  /** The record has it, or asks for no less, or it is a deletion that somebody has answered by enabling the key. */
  | 'over'
  /** In force beside the record: for its maker, an administrator or a later time to write. */
  | 'waits'
  | {
      /** undefined: it is so already. */
      readonly change: HoldChange | undefined;
      /** To be remembered in the record. */
      readonly note: string;
    };

export function settlementOf(record: KeyringRecord, hold: OpenHold, atSeconds: number): Settlement {
  if (hasHold(record, hold)) return 'over';
  const { change, id, isOurs } = hold;
  const isMore = restrictsMore(record, change);
  if (isOurs) return { change: isMore ? change : undefined, note: id };
  if (!isMore) return 'over';
  if (change.kind === 'schedule-deletion') {
    const note = partIdOf(id);
    if (record.holds?.includes(note) === true) return 'waits';
    const disable = { kind: 'disable' } as const;
    return { change: restrictsMore(record, disable) ? disable : undefined, note };
  }
  if (leavesNothingToSeal(record, change) && !mayHaveSuccessor(record, atSeconds)) return 'waits';
  return { change, note: id };
}

/** Whether nothing is left of a hold: written, or answered by who enabled the key after the part that a peer may write. */
export function hasHold({ holds, state }: KeyringRecord, { id }: Pick<Hold, 'id'>): boolean {
  if (holds === undefined) return false;
  return holds.includes(id) || (state === 'enabled' && holds.includes(partIdOf(id)));
}

/** Stands in a record for a deletion of which the key has been disabled. */
function partIdOf(id: string): string {
  return createHash('sha256').update(`sello hold, in part ${id}`).digest('hex');
}

/** The last ones, in their order. */
export function withNotes(record: KeyringRecord, notes: readonly string[]): readonly string[] {
  return [...(record.holds ?? []), ...notes].slice(-rememberedHolds);
}

/** A version after the newest one: of version 1 at once; each later one has served for as long as one on schedule has to. */
function mayHaveSuccessor({ versions }: KeyringRecord, atSeconds: number): boolean {
  if (versions.length >= maxVersions) return false;
  return versions.length === 1 || atSeconds - versions.at(-1)!.createdAt >= leastRotationSeconds;
}
