/**
 * What each of those that tell of holds may bring about in one tenant, each apart from the others: one peer that lies uses up its own
 * share, and keeps nobody else from being heard.
 */

/** Holds of one teller that are in force at a time: as many as may be asked for at one replica. */
const mostHeld = 1_000;
/** Holds and ends of holds that one teller brings in an hour. Each is a record of the tenant's audit. */
const mostTakenPerHour = 4_000;
/** Of all tellers together. */
const mostHeldOfAll = 10_000;

const hourMs = 3_600_000;

interface Share {
  readonly held: Set<string>;
  hour: number;
  taken: number;
}

export class TellerQuotas {
  readonly #shares = new Map<string, Share>();
  readonly #tellers = new Map<string, string>();

  /** Counts it. @returns false where it is one too many */
  mayHold(teller: string, id: string): boolean {
    const share = this.#share(teller);
    if (share.held.size >= mostHeld || this.#tellers.size >= mostHeldOfAll || !this.#count(share))
      return false;
    share.held.add(id);
    this.#tellers.set(id, teller);
    return true;
  }

  /** Counts it. @returns false where it is one too many */
  mayEnd(teller: string): boolean {
    return this.#count(this.#share(teller));
  }

  /** It holds nothing any more. */
  ended(id: string): void {
    const teller = this.#tellers.get(id);
    if (teller === undefined) return;
    this.#tellers.delete(id);
    this.#shares.get(teller)?.held.delete(id);
  }

  #count(share: Share): boolean {
    if (share.taken >= mostTakenPerHour) return false;
    share.taken++;
    return true;
  }

  #share(teller: string): Share {
    const hour = Math.floor(performance.now() / hourMs);
    let share = this.#shares.get(teller);
    if (share === undefined) {
      for (const [name, { held, hour: last }] of this.#shares)
        if (held.size === 0 && last !== hour) this.#shares.delete(name);
      this.#shares.set(teller, (share = { held: new Set(), hour, taken: 0 }));
    }
    if (share.hour !== hour) share.taken = 0;
    share.hour = hour;
    return share;
  }
}
