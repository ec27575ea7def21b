/**
 * HTTP/1.1 bodies that do not come to an end are cut by Node's `requestTimeout`; over HTTP/2 nothing does that, and a client
 * could hold requests open for ever with a byte now and then. One look a second at the bodies under way costs less than a
 * timer per request.
 */
import { errorCode } from '../../http2/index.ts';
import type { ServedStream } from '../../server/http2-exchange.ts';

const sweepMs = 1000;

export class BodyDeadline {
  /** Read at each look: a reload may change it. */
  readonly #timeoutMs: () => number;
  readonly #pending = new Map<object, { readonly stream: ServedStream; looks: number }>();
  #sweep: NodeJS.Timeout | undefined;

  constructor(timeoutMs: () => number) {
    this.#timeoutMs = timeoutMs;
  }

  /** Resets the stream of a body that is not forgotten in time; its reader hears 'close'. */
  watch(body: object, stream: ServedStream): void {
    this.#pending.set(body, { stream, looks: 0 });
    this.#sweep ??= setInterval(() => this.#look(), sweepMs).unref();
  }

  forget(body: object): void {
    this.#pending.delete(body);
  }

  #look(): void {
    for (const entry of this.#pending.values()) {
      if (++entry.looks * sweepMs > this.#timeoutMs()) entry.stream.close(errorCode.cancel);
    }
    if (this.#pending.size > 0) return;
    clearInterval(this.#sweep);
    this.#sweep = undefined;
  }
}
