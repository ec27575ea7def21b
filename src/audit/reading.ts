/**
 * Reading a trail for somebody at a screen, in a thread of its own: to parse and to hash gigabytes must not keep key calls waiting.
 * The thread ends with its work, its reader or its time, whatever comes first.
 */
import { Readable } from 'node:stream';
import { Worker } from 'node:worker_threads';
import { SelloError } from '../errors.ts';
import { formatAnchors, type Anchor } from './anchor.ts';
import type { SearchFilter } from './search.ts';
import type { TrailReport } from './verifier.ts';

export interface SearchTask {
  readonly kind: 'search';
  readonly trail: string;
  readonly filter: SearchFilter;
  /** `oldest`: as they are found, of each stream in order; `newest`: the newest first. */
  readonly order: 'newest' | 'oldest';
  /** Records at most, those that are followed aside. */
  readonly limit: number;
  /** Goes on with what is written from now on, until the reader or the time ends it. */
  readonly follow: boolean;
}

export interface VerifyTask {
  readonly kind: 'verify';
  readonly trail: string;
  /** As `sello audit anchor` writes them; undefined where the keystore has no place for them. */
  readonly anchors: string | undefined;
}

export type ReadingTask = SearchTask | VerifyTask;

/** What a thread says. */
export type ReadingNews =
  | { readonly lines: string; readonly count: number }
  /** All there is was found. */
  | { readonly complete: boolean }
  | { readonly report: TrailReport }
  | { readonly failure: string };

/** How a search ended: the last line of its answer. */
export interface SearchEnd {
  readonly records: number;
  /** False: there may be more that fits. */
  readonly complete: boolean;
  /** `ended`: the reader may not read on, or the server stops. */
  readonly reason: 'all' | 'limit' | 'time' | 'ended' | 'failed';
}

/** A search that takes longer ends and says so. */
export const searchTimeMs = 60_000;
/** After that a page asks again, if there is still somebody in front of it. */
export const followTimeMs = 600_000;
/** With nothing to tell, an empty line comes so often: proxies end what is silent. The first one at once. */
const heartbeatMs = 15_000;
/** Ten million records take some minutes. */
export const verifyTimeMs = 1_800_000;

/** Of one thread. */
const threadLimits = { maxOldGenerationSizeMb: 192, maxYoungGenerationSizeMb: 16 };

function start(task: ReadingTask): Worker {
  const source = import.meta.url.endsWith('.ts') ? './reading-thread.ts' : './reading-thread.js';
  const worker = new Worker(new URL(source, import.meta.url), {
    name: `audit ${task.kind}`,
    workerData: task,
    resourceLimits: threadLimits,
    // Flags of the main program (`--input-type`, `--test`) can keep a thread from starting.
    execArgv: [],
  });
  worker.unref();
  return worker;
}

export interface Reading {
  readonly stream: Readable;
  /** Ends it before its time, in order. */
  end(): void;
}

/**
 * Lines of records as they are found, each with its newline, and as the last one `{"search": SearchEnd}`. Destroying it ends the search.
 * @param ended called once
 */
export function readRecords(task: SearchTask, ended: () => void): Reading {
  const worker = start(task);
  let records = 0;
  let isOver = false;
  const timer = setTimeout(() => end('time'), task.follow ? followTimeMs : searchTimeMs).unref();
  const stream = new Readable({
    read: () => worker.postMessage('more'),
    destroy: (error, done) => {
      close();
      done(error);
    },
  });
  const heartbeat = setInterval(() => stream.push('\n'), heartbeatMs).unref();
  if (task.follow) stream.push('\n');
  else clearInterval(heartbeat);
  const close = (): void => {
    if (isOver) return;
    isOver = true;
    clearTimeout(timer);
    clearInterval(heartbeat);
    void worker.terminate();
    ended();
  };
  const end = (reason: SearchEnd['reason']): void => {
    if (isOver) return;
    const last: SearchEnd = { records, complete: reason === 'all', reason };
    stream.push(`${JSON.stringify({ search: last })}\n`);
    stream.push(null);
    close();
  };
  worker.on('message', (news: ReadingNews) => {
    if (isOver) return;
    if ('lines' in news) {
      records += news.count;
      stream.push(news.lines);
    } else if ('complete' in news) end(news.complete ? 'all' : 'limit');
    else end('failed');
  });
  worker.on('error', () => end('failed'));
  worker.on('exit', () => end('failed'));
  return { stream, end: () => end('ended') };
}

/** @throws SelloError SELLO_AUDIT_UNAVAILABLE when the trail cannot be read, or not in time */
export function verifyInThread(
  trail: string,
  anchors: readonly Anchor[] | undefined,
  signal: AbortSignal,
): Promise<TrailReport> {
  const given = anchors === undefined ? undefined : formatAnchors(anchors);
  const worker = start({ kind: 'verify', trail, anchors: given });
  const { promise, resolve, reject } = Promise.withResolvers<TrailReport>();
  const fail = (detail: string): void => reject(new SelloError('SELLO_AUDIT_UNAVAILABLE', { detail }));
  const timer = setTimeout(() => fail('it takes too long'), verifyTimeMs).unref();
  const abort = (): void => fail('broken off');
  signal.addEventListener('abort', abort, { once: true });
  worker.on('message', (news: ReadingNews) => {
    if ('report' in news) resolve(news.report);
    else if ('failure' in news) fail(news.failure);
  });
  worker.on('error', (error) => fail(error instanceof Error ? error.message : String(error)));
  worker.on('exit', () => fail('the thread ended'));
  if (signal.aborted) abort();
  return promise.finally(() => {
    clearTimeout(timer);
    signal.removeEventListener('abort', abort);
    void worker.terminate();
  });
}
