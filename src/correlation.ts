/**
 * Which request work is done for, known to code that knows no requests: the Vault connection sends the id along and leaves
 * behind what Vault called its own side of it, for the audit record.
 */
import { AsyncLocalStorage } from 'node:async_hooks';

export interface Correlation {
  /** Our request's id. */
  requestId: string | undefined;
  /** Vault's id of the last call that was made for the request: what to look for in Vault's audit log. */
  vaultRequestId: string | undefined;
}

export const correlation = new AsyncLocalStorage<Correlation>();
