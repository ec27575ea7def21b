/**
 * What an audit record may hold: an allow-list by type. A record is built field by field from these and
 * never from a request object, so that a secret cannot slip in.
 */
import type { Face, Operation } from '../access/operations.ts';

/**
 * Status of the first of two records of one request: written before a change, whose result the second one tells (RFC 2518's 102
 * Processing: no answer of ours has it).
 */
export const begunStatus = 102;

/** What is one item's own, of several that went with one request. */
export interface AuditItem {
  readonly key?: string | undefined;
  readonly keyVersion?: number | undefined;
  readonly bucket?: string | undefined;
  readonly object?: string | undefined;
  /** Of a context that names no bucket and object alone. */
  readonly contextSha256?: string | undefined;
  /** How many such in a row; 1 where it is not said. */
  readonly count?: number | undefined;
}

export interface AuditRecord {
  /** Milliseconds since the epoch. */
  readonly timeMs: number;
  readonly requestId: string;
  /** W3C trace id, 32 hexadecimal digits: the caller's, or the one that begins here. */
  readonly traceId?: string | undefined;
  /** undefined for refusals before a tenant is known: those go to the server's own stream. */
  readonly tenant: string | undefined;
  readonly identity?: string | undefined;
  readonly certificateSerial?: string | undefined;
  readonly certificateIssuer?: string | undefined;
  /** Address of the peer, or of the client behind a listed proxy. */
  readonly sourceIp?: string | undefined;
  readonly face: Face | 'server';
  readonly method?: string | undefined;
  /** Decoded path, at most 512 characters of it. */
  readonly path?: string | undefined;
  readonly operation?: Operation | undefined;
  readonly key?: string | undefined;
  /** Of the key: the one that sealed or opened, or that a change is about. */
  readonly keyVersion?: number | undefined;
  /** Bucket and object, where the encryption context names them, or the request itself; no other value of a context appears in clear. */
  readonly bucket?: string | undefined;
  readonly object?: string | undefined;
  readonly contextSha256?: string | undefined;
  /** `bucket`: the data key serves more objects of the bucket than this one. */
  readonly scope?: 'bucket' | undefined;
  /** Of two records of one stream: `release` is written before its first byte leaves, `end` when it is over. */
  readonly phase?: 'release' | 'end' | undefined;
  /** Bytes of body that came and went, in the record of a stream's end. */
  readonly bytesIn?: number | undefined;
  readonly bytesOut?: number | undefined;
  /** The stream ended before it was whole. */
  readonly aborted?: boolean | undefined;
  readonly decision: 'allow' | 'deny' | 'none';
  /** The rule that decided, such as `policy app: allow /v1/key/generate/app*` or `admin`. */
  readonly rule?: string | undefined;
  /** HTTP status of the answer this record allows. */
  readonly status: number;
  /** `SELLO_…` code when the request failed. */
  readonly error?: string | undefined;
  /** For refusals: why, such as `certificate expired`. */
  readonly reason?: string | undefined;
  readonly durationMs: number;
  /** Vault's id of the last call made for this request: what to look for in Vault's own audit log. */
  readonly vaultRequestId?: string | undefined;
  /** For summaries of a flood: how many refusals of this source and reason the record stands for; `durationMs` is their span. */
  readonly count?: number | undefined;
  /** Of a batch: the items that had this outcome, as many as one record has room for (items.ts); `count` says how many they are. */
  readonly items?: readonly AuditItem[] | undefined;
}

/**
 * One stream of records. `append` returns when the record has the durability the stream promises:
 * `written`: the kernel has it; `synced`: the disk has it. Returns undefined when that is so already.
 * Rejects with SELLO_AUDIT_UNAVAILABLE when it cannot be had within the deadline.
 */
export interface AuditStream {
  append(record: AuditRecord): Promise<void> | undefined;
  /** Listeners see each record's line once it is written (the KES log streams). Returns the unsubscribe. */
  subscribe(listener: (record: AuditRecord) => void): () => void;
  close(): Promise<void>;
}
