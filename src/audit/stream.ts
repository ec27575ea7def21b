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
import type { AuditConfig, TrailConfig } from '../config/model.ts';
import { SelloError } from '../errors.ts';
import type { Clock, Timer } from '../clock.ts';
import type { RecordStore, RemoteSigner } from '../keystores/index.ts';
import { Batch, ignore } from './batch.ts';
import { auditLine } from './line.ts';
import { NoStream } from './no-stream.ts';
import type { AuditRecord, AuditStream } from './record.ts';
import { slotBatchBytes } from './slot.ts';
import { Shipper } from './ship/shipper.ts';
import { openTrail, type Trail } from './trail.ts';
import type { TrailHead, TrailPosition } from './trail-target.ts';
import { takeSlot, threadKey, type Slot } from './writer.ts';

export interface AuditStreamOptions {
  readonly clock: Clock;
  /** Told when the stream stops taking records, and when it resumes. */
  readonly onFault: (fault: AuditFault) => void;
  /** The tenant that the stream's own notes name. */
  readonly tenant?: string | undefined;
  readonly observer?: AuditObserver | undefined;
  /** Other processes append to the same file (`processes: N`). */
  readonly sharedFile?: boolean;
  /** Where a trail's anchors are kept: the tenant's keystore. */
  readonly records?: RecordStore | undefined;
  /** Signs a trail's checkpoints in place of the key in its `signingKey`. */
  readonly signer?: RemoteSigner | undefined;
  /** How often to look whether the path still names the open file. */
  readonly identityCheckMs?: number;
}

export interface AuditFault {
  /**
   * `torn`: a line that a crash or a full disk had left half-written was closed off, or moved to quarantine.
   * `unshipped`: a target does not take records; they wait in the trail.
   * `unproven`: records are written, and something about their proof is amiss (no checkpoint, no anchor, a stream left behind).
   */
  readonly kind: 'stalled' | 'failed' | 'recovered' | 'torn' | 'unproven' | 'unshipped';
  readonly path: string;
  /** For people, such as `write failed: ENOSPC`. */
  readonly detail: string;
  /** Records refused since the stream stopped. */
  readonly refused: number;
}

/** Where metrics come from; called once per batch, not per record. */
export interface AuditObserver {
  /** `count` records became durable; the oldest had waited `seconds`. */
  written(count: number, bytes: number, seconds: number): void;
  refused(count: number): void;
}

/** An {@link AuditStream} on a file, with what operators and probes need. */
export interface AuditFile extends AuditStream {
  /** Goes on in the file that the path names now (after logrotate). Gets out of a call that hangs, too. */
  reopen(): Promise<void>;
  /** Why records are refused at the moment; undefined when they are taken. */
  readonly trouble: string | undefined;
  /** Records that wait for the disk. */
  readonly queued: number;
  /** How the stream's chain stands; undefined for a plain file. */
  readonly chain: ChainStatus | undefined;
}

export interface ChainStatus {
  readonly stream: string;
  readonly records: number;
  /** Records that the latest checkpoint is over. */
  readonly checkpointed: number;
  /** Why checkpoints or anchors are behind. */
  readonly trouble: string | undefined;
  /** Records that each target has acknowledged. */
  readonly shipped: readonly number[];
}

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

/** A trail of ten million records is read through in this time; most starts take milliseconds. */
const openDeadlineMs = 60_000;

/** @throws SelloError SELLO_AUDIT_UNAVAILABLE when the file cannot be opened within the deadline. */
export async function openAuditStream(config: AuditConfig, options: AuditStreamOptions): Promise<AuditFile> {
  if (config.mode === 'off') return new NoStream();
  const key = await threadKey(config.path, config.mode === 'synced');
  const trail =
    config.trail === undefined ? undefined : await openTrailOf(config, config.trail, options, key);
  const stream = new FileStream(config, options, key, trail);
  await stream.start();
  return stream;
}

/** @throws SelloError SELLO_AUDIT_UNAVAILABLE, after the deadline at the latest */
async function openTrailOf(
  { path: folder, deadlineMs }: AuditConfig,
  config: TrailConfig,
  { clock, tenant, records, signer }: AuditStreamOptions,
  disk: string,
): Promise<Trail> {
  const late = Promise.withResolvers<never>();
  const unavailable = (detail: string, cause?: unknown): SelloError =>
    new SelloError('SELLO_AUDIT_UNAVAILABLE', { detail: `${folder}: ${detail}`, cause });
  // A stream whose position was lost is read from its first record on: that may take longer than a write.
  const timer = clock.setTimer(Math.max(deadlineMs, openDeadlineMs), () =>
    late.reject(unavailable('the trail cannot be opened in time')),
  );
  try {
    return await Promise.race([
      openTrail(folder, config, { tenant, records, signer, disk, nowMs: () => clock.now() }),
      late.promise,
    ]);
  } catch (error) {
    if (error instanceof SelloError) throw error;
    throw unavailable(
      `the trail cannot be opened: ${(error as NodeJS.ErrnoException).code ?? String(error)}`,
      error,
    );
  } finally {
    timer.cancel();
  }
}

type State = 'ok' | 'stalled' | 'failed';

class FileStream implements AuditFile {
  readonly #config: AuditConfig;
  readonly #options: AuditStreamOptions;
  readonly #clock: Clock;
  readonly #key: string;
  /** Undefined for a plain file. */
  #trail: Trail | undefined;
  /** Where the stream stood when last asked. */
  #position: TrailPosition | undefined;
  #segmentSinceMs = 0;
  /** Asks for the stream's head, oldest first. */
  #headsWanted: { readonly roll: boolean; readonly done: (head: TrailHead) => void }[] = [];
  #beat: Timer | undefined;
  /** The stream hangs with its thread, and another one has to be begun. */
  #lostTrail = false;
  #toldTrouble: string | undefined;
  #shippers: Shipper[] = [];
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

  constructor(config: AuditConfig, options: AuditStreamOptions, key: string, trail: Trail | undefined) {
    this.#config = config;
    this.#options = options;
    this.#clock = options.clock;
    this.#key = key;
    this.#trail = trail;
    this.#position = trail?.position;
    this.#slot = this.#takeSlot();
  }

  get trouble(): string | undefined {
    return this.#state === 'ok' ? undefined : `${this.#state}: ${this.#detail}`;
  }

  get queued(): number {
    return this.#queuedRecords;
  }

  get chain(): ChainStatus | undefined {
    if (this.#trail === undefined) return undefined;
    const { stream, notary } = this.#trail;
    const { trouble, last } = notary;
    const shipped = this.#shippers.map(({ acknowledged }) => acknowledged);
    return {
      stream,
      records: this.#slot.size,
      checkpointed: last?.size ?? this.#trail.position.size,
      trouble,
      shipped,
    };
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
          this.#beginTrail();
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
    const line = auditLine(record);
    if (this.#queuedRecords >= maxQueuedRecords || this.#queuedBytes + line.length > maxQueuedBytes) {
      return this.#refuse();
    }
    const batch = this.#batchFor(line.length);
    batch.lines += line;
    batch.count++;
    if (this.#listeners.size > 0) (batch.records ??= []).push(record);
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
    this.#beat?.cancel();
    for (const resolve of this.#reopenWanted.splice(0)) resolve();
    await this.#withinDeadline(this.#lastCheckpoint());
    for (const shipper of this.#shippers) {
      if (shipper.trouble === undefined) await this.#withinDeadline(shipper.shipped(this.#slot.size));
      await this.#withinDeadline(shipper.close());
    }
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

  /** Over all records, for the anchor to say that the stream has ended. */
  #lastCheckpoint(): Promise<void> | undefined {
    const { notary } = this.#trail ?? {};
    if (notary === undefined || this.#state !== 'ok') return undefined;
    return new Promise<void>((resolve) => {
      this.#headsWanted.push({
        roll: false,
        done: (head) => void notary.checkpoint(head, true).then(resolve),
      });
      this.#next();
    });
  }

  #takeSlot(): Slot {
    this.#tornSeen = 0;
    const { path, trail } = this.#config;
    return takeSlot(this.#key, {
      path: this.#trail?.folder ?? path,
      trail:
        this.#trail === undefined
          ? undefined
          : { stream: this.#trail.stream, position: this.#position!, segmentBytes: trail!.segmentBytes },
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
      else this.#chained(batch);
      if (batch.records !== undefined) this.#tell(batch.records);
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
    this.#next();
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

  #beginTrail(): void {
    const trail = this.#trail;
    if (trail === undefined) return;
    this.#segmentSinceMs = this.#clock.monotonic();
    for (const notice of trail.notices) this.#announce('unproven', notice);
    if (this.#options.tenant !== undefined && this.#options.records === undefined)
      this.#announce(
        'unproven',
        'the keystore has no place for anchors: who rules this node can cut or rewrite the log unnoticed',
      );
    void this.append(this.#remark(`audit stream opened by process ${process.pid} of ${hostname()}`));
    this.#startShipping();
    this.#startBeat();
  }

  #startBeat(): void {
    this.#beat?.cancel();
    this.#beat = this.#clock.setTimer(this.#config.trail!.checkpointMs, () => {
      const { segmentAgeMs } = this.#config.trail!;
      const roll = this.#clock.monotonic() - this.#segmentSinceMs >= segmentAgeMs;
      const { trouble } = this.#trail!.notary;
      if (roll || trouble !== undefined || this.#slot.size > this.#position!.size) this.#wantHead(roll);
      this.#startBeat();
    });
    this.#beat.keepAlive(false);
  }

  #chained(batch: Batch): void {
    const { size } = this.#slot;
    for (const shipper of this.#shippers) shipper.grown(size);
    if (this.#config.trail!.release === 'shipped') this.#releaseShipped(batch, size);
    else batch.resolve();
    this.#checkpointIfDue();
  }

  /** Written, and released once the first target has it. */
  #releaseShipped(batch: Batch, size: number): void {
    const timer = this.#clock.setTimer(this.#config.deadlineMs, () => {
      this.#options.observer?.refused(batch.count);
      const why = this.#shippers[0]?.trouble ?? 'no acknowledgement in time';
      batch.reject(this.#unavailable(`recorded, and not released: ${why}`));
    });
    void this.#shippers[0]?.shipped(size).then(() => {
      timer.cancel();
      batch.resolve();
    });
  }

  #startShipping(): void {
    const { folder, stream } = this.#trail!;
    this.#shippers = this.#config.trail!.ship.map(
      (target) =>
        new Shipper(
          target,
          {
            folder,
            stream,
            disk: this.#key,
            clock: this.#clock,
            onTrouble: (trouble) =>
              this.#announce(
                trouble === undefined ? 'recovered' : 'unshipped',
                trouble ?? 'records are shipped again',
              ),
          },
          this.#slot.size,
        ),
    );
  }

  #checkpointIfDue(): void {
    const grown = this.#slot.size - this.#position!.size;
    if (this.#slot.sealedSegments > 0 || grown >= this.#config.trail!.checkpointRecords)
      this.#wantHead(false);
  }

  #wantHead(roll: boolean): void {
    // One at a time: the next one says all that this one would.
    if (this.#headsWanted.length > 0 || this.#closing) return;
    const { notary } = this.#trail!;
    this.#headsWanted.push({
      roll,
      done: (head) => {
        void notary.checkpoint(head).then(() => this.#tellUnproven(notary.trouble));
      },
    });
    this.#next();
  }

  /** Told once when it begins, and again when it changes. */
  #tellUnproven(trouble: string | undefined): void {
    if (trouble === this.#toldTrouble) return;
    this.#toldTrouble = trouble;
    if (trouble === undefined) this.#announce('recovered', 'checkpoints are made and anchored again');
    else this.#announce('unproven', trouble);
  }

  #announce(kind: AuditFault['kind'], detail: string): void {
    this.#options.onFault({ kind, path: this.#config.path, detail, refused: 0 });
  }

  #takeHead({ roll, done }: { roll: boolean; done: (head: TrailHead) => void }): void {
    this.#begin();
    this.#slot.head(roll, (outcome, head) => {
      this.#end();
      if (head === undefined) {
        this.#fail(`new segment failed: ${getSystemErrorName(outcome)}`);
        return;
      }
      if (roll || head.sealed.length > 0) this.#segmentSinceMs = this.#clock.monotonic();
      this.#position = head;
      done(head);
      this.#resume();
    });
    this.#watch();
  }

  /** Another stream, for the one at hand hangs with its thread: what it still writes must not mix with what comes now. */
  async #beginAnew(): Promise<void> {
    this.#busy = true;
    this.#busySinceMs = this.#clock.monotonic();
    try {
      this.#trail = await openTrailOf(this.#config, this.#config.trail!, this.#options, this.#key);
    } catch (error) {
      this.#busy = false;
      this.#fail(error instanceof SelloError ? (error.detail ?? error.message) : String(error));
      return;
    }
    this.#busy = false;
    this.#lostTrail = false;
    for (const shipper of this.#shippers) void shipper.close();
    this.#position = this.#trail.position;
    this.#slot = this.#takeSlot();
    this.#startShipping();
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
      this.#refuseBatch(late);
    }
    for (const batch of this.#waiting.splice(0)) {
      this.#forget(batch);
      this.#refuseBatch(batch);
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

  #refuseBatch(batch: Batch): void {
    this.#refused += batch.count;
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
