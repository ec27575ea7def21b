/** Sends an answer whose body is made page by page, at the pace of its reader. */
import type { KesReply } from './direct-reply.ts';
import type { Answer, NextPage } from './answers.ts';
import { failureLine } from './old-listing.ts';

/** A reader that may not read on gets nothing more after this time: policies change and certificates expire. */
const rejudgeMs = 1000;

interface Sink {
  readonly destroyed: boolean;
  writeHead(status: number, headers: Record<string, string>): unknown;
  write(text: string | Buffer): boolean;
  end(): void;
  destroy(): unknown;
  on(event: 'close' | 'drain', listener: () => void): unknown;
  removeListener(event: 'close' | 'drain', listener: () => void): unknown;
}

export interface PagedAnswerOptions {
  /** For the keystore to give a page, and for the reader to take one. */
  readonly withDeadline: <T>(work: Promise<T>) => Promise<T>;
  readonly mayGoOn: () => boolean;
  /** What the reader is told of an error in the middle; it is also where the error is logged. */
  readonly messageOf: (error: unknown) => string;
}

/** Resolves when the answer has ended, in whatever way; never rejects. */
export async function sendPages(
  reply: KesReply,
  answer: Answer & { readonly next: NextPage },
  { withDeadline, mayGoOn, messageOf }: PagedAnswerOptions,
): Promise<void> {
  reply.hijack();
  const sink = reply.raw as unknown as Sink;
  if (sink.destroyed) return;
  sink.writeHead(answer.status, { 'content-type': answer.type ?? 'application/json' });
  let judgedAtMs = performance.now();
  const send = async (text: string | Buffer): Promise<void> => {
    if (text.length > 0 && !sink.write(text) && !sink.destroyed) await withDeadline(drained(sink));
  };
  try {
    await send(answer.body ?? '');
    for (let more = true; more && !sink.destroyed;) {
      if (performance.now() - judgedAtMs >= rejudgeMs) {
        judgedAtMs = performance.now();
        if (!mayGoOn()) {
          sink.write(failureLine('not authorized: insufficient permissions'));
          break;
        }
      }
      let page: Awaited<ReturnType<NextPage>>;
      try {
        page = await withDeadline(answer.next());
      } catch (error) {
        sink.write(failureLine(messageOf(error)));
        break;
      }
      await send(page.text);
      more = page.more;
    }
    if (!sink.destroyed) sink.end();
  } catch {
    // The reader stopped reading: what it has must not look complete.
    sink.destroy();
  }
}

/** The reader has taken what was written, or is gone. */
function drained(sink: Sink): Promise<void> {
  return new Promise((resolve) => {
    const done = (): void => {
      sink.removeListener('drain', done);
      sink.removeListener('close', done);
      resolve();
    };
    sink.on('drain', done);
    sink.on('close', done);
  });
}
