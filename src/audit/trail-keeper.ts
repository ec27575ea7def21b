/**
 * The trail's part of a stream: when its head is due for a checkpoint and its segment for sealing, what is told of its proof, which
 * targets have its records, and when a record that must be shipped lets its key go. The stream itself writes (stream.ts); the notary
 * signs; here is when.
 */
import type { AuditConfig, TrailConfig } from '../config/model.ts';
import { SelloError } from '../errors.ts';
import type { Clock, Timer } from '../clock.ts';
import type { Batch } from './batch.ts';
import type { AuditFault, AuditStreamOptions, ChainStatus } from './file.ts';
import { Shipper } from './ship/shipper.ts';
import type { TrailLetter } from './slot.ts';
import { openTrail, type Trail } from './trail.ts';
import type { TrailHead, TrailPosition } from './trail-target.ts';

/** What a trail asks of the stream that writes it. */
export interface TrailWriter {
  /** Records in the chain. */
  readonly size: number;
  /** Segments sealed since the last head. */
  readonly sealedSegments: number;
  /** Asks for the stream's head, unless one is on its way: that one will say all that this one would. */
  wantHead(roll: boolean, done: (head: TrailHead) => void): void;
  announce(kind: AuditFault['kind'], detail: string): void;
  /** Gives up a batch that is written and not released. */
  refuse(batch: Batch, why: string): void;
}

export interface TrailKeeperOptions {
  readonly audit: AuditConfig;
  readonly config: TrailConfig;
  readonly stream: AuditStreamOptions;
  /** The lane of its disk (lane.ts). */
  readonly disk: string;
}

/** A trail of ten million records is read through in this time; most starts take milliseconds. */
const openDeadlineMs = 60_000;

export class TrailKeeper {
  readonly #options: TrailKeeperOptions;
  readonly #clock: Clock;
  #trail: Trail;
  /** Where the stream stood when last asked. */
  #position: TrailPosition;
  #segmentSinceMs = 0;
  #beat: Timer | undefined;
  #toldTrouble: string | undefined;
  #shippers: Shipper[] = [];

  private constructor(options: TrailKeeperOptions, trail: Trail) {
    this.#options = options;
    this.#clock = options.stream.clock;
    this.#trail = trail;
    this.#position = trail.position;
  }

  /** @throws SelloError SELLO_AUDIT_UNAVAILABLE, after the deadline at the latest */
  static async open(options: TrailKeeperOptions): Promise<TrailKeeper> {
    return new TrailKeeper(options, await openTrailOf(options));
  }

  get folder(): string {
    return this.#trail.folder;
  }

  /** For the writer thread. */
  get letter(): TrailLetter {
    const { segmentBytes } = this.#options.config;
    return { stream: this.#trail.stream, position: this.#position, segmentBytes };
  }

  status(records: number): ChainStatus {
    const { stream, notary, position } = this.#trail;
    const { trouble, last } = notary;
    const shipped = this.#shippers.map(({ acknowledged }) => acknowledged);
    return { stream, records, checkpointed: last?.size ?? position.size, trouble, shipped };
  }

  /** The stream is open. */
  begin(writer: TrailWriter): void {
    this.#segmentSinceMs = this.#clock.monotonic();
    for (const notice of this.#trail.notices) writer.announce('unproven', notice);
    const { tenant, records } = this.#options.stream;
    if (tenant !== undefined && records === undefined)
      writer.announce(
        'unproven',
        'the keystore has no place for anchors: who rules this node can cut or rewrite the log unnoticed',
      );
    this.ship(writer);
    this.#startBeat(writer);
  }

  /** Another stream, for the one at hand hangs with its thread: what it still writes must not mix with what comes now. */
  async openAnew(): Promise<void> {
    this.#trail = await openTrailOf(this.#options);
    this.#position = this.#trail.position;
  }

  /** A batch is in the file: releases it, now or once it is shipped. */
  chained(batch: Batch, writer: TrailWriter): void {
    const { size } = writer;
    for (const shipper of this.#shippers) shipper.grown(size);
    if (this.#options.config.release === 'shipped') this.#releaseShipped(batch, writer);
    else batch.resolve();
    const grown = size - this.#position.size;
    if (writer.sealedSegments > 0 || grown >= this.#options.config.checkpointRecords)
      this.#wantCheckpoint(writer, false);
  }

  headTaken(head: TrailHead, rolled: boolean): void {
    if (rolled || head.sealed.length > 0) this.#segmentSinceMs = this.#clock.monotonic();
    this.#position = head;
  }

  stop(): void {
    this.#beat?.cancel();
  }

  /** Over all records, for the anchor to say that the stream has ended. */
  lastCheckpoint(writer: TrailWriter): Promise<void> {
    return new Promise((resolve) => {
      writer.wantHead(false, (head) => void this.#trail.notary.checkpoint(head, true).then(resolve));
    });
  }

  /** What each target still has to get, and its end, each within what `bounded` allows. */
  async shipRest(size: number, bounded: (work: Promise<void>) => Promise<void>): Promise<void> {
    for (const shipper of this.#shippers) {
      if (shipper.trouble === undefined) await bounded(shipper.shipped(size));
      await bounded(shipper.close());
    }
  }

  release(): Promise<void> {
    return this.#trail.release();
  }

  #startBeat(writer: TrailWriter): void {
    this.#beat?.cancel();
    const { checkpointMs, segmentAgeMs } = this.#options.config;
    this.#beat = this.#clock.setTimer(checkpointMs, () => {
      const roll = this.#clock.monotonic() - this.#segmentSinceMs >= segmentAgeMs;
      const { trouble } = this.#trail.notary;
      if (roll || trouble !== undefined || writer.size > this.#position.size)
        this.#wantCheckpoint(writer, roll);
      this.#startBeat(writer);
    });
    this.#beat.keepAlive(false);
  }

  #wantCheckpoint(writer: TrailWriter, roll: boolean): void {
    const { notary } = this.#trail;
    writer.wantHead(roll, (head) => {
      void notary.checkpoint(head).then(() => this.#tellUnproven(notary.trouble, writer));
    });
  }

  /** Told once when it begins, and again when it changes. */
  #tellUnproven(trouble: string | undefined, writer: TrailWriter): void {
    if (trouble === this.#toldTrouble) return;
    this.#toldTrouble = trouble;
    if (trouble === undefined) writer.announce('recovered', 'checkpoints are made and anchored again');
    else writer.announce('unproven', trouble);
  }

  /** Written, and released once the first target has it. */
  #releaseShipped(batch: Batch, writer: TrailWriter): void {
    const first = this.#shippers[0];
    const timer = this.#clock.setTimer(this.#options.audit.deadlineMs, () => {
      writer.refuse(batch, `recorded, and not released: ${first?.trouble ?? 'no acknowledgement in time'}`);
    });
    void first?.shipped(writer.size).then(() => {
      timer.cancel();
      batch.resolve();
    });
  }

  /** Begins to send the stream's records to the targets. */
  ship(writer: TrailWriter): void {
    for (const shipper of this.#shippers) void shipper.close();
    const { folder, stream } = this.#trail;
    const { config, disk } = this.#options;
    const onTrouble = (trouble: string | undefined): void =>
      writer.announce(
        trouble === undefined ? 'recovered' : 'unshipped',
        trouble ?? 'records are shipped again',
      );
    this.#shippers = config.ship.map(
      (target) => new Shipper(target, { folder, stream, disk, clock: this.#clock, onTrouble }, writer.size),
    );
  }
}

/** @throws SelloError SELLO_AUDIT_UNAVAILABLE, after the deadline at the latest */
async function openTrailOf({ audit, config, stream, disk }: TrailKeeperOptions): Promise<Trail> {
  const { path: folder, deadlineMs } = audit;
  const { clock, tenant, records, signer } = stream;
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
