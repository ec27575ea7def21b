/** Looks after an answer that lasts: it ends with its reader's right to it, and with the server. */
import { lookUpEveryMs } from '../../access/people/index.ts';
import type { Reading } from '../../audit/index.ts';
import type { ServerInfo } from '../../server/info.ts';

export class Watch {
  readonly #reading: Reading;
  readonly #mayGoOn: () => Promise<boolean>;

  constructor(reading: Reading, mayGoOn: () => Promise<boolean>) {
    this.#reading = reading;
    this.#mayGoOn = mayGoOn;
  }

  begin(openStream: ServerInfo['openStream']): void {
    const rejudge = (): void => void this.#judge();
    const timer = setInterval(rejudge, lookUpEveryMs).unref();
    const leave = openStream({ end: () => this.#reading.end(), rejudge });
    this.#reading.stream.once('close', () => {
      clearInterval(timer);
      leave();
    });
  }

  async #judge(): Promise<void> {
    // What cannot be told now is told at the next request.
    const may = await this.#mayGoOn().catch(() => false);
    if (!may) this.#reading.end();
  }
}
