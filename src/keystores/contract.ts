/**
 * Where master keys live. A keystore knows names and opaque bytes, never HTTP, tenants or key formats.
 * Each tenant has a keystore object of its own; two tenants never share a root or prefix.
 */
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
  /** Which implementation: `file`, `fs`, `memory`, `vault-kv`. */
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
  /** For `sello keystore check`: what to know beside keys that cannot be read. */
  notices?(): Promise<string[]>;
  close(): Promise<void>;
  /** Undefined where the store has no compare-and-set (`fs` as KES writes it, KV version 1): no rotation there. */
  readonly records?: RecordStore | undefined;
}
