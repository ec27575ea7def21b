/**
 * The library on all cores: a worker thread for each, sealing and opening streams of its own, against a plain createCipheriv loop in the same threads and
 * `openssl speed -multi`.
 */
import { spawnSync } from 'node:child_process';
import { createCipheriv, randomBytes } from 'node:crypto';
import { once } from 'node:events';
import os from 'node:os';
import { Worker, isMainThread, parentPort, workerData } from 'node:worker_threads';
import { SegmentOpener, SegmentSealer, type StreamKey } from '../src/formats/index.ts';

const segmentBytes = 131_072;

type Aead = StreamKey['aead'];
type Work = 'loop' | 'seal' | 'open';

interface Job {
  readonly aead: Aead;
  readonly work: Work;
  readonly total: number;
}

/** Seals and opens segments of a stream; the same sealed object is opened again and again. */
function workOf({ aead, work, total }: Job): () => void {
  const key: StreamKey = { aead, key: randomBytes(32), baseNonce: randomBytes(12), segmentBytes };
  const chunk = randomBytes(segmentBytes);
  const out: Buffer[] = [];
  if (work === 'loop')
    return () => {
      for (let done = 0; done < total; done += chunk.length) {
        const cipher = createCipheriv(aead as 'aes-256-gcm', key.key, key.baseNonce, { authTagLength: 16 });
        cipher.update(chunk);
        cipher.final();
        cipher.getAuthTag();
      }
    };
  if (work === 'seal')
    return () => {
      const sealer = new SegmentSealer(key);
      for (let done = 0; done < total; done += chunk.length) {
        out.length = 0;
        sealer.update(chunk, out);
      }
      sealer.final(out);
    };
  const objectSegments = 64;
  const sealed: Buffer[] = [];
  const sealer = new SegmentSealer(key);
  for (let i = 0; i < objectSegments; i++) sealer.update(chunk, sealed);
  sealer.final(sealed);
  return () => {
    for (let done = 0; done < total; done += objectSegments * segmentBytes) {
      const opener = new SegmentOpener(key);
      for (const piece of sealed) {
        out.length = 0;
        opener.update(piece, out);
      }
      opener.final(out);
    }
  };
}

if (!isMainThread && parentPort !== null) {
  const run = workOf(workerData as Job);
  parentPort.postMessage('ready');
  parentPort.once('message', () => {
    run();
    parentPort!.postMessage('done');
  });
}

/** GB/s of all threads together, all started at once. */
async function rateOf(job: Job, threads: number): Promise<number> {
  const workers = Array.from(
    { length: threads },
    () => new Worker(new URL(import.meta.url), { workerData: job }),
  );
  await Promise.all(workers.map((worker) => once(worker, 'message')));
  const startMs = performance.now();
  const done = Promise.all(workers.map((worker) => once(worker, 'message')));
  for (const worker of workers) worker.postMessage('go');
  await done;
  const tookMs = performance.now() - startMs;
  await Promise.all(workers.map((worker) => worker.terminate()));
  return (job.total * threads) / tookMs / 1e6;
}

function openssl(aead: Aead, threads: number, quick: boolean): number | undefined {
  const { stdout } = spawnSync(
    'openssl',
    [
      ...['speed', '-evp', aead, '-bytes', String(segmentBytes)],
      ...['-seconds', quick ? '1' : '3', '-multi', String(threads)],
    ],
    { encoding: 'utf8' },
  );
  const thousands = /([\d.]+)k\s*$/.exec(stdout ?? '')?.[1];
  return thousands === undefined ? undefined : (Number(thousands) * 1000) / 1e9;
}

export async function coresTable(quick: boolean): Promise<void> {
  const total = (quick ? 128 : 1024) * 1_048_576;
  const cores = os.availableParallelism();
  console.log(`\nSegments of 128 KiB in worker threads, GB/s of all together\n`);
  console.log(
    '| cipher | threads | openssl speed -multi | createCipheriv loop | seal | open | seal / loop |',
  );
  console.log('| --- | --- | --- | --- | --- | --- | --- |');
  for (const aead of ['aes-256-gcm', 'chacha20-poly1305'] as const) {
    for (const threads of new Set([1, cores])) {
      const best: Record<Work, number> = { loop: 0, seal: 0, open: 0 };
      // In turns, so that a busy moment of the machine does not fall on one of them alone.
      for (const _ of Array.from({ length: quick ? 1 : 3 }))
        for (const work of ['loop', 'seal', 'open'] as const)
          best[work] = Math.max(best[work], await rateOf({ aead, work, total }, threads));
      const native = openssl(aead, threads, quick);
      const cells = [native ?? NaN, best.loop, best.seal, best.open, best.seal / best.loop];
      console.log(
        `| ${aead} | ${String(threads)} | ${cells.map((cell) => (Number.isNaN(cell) ? '-' : cell.toFixed(2))).join(' | ')} |`,
      );
    }
  }
}

if (isMainThread && import.meta.main) await coresTable(process.argv.includes('--quick'));
