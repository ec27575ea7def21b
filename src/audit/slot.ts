/**
 * What a stream and its writer thread share: a few numbers and room for one batch. The stream fills the batch, sets the
 * command and rings the thread's bell; the thread clears the command, leaves the outcome and raises `done`. One command
 * is under way at a time, so neither side ever reads what the other is writing.
 */

import type { TrailPosition } from './trail-target.ts';

/** Positions in the slot's Int32Array. */
export const slotField = {
  command: 0,
  length: 1,
  errno: 2,
  done: 3,
  torn: 4,
  sizeLow: 5,
  sizeHigh: 6,
  sealed: 7,
} as const;

export const slotCommand = { none: 0, open: 1, write: 2, close: 3, head: 4, roll: 5 } as const;

export type SlotCommand = (typeof slotCommand)[keyof typeof slotCommand];

/** The numbers, on a cache line of their own. */
export const slotHeaderBytes = 64;

/** Room for one batch: 32 of the longest lines, some 200 usual ones. */
export const slotBatchBytes = 131_072;

/** Positions in a thread's bell: `rings` goes up with every command, `letters` with every message on the control port. */
export const bellField = { rings: 0, letters: 1 } as const;

/** A stream's size takes two of the numbers: this many bits in the lower one. */
export const sizeLowValues = 2 ** 30;

/** Sent once per stream to its thread. */
export interface SlotLetter {
  readonly memory: SharedArrayBuffer;
  /** `-` is standard output. */
  readonly path: string;
  readonly sync: boolean;
  /** Other processes append to the same file. */
  readonly shared: boolean;
  /** How often the thread looks whether the path still names the open file. */
  readonly identityCheckMs: number;
  /** The path is a folder of chained segments. */
  readonly trail?: TrailLetter | undefined;
}

export interface TrailLetter {
  readonly stream: string;
  /** Where the stream stood when somebody last wrote it down. */
  readonly position: TrailPosition;
  /** A segment that has reached this size is sealed. */
  readonly segmentBytes: number;
}

export interface ThreadData {
  readonly bell: SharedArrayBuffer;
}
