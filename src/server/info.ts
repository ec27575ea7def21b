/** What every face may know of the process it runs in. */
import type { Logger } from 'pino';
import type { Metrics, Tracing } from '../telemetry/index.ts';

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
  /** Undefined while traces are off. */
  readonly tracing: Tracing | undefined;
  /** Hears the text of every line of level error and above (KES's `/v1/log/error`). */
  onErrorLine(listener: (message: string, tenant: string | undefined) => void): () => void;
  newRequestId(): string;
  /** Registers an answer that has no end of its own, so that a stop or a reload can end it. Returns the unregister. */
  openStream(stream: OpenStream): () => void;
}
