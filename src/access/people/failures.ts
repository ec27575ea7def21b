/**
 * Passwords are not to be guessed here: failures are counted per name and source, per source, and per name, and beyond a bound nobody is
 * asked any more until time has passed. The first bound is the tightest, so that a stranger's guesses do not lock a person out elsewhere.
 */
import type { Clock } from '../../clock.ts';
import { LoginError } from './refusal.ts';

export const failureBounds = { nameAndSource: 10, source: 50, name: 100 } as const;
export const failureWindowMs = 15 * 60_000;

/** Each failure touches three entries; the oldest go first. */
const maxEntries = 30_000;

interface Tally {
  count: number;
  readonly endMs: number;
}

export class Failures {
  readonly #clock: Clock;
  readonly #tallies = new Map<string, Tally>();

  constructor(clock: Clock) {
    this.#clock = clock;
  }

  /** @throws LoginError SELLO_RATE_LIMITED */
  check(name: string, source: string): void {
    for (const [key, bound] of keysOf(name, source)) {
      const tally = this.#tallies.get(key);
      if (tally !== undefined && this.#clock.monotonic() < tally.endMs && tally.count >= bound)
        throw new LoginError('SELLO_RATE_LIMITED', 'too many failures');
    }
  }

  /** Counted before the directory is asked, so that guesses at once count too; taken back by {@link takeBack}. */
  begin(name: string, source: string): void {
    const nowMs = this.#clock.monotonic();
    for (const [key] of keysOf(name, source)) {
      const tally = this.#tallies.get(key);
      if (tally !== undefined && nowMs < tally.endMs) tally.count++;
      else {
        this.#tallies.delete(key);
        this.#tallies.set(key, { count: 1, endMs: nowMs + failureWindowMs });
      }
    }
    for (const key of this.#tallies.keys()) {
      if (this.#tallies.size <= maxEntries) break;
      this.#tallies.delete(key);
    }
  }

  /** The right password, or no answer of the directory: this try was no guess. */
  takeBack(name: string, source: string): void {
    for (const [key] of keysOf(name, source)) {
      const tally = this.#tallies.get(key);
      if (tally !== undefined && tally.count > 0) tally.count--;
    }
  }
}

/** One name however it is written; directories fold case and blanks. */
function keysOf(name: string, source: string): [string, number][] {
  const folded = name.normalize('NFKC').toLowerCase().replace(/\s+/g, ' ').trim().slice(0, 256);
  return [
    [`b ${source} ${folded}`, failureBounds.nameAndSource],
    [`s ${source}`, failureBounds.source],
    [`n ${folded}`, failureBounds.name],
  ];
}
