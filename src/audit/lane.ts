/**
 * Where work on files that nobody waits for is queued: checkpoints, compression. One at a time for each disk, and
 * {@link maxAtOnce} in all, because a disk that hangs keeps one of libuv's four pool threads, and keystores need theirs.
 */

const maxAtOnce = 2;

interface Job {
  readonly disk: string;
  readonly run: () => Promise<void>;
}

const waiting: Job[] = [];
const busy = new Set<string>();

/** Runs `work` when the lane of `disk` is free. */
export function onLane<T>(disk: string, work: () => Promise<T>): Promise<T> {
  return new Promise<T>((resolve, reject) => {
    waiting.push({ disk, run: () => work().then(resolve, reject) });
    next();
  });
}

function next(): void {
  while (busy.size < maxAtOnce) {
    const at = waiting.findIndex(({ disk }) => !busy.has(disk));
    if (at === -1) return;
    const [{ disk, run }] = waiting.splice(at, 1) as [Job];
    busy.add(disk);
    void run().finally(() => {
      busy.delete(disk);
      next();
    });
  }
}
