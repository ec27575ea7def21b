/**
 * The server's own stream: refusals before a tenant is known (no certificate, an unknown identity, a bad request line).
 * Anybody who reaches the port can cause them, so they have a quota: beyond it they are counted per source and reason and
 * written as one summary each second. They never touch a tenant's stream, never hold up the refusal they record, and a flood
 * of any size or variety takes a fixed amount of memory.
 */
import type { Clock, Timer } from '../clock.ts';
import type { AuditRecord, AuditStream } from './record.ts';

export interface ServerAudit {
  /** Never throws, never waits. */
  append(record: AuditRecord): void;
  /** Writes the summaries that are due. */
  close(): Promise<void>;
}

export interface ServerAuditOptions {
  readonly stream: AuditStream;
  /** Records written one by one in a second; summaries come on top, at most as many again. */
  readonly maxRecordsPerSecond: number;
  readonly clock: Clock;
}

const windowMs = 1_000;

/** Pairs of source and reason told apart within a second, whatever the quota. */
const maxPairs = 1_024;

/** One pair may take this part of the quota, so that one loud source leaves room for the others. */
const pairShare = 0.25;

/** Longer reasons are not told apart: keys of the table stay small. */
const maxReasonCharacters = 128;

interface Tally {
  /** The first one that was not written by itself. */
  first: AuditRecord | undefined;
  /** Written one by one. */
  written: number;
  /** Only counted. */
  counted: number;
}

export function createServerAudit(options: ServerAuditOptions): ServerAudit {
  return new QuotaAudit(options);
}

class QuotaAudit implements ServerAudit {
  readonly #options: ServerAuditOptions;
  readonly #pairs = new Map<string, Tally>();
  readonly #maxPairs: number;
  readonly #maxPerPair: number;
  /** Everything beyond the table. */
  #others: Tally = { first: undefined, written: 0, counted: 0 };
  #written = 0;
  #windowEndMs = 0;
  #timer: Timer | undefined;
  #closed = false;

  constructor(options: ServerAuditOptions) {
    this.#options = options;
    this.#maxPairs = Math.max(1, Math.min(maxPairs, options.maxRecordsPerSecond));
    this.#maxPerPair = Math.max(1, Math.floor(options.maxRecordsPerSecond * pairShare));
  }

  append(record: AuditRecord): void {
    if (this.#closed) return;
    const now = this.#options.clock.monotonic();
    if (now >= this.#windowEndMs) this.#newWindow(now);
    const tally = this.#tallyOf(record);
    if (this.#written < this.#options.maxRecordsPerSecond && tally.written < this.#maxPerPair) {
      this.#written++;
      tally.written++;
      this.#write(record);
      return;
    }
    tally.first ??= record;
    tally.counted++;
    this.#timer ??= this.#startTimer();
  }

  async close(): Promise<void> {
    if (this.#closed) return;
    this.#closed = true;
    this.#timer?.cancel();
    this.#summarize();
    await this.#options.stream.close();
  }

  #tallyOf(record: AuditRecord): Tally {
    const reason = record.reason ?? record.error ?? '';
    const key = `${record.sourceIp ?? ''} ${reason.slice(0, maxReasonCharacters)}`;
    const known = this.#pairs.get(key);
    if (known !== undefined) return known;
    if (this.#pairs.size >= this.#maxPairs) return this.#others;
    const tally: Tally = { first: undefined, written: 0, counted: 0 };
    this.#pairs.set(key, tally);
    return tally;
  }

  #newWindow(nowMs: number): void {
    this.#summarize();
    this.#windowEndMs = nowMs + windowMs;
  }

  #startTimer(): Timer {
    const timer = this.#options.clock.setTimer(windowMs, () => {
      this.#timer = undefined;
      this.#newWindow(this.#options.clock.monotonic());
    });
    timer.keepAlive(false);
    return timer;
  }

  /** One record per pair that was counted, then a clean table. */
  #summarize(): void {
    const timeMs = this.#options.clock.now();
    for (const { first, counted } of this.#pairs.values()) {
      if (first !== undefined) this.#write(summary(first, counted, timeMs));
    }
    const { first, counted } = this.#others;
    if (first !== undefined) {
      const reason = 'refusals of other sources and reasons';
      this.#write({ ...summary(first, counted, timeMs), sourceIp: undefined, error: undefined, reason });
    }
    this.#pairs.clear();
    this.#others = { first: undefined, written: 0, counted: 0 };
    this.#written = 0;
  }

  #write(record: AuditRecord): void {
    // A stream that does not take records counts them itself and says so when it resumes.
    this.#options.stream.append(record)?.catch(() => undefined);
  }
}

/** What the refusals of one pair have in common; what differs from one to the next is left out. */
function summary(first: AuditRecord, count: number, timeMs: number): AuditRecord {
  return {
    timeMs,
    requestId: first.requestId,
    tenant: undefined,
    sourceIp: first.sourceIp,
    face: first.face,
    decision: first.decision,
    status: first.status,
    error: first.error,
    reason: first.reason,
    durationMs: windowMs,
    count,
  };
}
