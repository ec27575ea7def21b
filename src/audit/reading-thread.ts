/** The thread of one search or one verification (see reading.ts). Gives no more than its reader asks for. */
import { parentPort, workerData } from 'node:worker_threads';
import { parseAnchors } from './anchor.ts';
import { TrailFollower } from './follow.ts';
import { newestRecords } from './newest.ts';
import type { ReadingNews, ReadingTask, SearchTask, VerifyTask } from './reading.ts';
import { searchTrail } from './search.ts';
import { verifyTrail } from './verifier.ts';

const port = parentPort!;
const task = workerData as ReadingTask;

/** A reader gets lines in pieces of this size, */
const pieceBytes = 65_536;
/** or as much as there is when it has waited for this long. */
const pieceMs = 100;

const followEveryMs = 500;

let wanted = 0;
let wake = (): void => undefined;
port.on('message', () => {
  wanted++;
  wake();
});

class Pieces {
  #lines = '';
  #count = 0;
  #sinceMs = 0;

  async add(line: Buffer): Promise<void> {
    if (this.#count === 0) this.#sinceMs = performance.now();
    this.#lines += `${line.toString('latin1')}\n`;
    this.#count++;
    if (this.#lines.length >= pieceBytes || performance.now() - this.#sinceMs >= pieceMs) await this.give();
  }

  async give(): Promise<void> {
    if (this.#count === 0) return;
    while (wanted === 0) await new Promise<void>((resolve) => (wake = resolve));
    wanted = 0;
    say({ lines: this.#lines, count: this.#count });
    this.#lines = '';
    this.#count = 0;
  }
}

function say(news: ReadingNews): void {
  port.postMessage(news);
}

async function search({ trail, filter, order, limit, follow }: SearchTask): Promise<void> {
  const pieces = new Pieces();
  const follower = follow ? new TrailFollower(trail, filter) : undefined;
  // Its place comes first, so that nothing is lost between the two; what both find is given once.
  await follower?.begin();
  const given = new Set<string>();
  let count = 0;
  let complete = true;
  const found = order === 'newest' ? newestRecords(trail, filter, limit) : searchTrail(trail, filter);
  for await (const line of found) {
    if (count === limit) {
      complete = false;
      break;
    }
    count++;
    if (follow) given.add(line.toString('latin1'));
    await pieces.add(line);
  }
  if (order === 'newest' && count === limit) complete = false;
  await pieces.give();
  if (follower === undefined) return say({ complete });
  for (;;) {
    for await (const line of follower.more()) if (!given.has(line.toString('latin1'))) await pieces.add(line);
    given.clear();
    await pieces.give();
    await new Promise((resolve) => setTimeout(resolve, followEveryMs));
  }
}

async function verify({ trail, anchors }: VerifyTask): Promise<void> {
  const given = anchors === undefined ? undefined : parseAnchors(anchors);
  say({ report: await verifyTrail(trail, { anchors: given }) });
}

try {
  await (task.kind === 'search' ? search(task) : verify(task));
} catch (error) {
  say({ failure: error instanceof Error ? error.message : String(error) });
}
