/** An audit stream on a file or trail, as its opener, operators, probes and metrics see it. */
import type { Clock } from '../clock.ts';
import type { RecordStore, RemoteSigner } from '../keystores/index.ts';
import type { AuditStream } from './record.ts';

export interface AuditStreamOptions {
  readonly clock: Clock;
  /** Told when the stream stops taking records, and when it resumes. */
  readonly onFault: (fault: AuditFault) => void;
  /** The tenant that the stream's own notes name. */
  readonly tenant?: string | undefined;
  readonly observer?: AuditObserver | undefined;
  /** Other processes append to the same file (`processes: N`). */
  readonly sharedFile?: boolean;
  /** Where a trail's anchors are kept: the tenant's keystore. */
  readonly records?: RecordStore | undefined;
  /** Signs a trail's checkpoints in place of the key in its `signingKey`. */
  readonly signer?: RemoteSigner | undefined;
  /** How often to look whether the path still names the open file. */
  readonly identityCheckMs?: number;
}

export interface AuditFault {
  /**
   * `torn`: a line that a crash or a full disk had left half-written was closed off, or moved to quarantine.
   * `unshipped`: a target does not take records; they wait in the trail.
   * `unproven`: records are written, and something about their proof is amiss (no checkpoint, no anchor, a stream left behind).
   */
  readonly kind: 'stalled' | 'failed' | 'recovered' | 'torn' | 'unproven' | 'unshipped';
  readonly path: string;
  /** For people, such as `write failed: ENOSPC`. */
  readonly detail: string;
  /** Records refused since the stream stopped. */
  readonly refused: number;
}

/** Where metrics come from; called once per batch, not per record. */
export interface AuditObserver {
  /** `count` records became durable; the oldest had waited `seconds`. */
  written(count: number, bytes: number, seconds: number): void;
  refused(count: number): void;
}

/** An {@link AuditStream} on a file, with what operators and probes need. */
export interface AuditFile extends AuditStream {
  /** Goes on in the file that the path names now (after logrotate). Gets out of a call that hangs, too. */
  reopen(): Promise<void>;
  /** Why records are refused at the moment; undefined when they are taken. */
  readonly trouble: string | undefined;
  /** Records that wait for the disk. */
  readonly queued: number;
  /** How the stream's chain stands; undefined for a plain file. */
  readonly chain: ChainStatus | undefined;
}

export interface ChainStatus {
  readonly stream: string;
  readonly records: number;
  /** Records that the latest checkpoint is over. */
  readonly checkpointed: number;
  /** Why checkpoints or anchors are behind. */
  readonly trouble: string | undefined;
  /** Records that each target has acknowledged. */
  readonly shipped: readonly number[];
}
