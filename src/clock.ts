/** Time as a dependency: what waits or stamps takes a {@link Clock}, so that tests move time instead of sleeping. */
export interface Clock {
  /** Wall clock, milliseconds since the epoch. */
  now(): number;
  /** Milliseconds that never jump, for spans. */
  monotonic(): number;
  /** Runs `run` once after `afterMs`. */
  setTimer(afterMs: number, run: () => void): Timer;
}

export interface Timer {
  cancel(): void;
  /** False: the timer alone does not keep the process alive. Starts true. */
  keepAlive(on: boolean): void;
}

export const systemClock: Clock = {
  now: () => Date.now(),
  monotonic: () => performance.now(),
  setTimer(afterMs, run) {
    const timer = setTimeout(run, afterMs);
    return {
      cancel: () => clearTimeout(timer),
      keepAlive(on) {
        if (on) timer.ref();
        else timer.unref();
      },
    };
  },
};
