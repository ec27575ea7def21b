/**
 * One audit stream: a file of JSON lines whose records are with the kernel (`written`) or on the disk (`synced`) before
 * `append` resolves.
 *
 * Records of one turn of the event loop, and those that arrive while a write is under way, travel together: one write(2)
 * and, for `synced`, one fdatasync(2) for all of them (group commit). Order is the order of the appends. Handing a batch to the
 * thread costs some 60 µs where both share a core, so a batch is a whole turn's; only a lone caller's record goes at once.
 *
 * When the disk is slow past the deadline the stream is *stalled*, when it answers with an error it has *failed*: every
 * waiting record and every further one is refused at once, so nothing piles up. What had not been handed to the disk yet is
 * dropped with its refusal; what had been may still reach the file. The stream resumes by itself, with a record that says
 * how many were refused and for how long.
 */
import { hostname } from 'node:os';
import { getSystemErrorName } from 'node:util';
import type { AuditConfig } from '../config/model.ts';
import { SelloError } from '../errors.ts';
import type { Clock, Timer } from '../clock.ts';
import { Amends, type Reached } from './amends.ts';
import { Batch, ignore } from './batch.ts';
import type { AuditFault, AuditFile, AuditStreamOptions, ChainStatus } from './file.ts';
import { auditLine } from './line.ts';
import { NoStream } from './no-stream.ts';
import type { AuditRecord } from './record.ts';
import { slotBatchBytes } from './slot.ts';
import { TrailKeeper, type TrailWriter } from './trail-keeper.ts';
import type { TrailHead } from './trail-target.ts';
import { usualLine } from './usual-line.ts';
import { takeSlot, threadKey, type Slot } from './writer.ts';

/** What may wait: half a second of a busy server. More than that means the disk does not keep up. */
const maxQueuedRecords = 16_384;
const maxQueuedBytes = 16 * 1_048_576;

const firstRetryMs = 100;
const lastRetryMs = 1_000;

const identityCheckMs = 1_000;

/** After this many batches of one record in a row there is a lone caller: its records are written at once, nothing would join them. */
const loneBatches = 8;

/** Two records closer than this are not one caller's: it has to get its answer and to ask again. */
const companyMs = 0.12;

/** @throws SelloError SELLO_AUDIT_UNAVAILABLE when the file cannot be opened within the deadline. */
export async function openAuditStream(config: AuditConfig, options: AuditStreamOptions): Promise<AuditFile> {
  if (config.mode === 'off') return new NoStream();
  const key = await threadKey(config.path, config.mode === 'synced');
  const trail =
    config.trail === undefined
      ? undefined
      : await TrailKeeper.open({ audit: config, config: config.trail, stream: options, disk: key });
  const stream = new FileStream(config, options, key, trail);
  await stream.start();
  return stream;
}

type State = 'ok' | 'stalled' | 'failed';

class FileStream implements AuditFile, TrailWriter {
  readonly #config: AuditConfig;
  readonly #options: AuditStreamOptions;
  readonly #clock: Clock;
  readonly #key: string;
  /** Undefined for a plain file. */
  readonly #trail: TrailKeeper | undefined;
  /** Asks for the stream's head, oldest first. */
  #headsWanted: { readonly roll: boolean; readonly done: (head: TrailHead) => void }[] = [];
  /** The stream hangs with its thread, and another one has to be begun. */
  #lostTrail = false;
  readonly #amends = new Amends();
  readonly #listeners = new Set<(record: AuditRecord) => void>();
  #slot: Slot;
  #state: State = 'ok';
  #detail = '';
  #closing = false;
  /** A command is under way in the thread. */
  #busy = false;
  #busySinceMs = 0;
  /** The batch under way; undefined while opening, or after it was refused for being late. */
  #writing: Batch | undefined;
  /** Batches not handed over yet, oldest first. */
  #waiting: Batch[] = [];
  #queuedRecords = 0;
  #queuedBytes = 0;
  #appendedAtMs = -Infinity;
  /** Batches of one record in a row. */
  #singles = 0;
  #flushPlanned = false;
  #deadline: Timer | undefined;
  #retry: Timer | undefined;
  #retryMs = firstRetryMs;
  #refused = 0;
  #stoppedAtMs = 0;
  #tornSeen = 0;
  #reopenWanted: (() => void)[] = [];
  /** Called once nothing is under way and nothing waits. */
  #drained: (() => void) | undefined;

  constructor(config: AuditConfig, options: AuditStreamOptions, key: string, trail: TrailKeeper | undefined) {
    this.#config = config;
    this.#options = options;
    this.#clock = options.clock;
    this.#key = key;
    this.#trail = trail;
    this.#slot = this.#takeSlot();
  }

  get trouble(): string | undefined {
    return this.#state === 'ok' ? undefined : `${this.#state}: ${this.#detail}`;
  }

  get queued(): number {
    return this.#queuedRecords;
  }

  get chain(): ChainStatus | undefined {
    return this.#trail?.status(this.#slot.size);
  }

  get size(): number {
    return this.#slot.size;
  }

  get sealedSegments(): number {
    return this.#slot.sealedSegments;
  }

  async start(): Promise<void> {
    await new Promise<void>((resolve, reject) => {
      const timer = this.#clock.setTimer(this.#config.deadlineMs, () => {
        this.#closing = true;
        this.#slot.hung = true;
        this.#slot.abandon();
        reject(
          this.#unavailable(`${this.#config.path}: open takes longer than ${this.#config.deadlineMs} ms`),
        );
      });
      this.#slot.open((outcome) => {
        timer.cancel();
        if (outcome === 0) {
          this.#noticeTornLines();
          if (this.#trail !== undefined) {
            this.#trail.begin(this);
            void this.append(this.#remark(`audit stream opened by process ${process.pid} of ${hostname()}`));
          }
          resolve();
          return;
        }
        this.#closing = true;
        this.#slot.close(ignore);
        void this.#trail?.release();
        reject(this.#unavailable(`${this.#config.path}: open failed: ${getSystemErrorName(outcome)}`));
      });
    });
  }

  append(record: AuditRecord): Promise<void> {
    if (this.#state !== 'ok' || this.#closing) return this.#refuse();
    const line = usualLine(record);
    if (this.#queuedRecords >= maxQueuedRecords || this.#queuedBytes + line.length > maxQueuedBytes) {
      return this.#refuse();
    }
    const batch = this.#batchFor(line.length);
    batch.lines += line;
    batch.count++;
    batch.records.push(record);
    this.#queuedRecords++;
    this.#queuedBytes += line.length;
    const nowMs = this.#clock.monotonic();
    if (nowMs - this.#appendedAtMs < companyMs) this.#singles = 0;
    this.#appendedAtMs = nowMs;
    if (!this.#busy && !this.#flushPlanned) {
      if (this.#singles >= loneBatches) this.#next();
      else {
        this.#flushPlanned = true;
        setImmediate(this.#flush);
      }
    }
    return batch.promise;
  }

  subscribe(listener: (record: AuditRecord) => void): () => void {
    this.#listeners.add(listener);
    return () => this.#listeners.delete(listener);
  }

  reopen(): Promise<void> {
    if (this.#closing) return Promise.resolve();
    return new Promise((resolve) => {
      this.#reopenWanted.push(resolve);
      if (this.#state === 'stalled' && this.#busy) this.#giveUpThread();
      else if (this.#state === 'failed') this.#recover();
      else this.#next();
    });
  }

  async close(): Promise<void> {
    if (this.#closing) return;
    this.#closing = true;
    this.#retry?.cancel();
    // A stalled stream has nothing left that anybody waits for.
    if (this.#state === 'ok' && (this.#busy || this.#waiting.length > 0)) {
      await new Promise<void>((resolve) => (this.#drained = resolve));
    }
    this.#deadline?.cancel();
    this.#trail?.stop();
    for (const resolve of this.#reopenWanted.splice(0)) resolve();
    if (this.#state === 'ok') await this.#withinDeadline(this.#trail?.lastCheckpoint(this));
    await this.#trail?.shipRest(this.#slot.size, (work) => this.#withinDeadline(work));
    await this.#withinDeadline(
      new Promise<void>((resolve) => {
        this.#slot.close(() => {
          resolve();
          if (!this.#slot.hung) void this.#trail?.release();
        });
      }),
    );
  }

  async #withinDeadline(work: Promise<void> | undefined): Promise<void> {
    if (work === undefined) return;
    await new Promise<void>((resolve) => {
      const timer = this.#clock.setTimer(this.#config.deadlineMs, resolve);
      void work.then(() => {
        timer.cancel();
        resolve();
      });
    });
  }

  #takeSlot(): Slot {
    this.#tornSeen = 0;
    const { path } = this.#config;
    return takeSlot(this.#key, {
      path: this.#trail?.folder ?? path,
      trail: this.#trail?.letter,
      sync: this.#config.mode === 'synced',
      shared: this.#options.sharedFile ?? false,
      identityCheckMs: this.#options.identityCheckMs ?? identityCheckMs,
    });
  }

  #batchFor(bytes: number): Batch {
    const last = this.#waiting.at(-1);
    if (last !== undefined && last.lines.length + bytes <= slotBatchBytes) return last;
    const batch = new Batch(this.#clock.monotonic());
    this.#waiting.push(batch);
    this.#watch();
    return batch;
  }

  readonly #flush = (): void => {
    this.#singles = this.#queuedRecords === 1 ? this.#singles + 1 : 0;
    this.#flushPlanned = false;
    this.#next();
  };

  /** Gives the thread its next command, if it is free and there is one. */
  #next(): void {
    if (this.#busy || this.#state !== 'ok') return;
    if (this.#reopenWanted.length > 0) {
      this.#open();
      return;
    }
    const wanted = this.#headsWanted.shift();
    if (wanted !== undefined) {
      this.#takeHead(wanted);
      return;
    }
    const batch = this.#waiting.shift();
    if (batch === undefined) {
      this.#deadline?.keepAlive(false);
      this.#drained?.();
      return;
    }
    this.#writing = batch;
    this.#begin();
    this.#slot.write(batch.lines, this.#written, this.#config.mode === 'written');
  }

  #open(): void {
    this.#begin();
    this.#slot.open((outcome) => {
      this.#end();
      if (outcome !== 0) {
        this.#fail(`open failed: ${getSystemErrorName(outcome)}`);
        return;
      }
      for (const resolve of this.#reopenWanted.splice(0)) resolve();
      if (this.#state === 'failed' && !this.#closing) this.#prove();
      else this.#resume();
    });
    this.#watch();
  }

  /** A full disk opens files too: records are taken again once the note of the failure could be written. */
  #prove(): void {
    const refused = this.#refused;
    const spanMs = this.#clock.monotonic() - this.#stoppedAtMs;
    this.#begin();
    this.#slot.write(
      auditLine(this.#note(`audit stream failed: ${this.#detail}`, spanMs, refused)),
      (outcome) => {
        this.#end();
        if (outcome === 0) this.#resume(refused);
        else this.#fail(`write failed: ${getSystemErrorName(outcome)}`);
      },
      false,
    );
    this.#watch();
  }

  readonly #written = (outcome: number): void => {
    if (outcome !== 0) {
      this.#busy = false;
      this.#slot.hung = false;
      this.#fail(`write failed: ${getSystemErrorName(outcome)}`);
      return;
    }
    const batch = this.#writing;
    this.#end();
    if (batch !== undefined) {
      this.#forget(batch);
      this.#options.observer?.written(
        batch.count,
        batch.lines.length,
        (this.#clock.monotonic() - batch.firstAtMs) / 1000,
      );
      if (this.#trail === undefined) batch.resolve();
      else this.#trail.chained(batch, this);
      if (this.#listeners.size > 0) this.#tell(batch.records);
    }
    this.#resume();
  };

  #begin(): void {
    this.#busy = true;
    this.#busySinceMs = this.#clock.monotonic();
  }

  #end(): void {
    this.#busy = false;
    this.#writing = undefined;
    this.#slot.hung = false;
  }

  /** The thread has done something without an error: whatever the trouble was, it is over. `noted`: what a note written before said. */
  #resume(noted?: number): void {
    this.#noticeTornLines();
    if (this.#state !== 'ok') {
      const detail = `${this.#state}: ${this.#detail}`;
      const spanMs = this.#clock.monotonic() - this.#stoppedAtMs;
      const refused = noted ?? this.#refused;
      this.#state = 'ok';
      this.#retryMs = firstRetryMs;
      // What was refused while the note was on its way is for the next one.
      this.#refused -= refused;
      if (!this.#closing && noted === undefined)
        void this.append(this.#note(`audit stream ${detail}`, spanMs, refused));
      this.#options.onFault({ kind: 'recovered', path: this.#config.path, detail, refused });
    }
    this.#makeAmends();
    this.#next();
  }

  #makeAmends(): void {
    if (!this.#closing) for (const record of this.#amends.take()) void this.append(record);
  }

  #note(reason: string, durationMs: number, count: number): AuditRecord {
    return {
      timeMs: this.#clock.now(),
      requestId: 'none',
      tenant: this.#options.tenant,
      face: 'server',
      decision: 'none',
      status: 503,
      error: 'SELLO_AUDIT_UNAVAILABLE',
      reason,
      durationMs,
      count,
    };
  }

  #noticeTornLines(): void {
    const torn = this.#slot.tornLines;
    if (torn === this.#tornSeen) return;
    this.#tornSeen = torn;
    const done = this.#trail === undefined ? 'closed off' : 'moved to quarantine';
    const detail = `a line that was not written to its end was ${done}`;
    this.#options.onFault({ kind: 'torn', path: this.#config.path, detail, refused: 0 });
    // Once the stream is open: the quarantine is part of its history.
    if (this.#trail !== undefined) queueMicrotask(() => void this.append(this.#remark(detail)));
  }

  #remark(reason: string): AuditRecord {
    return { ...this.#note(reason, 0, 1), status: 200, error: undefined, count: undefined };
  }

  announce(kind: AuditFault['kind'], detail: string): void {
    this.#options.onFault({ kind, path: this.#config.path, detail, refused: 0 });
  }

  wantHead(roll: boolean, done: (head: TrailHead) => void): void {
    // The last one of all is asked for while closing, and counts whatever else is on its way.
    if (this.#headsWanted.length > 0 && !this.#closing) return;
    this.#headsWanted.push({ roll, done });
    this.#next();
  }

  refuse(batch: Batch, why: string): void {
    this.#options.observer?.refused(batch.count);
    batch.reject(this.#unavailable(why));
    this.#amends.refused(batch, 'stream', why, this.#clock.now());
    if (this.#state === 'ok') this.#makeAmends();
  }

  #takeHead({ roll, done }: { roll: boolean; done: (head: TrailHead) => void }): void {
    this.#begin();
    this.#slot.head(roll, (outcome, head) => {
      this.#end();
      if (head === undefined) {
        this.#fail(`new segment failed: ${getSystemErrorName(outcome)}`);
        return;
      }
      this.#trail?.headTaken(head, roll);
      done(head);
      this.#resume();
    });
    this.#watch();
  }

  /** Goes on in another stream of the trail. */
  async #beginAnew(): Promise<void> {
    this.#busy = true;
    this.#busySinceMs = this.#clock.monotonic();
    try {
      await this.#trail!.openAnew();
    } catch (error) {
      this.#busy = false;
      this.#fail(error instanceof SelloError ? (error.detail ?? error.message) : String(error));
      return;
    }
    this.#busy = false;
    this.#lostTrail = false;
    this.#slot = this.#takeSlot();
    this.#trail!.ship(this);
    this.#open();
  }

  /** Keeps a timer on the oldest thing under way. */
  #watch(): void {
    if (this.#deadline === undefined)
      this.#deadline = this.#clock.setTimer(this.#config.deadlineMs, this.#late);
    else this.#deadline.keepAlive(true);
  }

  readonly #late = (): void => {
    this.#deadline = undefined;
    const oldestMs = this.#busy
      ? (this.#writing?.firstAtMs ?? this.#busySinceMs)
      : (this.#waiting[0]?.firstAtMs ?? Infinity);
    if (oldestMs === Infinity || this.#state === 'stalled') return;
    const leftMs = oldestMs + this.#config.deadlineMs - this.#clock.monotonic();
    // Half a millisecond: timers fire on whole ones.
    if (leftMs > 0.5) {
      this.#deadline = this.#clock.setTimer(leftMs, this.#late);
      return;
    }
    this.#slot.hung = this.#busy;
    this.#stop('stalled', `the disk takes longer than ${this.#config.deadlineMs} ms`);
  };

  #fail(detail: string): void {
    const known = this.#state === 'failed';
    this.#stop('failed', detail, !known);
    this.#retry?.cancel();
    if (this.#closing) return;
    this.#retry = this.#clock.setTimer(this.#retryMs, () => this.#recover());
    this.#retry.keepAlive(false);
    this.#retryMs = Math.min(this.#retryMs * 2, lastRetryMs);
  }

  /** Tries with a fresh open, and on a fresh thread where the old one is gone. */
  #recover(): void {
    this.#retry?.cancel();
    if (this.#busy || this.#closing) return;
    if (this.#lostTrail) {
      void this.#beginAnew();
      return;
    }
    if (!this.#slot.alive) this.#slot = this.#takeSlot();
    this.#open();
  }

  #giveUpThread(): void {
    this.#slot.abandon();
    if (this.#trail !== undefined) {
      this.#writing = undefined;
      this.#lostTrail = true;
      void this.#beginAnew();
      return;
    }
    this.#slot = this.#takeSlot();
    this.#busy = false;
    this.#writing = undefined;
    this.#open();
  }

  /** Refuses everything that waits, and says so once. */
  #stop(state: State, detail: string, announce = true): void {
    if (this.#state === 'ok') this.#stoppedAtMs = this.#clock.monotonic();
    this.#state = state;
    this.#detail = detail;
    if (this.#writing !== undefined) {
      const late = this.#writing;
      this.#writing = undefined;
      this.#forget(late);
      this.#refuseBatch(late, 'disk');
    }
    for (const batch of this.#waiting.splice(0)) {
      this.#forget(batch);
      this.#refuseBatch(batch, 'memory');
    }
    if (announce) {
      this.#options.onFault({
        kind: state as 'stalled' | 'failed',
        path: this.#config.path,
        detail,
        refused: this.#refused,
      });
    }
    this.#drained?.();
  }

  #forget(batch: Batch): void {
    this.#queuedRecords -= batch.count;
    this.#queuedBytes -= batch.lines.length;
  }

  #refuseBatch(batch: Batch, reached: Reached): void {
    this.#refused += batch.count;
    this.#amends.refused(batch, reached, this.#detail, this.#clock.now());
    this.#options.observer?.refused(batch.count);
    batch.reject(this.#unavailable(`${this.#config.path}: ${this.#detail}`));
  }

  #refuse(): Promise<void> {
    if (this.#state !== 'ok') this.#refused++;
    this.#options.observer?.refused(1);
    const why = this.#closing ? 'closed' : this.#state === 'ok' ? 'too many records wait' : this.#detail;
    const refused = Promise.reject(this.#unavailable(`${this.#config.path}: ${why}`));
    refused.catch(ignore);
    return refused;
  }

  #unavailable(detail: string): SelloError {
    return new SelloError('SELLO_AUDIT_UNAVAILABLE', { detail });
  }

  #tell(records: readonly AuditRecord[]): void {
    for (const record of records) {
      for (const listener of this.#listeners) {
        try {
          listener(record);
        } catch {
          // A listener's failure is its own: the record is written.
        }
      }
    }
  }
}
