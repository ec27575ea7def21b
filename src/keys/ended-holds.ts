/**
 * Holds that are over, so that a peer that has not heard does not bring them back. Those that peers ended are apart from those that
 * ended here: whoever ends many of his own makes nobody forget the others.
 */
import type { Hold } from './restraint.ts';

/** How long the end of a withdrawn hold is remembered: replicas are down for less. */
export const rememberWithdrawnSeconds = 30 * 24 * 3600;

/** Of each of the two kinds. */
const mostEnded = 5_000;

export interface Withdrawal {
  readonly hold: Hold;
  readonly token: string;
}

interface Ended {
  /** What shows that it was withdrawn; the store has it, otherwise. */
  readonly withdrawal: Withdrawal | undefined;
  readonly at: number;
}

export class EndedHolds {
  readonly #here = new Map<string, Ended>();
  readonly #told = new Map<string, Ended>();
  readonly #onForgotten: (id: string) => void;

  /** @param onForgotten told of each withdrawn one whose end is not remembered any more */
  constructor(onForgotten: (id: string) => void) {
    this.#onForgotten = onForgotten;
  }

  has(id: string): boolean {
    return this.#here.has(id) || this.#told.has(id);
  }

  add(id: string, withdrawal: Withdrawal | undefined, at: number, isTold: boolean): void {
    const ended = isTold ? this.#told : this.#here;
    ended.set(id, { withdrawal, at });
    for (const [old, each] of ended) {
      if (ended.size <= mostEnded && each.at + rememberWithdrawnSeconds > at) break;
      ended.delete(old);
      if (each.withdrawal !== undefined) this.#onForgotten(old);
    }
  }

  *withdrawals(): Generator<{ readonly withdrawal: Withdrawal; readonly isTold: boolean }> {
    for (const isTold of [false, true])
      for (const { withdrawal } of (isTold ? this.#told : this.#here).values())
        if (withdrawal !== undefined) yield { withdrawal, isTold };
  }
}
