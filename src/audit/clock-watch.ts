/** Notices a clock that was moved: by records that go back in time, and by wall and monotonic clock drifting apart. */

/** The time at the beginning of a record line, as it stands there. */
export function timeOf(line: Buffer): string | undefined {
  const found = /^\{"@timestamp":"(\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z)"/.exec(
    line.toString('latin1', 0, 48),
  );
  return found?.[1];
}

export class ClockWatch {
  readonly #toleranceMs: number;
  #latestMs = -Infinity;
  /** Wall clock less monotonic clock. */
  #differenceMs: number | undefined;
  #uptimeMs = 0;

  constructor(toleranceMs: number) {
    this.#toleranceMs = toleranceMs;
  }

  /** @returns what is wrong, for people */
  look(timeMs: number, uptimeMs: number): string | undefined {
    const backMs = this.#latestMs - timeMs;
    const differenceMs = timeMs - uptimeMs;
    // A monotonic clock that begins anew is a machine that was started.
    const movedMs =
      this.#differenceMs === undefined || uptimeMs < this.#uptimeMs ? 0 : differenceMs - this.#differenceMs;
    this.#uptimeMs = uptimeMs;
    this.#differenceMs = differenceMs;
    this.#latestMs = Math.max(this.#latestMs, timeMs);
    if (backMs > this.#toleranceMs) return `the clock went back by ${seconds(backMs)} s`;
    if (Math.abs(movedMs) > this.#toleranceMs)
      return `the clock was moved ${movedMs > 0 ? 'forward' : 'back'} by ${seconds(Math.abs(movedMs))} s`;
    return undefined;
  }
}

function seconds(ms: number): string {
  return String(Math.round(ms / 1000));
}
