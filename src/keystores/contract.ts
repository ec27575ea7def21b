/**
 * Where master keys live. A keystore knows names and opaque bytes, never HTTP, tenants or key formats.
 * Each tenant has a keystore object of its own; two tenants never share a root or prefix.
 */
import type { KeyName } from '../keys/names.ts';

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
  /** Which implementation: `file`, `fs`, `memory`. */
  readonly kind: string;
  /** For people: where it is, without secrets. */
  readonly location: string;
  create(name: KeyName, value: Buffer): Promise<void>;
  read(name: KeyName): Promise<Buffer>;
  delete(name: KeyName): Promise<void>;
  list(options: ListOptions): Promise<NamePage>;
  /** Resolves when the store can serve reads and writes; rejects with SELLO_STORE_UNREACHABLE otherwise. */
  health(): Promise<void>;
  close(): Promise<void>;
}
