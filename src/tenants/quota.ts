/**
 * A tenant's quota: requests per second (token bucket) and requests in flight, so that one tenant's storm leaves
 * the others' latency alone. Per process: N processes admit N times as much (docs/configuration.md).
 */
import type { QuotaConfig } from '../config/model.ts';

/**
 * A caller over its quota who asks again as soon as it is refused would keep the process busy with refusals, at the cost of
 * the other tenants. So refusals wait, as many at a time as the second figure.
 */
const leastHoldMs = 100;
const maxHeld = 256;

/** How long one refusal waits: 100 to 200 ms, so that callers that were refused together do not come back together. */
export function quotaHoldMs(): number {
  return leastHoldMs * (1 + Math.random());
}

export class Quota {
  readonly #config: QuotaConfig;
  #tokens: number;
  #filledAtMs: number;
  #inFlight = 0;
  #held = 0;

  constructor(config: QuotaConfig, nowMs: number) {
    this.#config = config;
    this.#tokens = config.burst;
    this.#filledAtMs = nowMs;
  }

  /** Takes one place; false when the tenant has used up its share. Each true needs one {@link leave}. */
  enter(nowMs: number): boolean {
    const { requestsPerSecond, burst, maxRequestsInFlight } = this.#config;
    if (maxRequestsInFlight > 0 && this.#inFlight >= maxRequestsInFlight) return false;
    if (requestsPerSecond > 0) {
      const elapsedMs = Math.max(0, nowMs - this.#filledAtMs);
      this.#tokens = Math.min(burst, this.#tokens + (elapsedMs * requestsPerSecond) / 1000);
      this.#filledAtMs = nowMs;
      if (this.#tokens < 1) return false;
      this.#tokens -= 1;
    }
    this.#inFlight++;
    return true;
  }

  leave(): void {
    this.#inFlight--;
  }

  /** Makes a refusal wait; false when enough of them do. Each true needs one {@link releaseHeld}. */
  hold(): boolean {
    if (this.#held >= maxHeld) return false;
    this.#held++;
    return true;
  }

  releaseHeld(): void {
    this.#held--;
  }

  /** Waits as long as a refusal waits, where there is room for one that waits. */
  async holdRefusal(): Promise<void> {
    if (!this.hold()) return;
    await new Promise((resolve) => setTimeout(resolve, quotaHoldMs()));
    this.releaseHeld();
  }

  get inFlight(): number {
    return this.#inFlight;
  }
}
