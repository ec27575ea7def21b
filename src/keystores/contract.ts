/**
 * Where master keys live. A keystore knows names and opaque bytes, never HTTP, tenants or key formats.
 * Each tenant has a keystore object of its own; two tenants never share a root or prefix.
 */
import type { SelloError } from '../errors.ts';
import type { KeyName } from '../keys/names.ts';

/** A keyring record of a key with many versions stays far below it, and so does Vault's limit for an entry (512 KiB). */
export const maxRecordBytes = 65_536;

/** One page of names in ascending byte order. */
export interface NamePage {
  readonly names: KeyName[];
  /** True when names after the last one of this page may exist. */
  readonly more: boolean;
}

export interface ListOptions {
  /** Only names that start with this text. Empty: all. */
  readonly prefix: string;
  /** Only names strictly greater than this one, in byte order. */
  readonly after?: string | undefined;
  /** At most this many names, 1 to 1,024. */
  readonly limit: number;
}

/** A record and the revision to name when it is written again. */
export interface StoredRecord {
  /** The caller's own bytes. */
  readonly value: Buffer;
  /** 1 for a new record, greater after each write. */
  readonly revision: number;
}

/** One page of the names directly below a folder, in ascending byte order. */
export interface RecordPage {
  readonly names: string[];
  readonly more: boolean;
}

/**
 * Small records beside the keys, shared by all replicas: keyrings, later key versions, anchors. KES never sees them.
 * A path is two to four segments of `[0-9A-Za-z_.-]`, 1 to 128 characters each, not `.` or `..`, joined by `/`; a value
 * at most {@link maxRecordBytes}.
 * - `write` is compare-and-set: `expected` is the revision that was read, 0 for "must not exist". Of two at once one wins,
 *   the other gets SELLO_RECORD_CONFLICT. When it returns, the value is as durable as a key.
 * - A record that is there but cannot be read is SELLO_STORED_KEY_UNREADABLE; a store that cannot be asked
 *   SELLO_STORE_UNREACHABLE, never "absent".
 */
export interface RecordStore {
  read(path: string): Promise<StoredRecord | undefined>;
  /** @returns the new revision */
  write(path: string, value: Buffer, expected: number): Promise<number>;
  /** Ends the record with all its earlier revisions; absent is no error. A conflict as for `write`. */
  delete(path: string, expected: number): Promise<void>;
  list(folder: string, options: { readonly after?: string; readonly limit: number }): Promise<RecordPage>;
}

export interface KeyToWrap {
  /** 32 bytes. */
  readonly key: Buffer;
  readonly context: Buffer;
}

export interface WrappedItem {
  readonly wrapped: Buffer;
  /** What it was bound to when it was made. */
  readonly context: Buffer;
}

export type Unwrapped = Buffer | SelloError | undefined;

/**
 * Master keys whose bytes stay where they are: they are named by an id, have versions from 1 on, and wrap keys of 32 bytes, each bound
 * to a context. Errors are a keystore's; what was not wrapped by this key for this context is `undefined`, never an error.
 */
export interface KeyCustody {
  /** Harmless where it exists. @throws SelloError SELLO_STORED_KEY_UNREADABLE when it is not as this custody makes them */
  create(id: string): Promise<void>;
  /** @throws SelloError SELLO_STORED_KEY_UNREADABLE when it is gone */
  latestVersion(id: string): Promise<number>;
  /** @returns the newest version */
  rotate(id: string): Promise<number>;
  /** In the order given; keys stay the caller's. What comes out is not secret. */
  wrap(id: string, items: readonly KeyToWrap[], version: number): Promise<Buffer[]>;
  /**
   * In the order given, each with its own outcome, because a call may carry the ciphertexts of several clients: the key; nothing, when
   * it was not wrapped by this key for this context; SELLO_KEY_VERSION_TOO_OLD when a version is gone for good; SELLO_STORE_UNREACHABLE
   * when the custodian has not heard of it yet.
   */
  unwrap(id: string, items: readonly WrappedItem[]): Promise<Unwrapped[]>;
  /** The version that what was wrapped says of itself; 0 when it says none. */
  versionOf(wrapped: Buffer): number;
  /** The same under the newest version. */
  rewrap(id: string, items: readonly WrappedItem[]): Promise<Buffer[]>;
  /** Ends every version below this one for good. */
  destroyBelow(id: string, version: number): Promise<void>;
  /** Ends the key; harmless when it is gone. */
  delete(id: string): Promise<void>;
}

/** One version of a signing key: the 32 bytes of its public half. */
export interface SignerKey {
  readonly version: number;
  readonly raw: Buffer;
}

/** An Ed25519 key that a store's server holds and never gives out. */
export interface RemoteSigner {
  /** For people. */
  readonly location: string;
  /** The newest version. */
  publicKey(): Promise<SignerKey>;
  sign(version: number, message: Buffer): Promise<Buffer>;
}

/** How a key in custody serves: every message through its custodian, or from memory with stored intermediate keys. */
export interface CustodyMode {
  readonly kind: 'strict' | 'cached';
  /** Bounds of one intermediate key, in one process; after any of them another seals. It opens for as long as its key lives. */
  readonly maxAgeMs: number;
  readonly maxUses: number;
  readonly maxBytes: number;
}

/**
 * Contract, checked by test/keystores/contract.ts on every store:
 * - `create` is atomic and create-only: of two at once one wins, and a name that exists is SELLO_KEY_EXISTS.
 *   When it returns, the value survives a crash of the process (and, for stores on disk, of the machine).
 * - `read` returns bytes owned by the caller, who wipes them. Absent: SELLO_KEY_NOT_FOUND.
 * - `delete` of an absent name is SELLO_KEY_NOT_FOUND. When it returns, no read finds the value.
 * - `list` never loses or repeats a name that exists for the whole of the listing.
 * - A store whose root is gone or cannot be reached is SELLO_STORE_UNREACHABLE, never "not found".
 * - A value that is there but cannot be read is SELLO_STORED_KEY_UNREADABLE; any other fault SELLO_STORE_FAILED.
 */
export interface Keystore {
  /** Which implementation: `file`, `fs`, `memory`, `vault-kv`, `vault-transit`. */
  readonly kind: string;
  /** For people: where it is, without secrets. */
  readonly location: string;
  /** True for a store behind a network, whose calls carry the id of the request they are made for (src/correlation.ts). */
  readonly isRemote?: boolean;
  create(name: KeyName, value: Buffer): Promise<void>;
  read(name: KeyName): Promise<Buffer>;
  delete(name: KeyName): Promise<void>;
  list(options: ListOptions): Promise<NamePage>;
  /** Resolves when the store can serve reads and writes; rejects with SELLO_STORE_UNREACHABLE otherwise. */
  health(): Promise<void>;
  /** Of a store that logs in: the life of the token in use, where that ends. */
  tokenLife?(): { readonly expiresAtMs: number; readonly ttlMs: number } | undefined;
  /** For `sello keystore check`: what to know beside keys that cannot be read. */
  notices?(): Promise<string[]>;
  close(): Promise<void>;
  /** Undefined where the store has no compare-and-set (`fs` as KES writes it, KV version 1): no rotation there. */
  readonly records?: RecordStore | undefined;
  /** Signs the checkpoints of the tenant's audit trail, where that was asked for. */
  readonly signer?: RemoteSigner | undefined;
  /** Present where new master keys are not to be stored, but kept by a custodian. Needs `records`. */
  readonly custody?: { readonly keys: KeyCustody; readonly mode: CustodyMode } | undefined;
}
