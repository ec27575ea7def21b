/** Looks after an answer that lasts: it ends with its reader's right to it, with the server, and never later. */
import type { Readable } from 'node:stream';
import { lookUpEveryMs } from '../../access/people/index.ts';
import type { ServerInfo } from '../../server/info.ts';

export class Watch {
  readonly #stream: Readable;
  readonly #mayGoOn: () => Promise<boolean>;

  constructor(stream: Readable, mayGoOn: () => Promise<boolean>) {
    this.#stream = stream;
    this.#mayGoOn = mayGoOn;
  }

  begin(openStream: ServerInfo['openStream']): void {
    const stream = this.#stream;
    const rejudge = (): void => void this.#judge();
    const timer = setInterval(rejudge, lookUpEveryMs).unref();
    const leave = openStream({ end: () => void stream.destroy(), rejudge });
    stream.once('close', () => {
      clearInterval(timer);
      leave();
    });
  }

  async #judge(): Promise<void> {
    // What cannot be told now is told at the next request.
    const may = await this.#mayGoOn().catch(() => false);
    if (!may) this.#stream.destroy();
  }
}
