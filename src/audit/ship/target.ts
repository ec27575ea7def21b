/** Where records are shipped to. */
import type { ShipConfig } from '../../config/model.ts';
import { Syslog } from './syslog.ts';
import { Webhook } from './webhook.ts';

export interface ShipBatch {
  readonly stream: string;
  /** Sequence number of the first line. */
  readonly first: number;
  /** Without newlines. */
  readonly lines: readonly Buffer[];
}

export interface ShipTarget {
  /** For people, without secrets. */
  readonly name: string;
  readonly batchRecords: number;
  /** Resolves when the target has the batch, as far as it can say. */
  send(batch: ShipBatch, signal: AbortSignal): Promise<void>;
  close(): void;
}

export function targetOf(config: ShipConfig): ShipTarget {
  return config.kind === 'webhook' ? new Webhook(config) : new Syslog(config);
}
