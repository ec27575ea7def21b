/** What every face may know of the process it runs in. */
import type { Logger } from 'pino';
import type { Metrics } from '../telemetry/index.ts';

export interface OpenStream {
  end(): void;
  /** Ends it when its reader may not read on: the configuration has changed. */
  rejudge(): void;
}

export interface ServerInfo {
  readonly version: string;
  readonly commit: string;
  readonly log: Logger;
  readonly metrics: Metrics;
  /** Lines of the error log as KES's `/v1/log/error` sends them. */
  readonly errorLog: { subscribe(listener: (line: string) => void): () => void };
  newRequestId(): string;
  /** Registers an answer that has no end of its own, so that a stop or a reload can end it. Returns the unregister. */
  openStream(stream: OpenStream): () => void;
}
