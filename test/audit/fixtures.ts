import type { Test } from 'tap';
import type { AuditRecord } from '../../src/audit/record.ts';
import type { Clock, Timer } from '../../src/clock.ts';

/** What a storage node's key call leaves. */
export function keyCall(change: Partial<AuditRecord> = {}): AuditRecord {
  return {
    timeMs: Date.UTC(2026, 10, 23, 4, 5, 6, 78),
    requestId: '8a3c51b20e7d44f0000001a2',
    tenant: 'acme',
    identity: 'f5e70f8a8db7182880796cc708b19925469e4e46591fa2598f4b933dbf08ecf8',
    sourceIp: '192.0.2.7',
    face: 'kes',
    method: 'PUT',
    path: '/v1/key/generate/app-key',
    operation: 'issue',
    key: 'app-key',
    decision: 'allow',
    rule: 'policy app: allow /v1/key/generate/app*',
    status: 200,
    durationMs: 0.25,
    ...change,
  };
}

/** Time that moves when told to. */
export class HandClock implements Clock {
  #nowMs = Date.UTC(2026, 10, 23);
  readonly #timers = new Set<{ atMs: number; run: () => void }>();

  /** Its timers are no timers of the process: something must keep that alive while a test waits. */
  constructor(t: Test) {
    const hold = setInterval(() => undefined, 60_000);
    t.teardown(() => clearInterval(hold));
  }

  now(): number {
    return this.#nowMs;
  }

  monotonic(): number {
    return this.#nowMs;
  }

  setTimer(afterMs: number, run: () => void): Timer {
    const timer = { atMs: this.#nowMs + afterMs, run };
    this.#timers.add(timer);
    return { cancel: () => this.#timers.delete(timer), keepAlive: () => undefined };
  }

  /** Moves time, and runs what is due on the way in its order. */
  advance(ms: number): void {
    const endMs = this.#nowMs + ms;
    for (;;) {
      const due = [...this.#timers].filter((t) => t.atMs <= endMs).sort((a, b) => a.atMs - b.atMs)[0];
      if (due === undefined) break;
      this.#nowMs = Math.max(this.#nowMs, due.atMs);
      this.#timers.delete(due);
      due.run();
    }
    this.#nowMs = endMs;
  }
}
