/** Records that reach the disk together, and the one promise their callers share. */
import type { SelloError } from '../errors.ts';
import type { AuditRecord } from './record.ts';

export class Batch {
  lines = '';
  count = 0;
  readonly firstAtMs: number;
  readonly records: AuditRecord[] = [];
  readonly promise: Promise<void>;
  readonly resolve: () => void;
  readonly reject: (error: SelloError) => void;

  constructor(firstAtMs: number) {
    this.firstAtMs = firstAtMs;
    const { promise, resolve, reject }: PromiseWithResolvers<void> = Promise.withResolvers();
    this.promise = promise;
    this.resolve = resolve;
    this.reject = reject;
    // The callers hold the promise; one that does not look must not end the process.
    promise.catch(ignore);
  }
}

export function ignore(): void {
  // On purpose: see Batch.
}
