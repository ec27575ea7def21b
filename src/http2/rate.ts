/** A token bucket: what a client may make happen, without anything useful coming of it. */
export class Rate {
  readonly #perMs: number;
  readonly #burst: number;
  #tokens: number;
  #atMs = 0;

  constructor(perSecond: number, burst: number) {
    this.#perMs = perSecond / 1000;
    this.#burst = burst;
    this.#tokens = burst;
  }

  /** False when it is used up. @param nowMs of a clock that never goes back */
  take(nowMs: number): boolean {
    this.#tokens = Math.min(this.#burst, this.#tokens + (nowMs - this.#atMs) * this.#perMs);
    this.#atMs = nowMs;
    if (this.#tokens < 1) return false;
    this.#tokens--;
    return true;
  }

  /** Something useful came: it may be accompanied by so much. */
  give(tokens: number): void {
    this.#tokens = Math.min(this.#burst, this.#tokens + tokens);
  }
}
