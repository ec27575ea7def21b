/**
 * Sends a stream's records to one target, in order and at least once: how far it has come is written beside the stream, and what
 * was not acknowledged is sent again. It only reads the trail, so a target that is slow or down holds up nothing but itself.
 */
import { createHash } from 'node:crypto';
import { readFile, rename, writeFile } from 'node:fs/promises';
import path from 'node:path';
import type { Clock, Timer } from '../../clock.ts';
import type { ShipConfig } from '../../config/model.ts';
import { onLane } from '../lane.ts';
import { TrailReader } from './reader.ts';
import { targetOf, type ShipTarget } from './target.ts';

export interface ShipperOptions {
  readonly folder: string;
  readonly stream: string;
  /** Which lane the files are read on (see lane.ts). */
  readonly disk: string;
  readonly clock: Clock;
  /** Told when it begins to fail, and with undefined when it works again. */
  readonly onTrouble: (trouble: string | undefined) => void;
}

const firstRetryMs = 250;
const lastRetryMs = 30_000;

export class Shipper {
  readonly #target: ShipTarget;
  readonly #options: ShipperOptions;
  readonly #cursorFile: string;
  readonly #closed = new AbortController();
  #size: number;
  #acknowledged = 0;
  /** Records that were gone before they could be sent. */
  lost = 0;
  #trouble: string | undefined;
  #waiters: { readonly size: number; readonly resolve: () => void }[] = [];
  #wake: (() => void) | undefined;
  #pause: Timer | undefined;
  readonly #running: Promise<void>;

  constructor(config: ShipConfig, options: ShipperOptions, size: number) {
    this.#target = targetOf(config);
    this.#options = options;
    this.#size = size;
    const id = createHash('sha256').update(this.#target.name).digest('hex').slice(0, 12);
    this.#cursorFile = path.join(options.folder, `${id}.shipped`);
    this.#running = this.#run();
  }

  get acknowledged(): number {
    return this.#acknowledged;
  }

  get trouble(): string | undefined {
    return this.#trouble;
  }

  /** The stream has `size` records now. */
  grown(size: number): void {
    this.#size = size;
    this.#wake?.();
  }

  /** Resolves once the first `size` records are acknowledged. */
  shipped(size: number): Promise<void> {
    if (this.#acknowledged >= size) return Promise.resolve();
    return new Promise((resolve) => this.#waiters.push({ size, resolve }));
  }

  /** What is on its way may end; the rest is for the next start. */
  async close(): Promise<void> {
    this.#closed.abort();
    this.#wake?.();
    this.#pause?.cancel();
    await this.#running;
    this.#target.close();
  }

  async #run(): Promise<void> {
    const { folder, stream, disk } = this.#options;
    const { signal } = this.#closed;
    let reader: TrailReader | undefined;
    let retryMs = firstRetryMs;
    while (!signal.aborted) {
      try {
        if (reader === undefined) {
          this.#acknowledged = Math.max(this.#acknowledged, await onLane(disk, () => this.#readCursor()));
          reader = new TrailReader(folder, this.#acknowledged);
        }
        if (this.#acknowledged >= this.#size) {
          await new Promise<void>((resolve) => (this.#wake = resolve));
          this.#wake = undefined;
          continue;
        }
        const from: TrailReader = reader;
        const { first, lines, gap } = await onLane(disk, () => from.read(this.#target.batchRecords));
        if (gap > 0) {
          this.lost += gap;
          this.#tell(
            `records ${first - gap} to ${first - 1} are gone from the trail before they were shipped`,
          );
        }
        if (lines.length === 0) {
          await this.#sleep(firstRetryMs);
          continue;
        }
        await this.#target.send({ stream, first, lines }, signal);
        this.#acknowledged = first + lines.length;
        for (const { resolve } of this.#takeWaiters()) resolve();
        retryMs = firstRetryMs;
        if (gap === 0) this.#tell(undefined);
        await onLane(disk, () => this.#writeCursor());
      } catch (error) {
        if (signal.aborted) break;
        this.#tell(error instanceof Error ? error.message : String(error));
        await reader?.close().catch(() => undefined);
        reader = undefined;
        await this.#sleep(retryMs);
        retryMs = Math.min(retryMs * 2, lastRetryMs);
      }
    }
    await reader?.close().catch(() => undefined);
  }

  #takeWaiters(): { readonly resolve: () => void }[] {
    const done = this.#waiters.filter(({ size }) => size <= this.#acknowledged);
    if (done.length > 0) this.#waiters = this.#waiters.filter(({ size }) => size > this.#acknowledged);
    return done;
  }

  #tell(detail: string | undefined): void {
    const trouble = detail === undefined ? undefined : `${this.#target.name}: ${detail}`;
    if (trouble === this.#trouble) return;
    this.#trouble = trouble;
    this.#options.onTrouble(trouble);
  }

  #sleep(ms: number): Promise<void> {
    return new Promise((resolve) => {
      this.#wake = undefined;
      this.#pause = this.#options.clock.setTimer(ms, resolve);
      this.#pause.keepAlive(false);
      this.#closed.signal.addEventListener('abort', () => resolve(), { once: true });
    });
  }

  async #readCursor(): Promise<number> {
    const text = await readFile(this.#cursorFile, 'latin1').catch(() => '');
    return /^[0-9]{1,16}\n$/.test(text) ? Number(text) : 0;
  }

  async #writeCursor(): Promise<void> {
    const temporary = path.join(this.#options.folder, `.sello-tmp-${path.basename(this.#cursorFile)}`);
    await writeFile(temporary, `${this.#acknowledged}\n`, { mode: 0o640 });
    await rename(temporary, this.#cursorFile);
  }
}
