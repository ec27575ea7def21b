/** How far a long copy is: one line on a terminal, rewritten in place; nothing in a pipe. */
import type { Io } from './io.ts';
import { sizeText } from './style.ts';

const everyMs = 100;
const barCells = 24;

export class Progress {
  readonly #io: Io;
  readonly #name: string;
  readonly #total: number | undefined;
  readonly #isShown: boolean;
  readonly #startMs = performance.now();
  #shownMs = 0;
  #done = 0;

  constructor(io: Io, name: string, total: number | undefined) {
    this.#io = io;
    this.#name = name;
    this.#total = total;
    this.#isShown = io.stderr.isTTY === true;
  }

  add(bytes: number): void {
    this.#done += bytes;
    if (!this.#isShown) return;
    const now = performance.now();
    if (now - this.#shownMs < everyMs) return;
    this.#shownMs = now;
    this.#io.stderr.write(`\r\x1b[K${this.#line(now)}`);
  }

  #line(now: number): string {
    const seconds = Math.max(0.001, (now - this.#startMs) / 1000);
    const rate = `${sizeText(Math.round(this.#done / seconds))}/s`;
    if (this.#total === undefined || this.#total === 0)
      return `${this.#name}  ${sizeText(this.#done)}  ${rate}`;
    const share = Math.min(1, this.#done / this.#total);
    const cells = Math.round(share * barCells);
    const bar = `${'#'.repeat(cells)}${'.'.repeat(barCells - cells)}`;
    const left = Math.round((seconds / Math.max(share, 1e-9)) * (1 - share));
    return `${this.#name}  [${bar}] ${String(Math.floor(share * 100))}%  ${rate}  ${String(left)} s left`;
  }

  /** Clears the line. */
  [Symbol.dispose](): void {
    if (this.#isShown && this.#shownMs > 0) this.#io.stderr.write('\r\x1b[K');
  }
}
