/**
 * Lets key calls through between the chunks of object streams. In one turn of the event loop every socket that has data is read,
 * so 64 streams would put 64 chunks, with their TLS on both sides, before the next key call. Here the streams of a process share so
 * many bytes a turn; those that come after wait, first come first served, and their sources are not read meanwhile. Few
 * streams, or slow ones, never wait.
 */

/** Half a millisecond of TLS in, AES and TLS out: what a key call may have to wait for in each of its turns of the event loop. */
const bytesPerTurn = 131_072;
/** What one that goes on is expected to take: Node reads a socket by 64 KiB. */
const expectedBytes = 65_536;

export class Turns {
  readonly #waiting = new Set<() => void>();
  readonly #bytesPerTurn: number;
  readonly #nextTurn: (work: () => void) => void;
  #left: number;
  #isTurnAsked = false;

  /** @param nextTurn `setImmediate`, unless a test has its own */
  constructor(
    limitBytes = bytesPerTurn,
    nextTurn: (work: () => void) => void = (work) => void setImmediate(work),
  ) {
    this.#bytesPerTurn = limitBytes;
    this.#left = limitBytes;
    this.#nextTurn = nextTurn;
  }

  /** Counts what a stream has taken. @returns true when it has to {@link wait} before it takes more */
  took(bytes: number): boolean {
    this.#left -= bytes;
    this.#askTurn();
    return this.#left <= 0;
  }

  /** Calls `goOn` when it is this stream's turn, at once when nobody waits and there is something left. */
  wait(goOn: () => void): void {
    if (this.#waiting.size === 0 && this.#left > 0) {
      goOn();
      return;
    }
    this.#waiting.add(goOn);
    this.#askTurn();
  }

  /** A stream that has ended wants no turn. */
  leave(goOn: () => void): void {
    this.#waiting.delete(goOn);
  }

  #askTurn(): void {
    if (this.#isTurnAsked) return;
    this.#isTurnAsked = true;
    this.#nextTurn(this.#onTurn);
  }

  readonly #onTurn = (): void => {
    this.#isTurnAsked = false;
    this.#left = this.#bytesPerTurn;
    // Going on may take bytes at once, those that were read before; what it may read comes on top.
    let expected = 0;
    for (const goOn of this.#waiting) {
      if (this.#left - expected <= 0) break;
      this.#waiting.delete(goOn);
      expected += expectedBytes;
      goOn();
    }
    if (this.#waiting.size > 0) this.#askTurn();
  };
}

/** The streams of this process. */
export const processTurns = new Turns();
