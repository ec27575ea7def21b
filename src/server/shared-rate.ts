/** So many in a second for all that ask, and half of it for any one of them: who floods is put off, and the others are heard. */
export class SharedRate {
  readonly #most: number;
  readonly #spent = new Map<string, number>();
  #all = 0;
  #second = 0;

  constructor(mostPerSecond: number) {
    this.#most = mostPerSecond;
  }

  /** @returns false where it is too much; that is not counted */
  take(who: string, count: number, nowMs = performance.now()): boolean {
    this.#begin(nowMs);
    const spent = (this.#spent.get(who) ?? 0) + count;
    if (spent > this.#most / 2 || this.#all + count > this.#most) return false;
    this.spend(who, count, nowMs);
    return true;
  }

  /** Counts what it turned out to be. */
  spend(who: string, count: number, nowMs = performance.now()): void {
    this.#begin(nowMs);
    this.#spent.set(who, (this.#spent.get(who) ?? 0) + count);
    this.#all += count;
  }

  #begin(nowMs: number): void {
    const second = Math.floor(nowMs / 1000);
    if (second === this.#second) return;
    this.#second = second;
    this.#spent.clear();
    this.#all = 0;
  }
}
