/** What the client returns. Times are the server's own RFC 3339 texts (KES gives nanoseconds, more than a Date holds). */

export interface ServerVersion {
  readonly version: string;
  readonly commit: string;
}

export interface ServerStatus {
  readonly version: string;
  readonly os: string;
  readonly arch: string;
  readonly uptimeSeconds: number;
  readonly cpus: number;
  readonly usableCpus: number;
  readonly heapBytes: number;
  readonly stackBytes: number;
  /** undefined when the key store did not answer. */
  readonly keystoreLatencyMs: number | undefined;
  readonly keystoreReachable: boolean;
}

export interface Route {
  readonly method: string;
  readonly path: string;
  readonly maxBodyBytes: number;
  /** 0: no limit. */
  readonly timeoutSeconds: number;
}

export interface KeyInfo {
  readonly name: string;
  readonly algorithm: string | undefined;
  readonly createdAt: string;
  /** Identity; undefined for keys that record none (KES before 2022). */
  readonly createdBy: string | undefined;
}

/** A data key. Wipe `plaintext` (`fill(0)`) after use. */
export interface DataKey {
  readonly plaintext: Buffer;
  readonly ciphertext: Buffer;
}

export interface PolicyInfo {
  readonly name: string;
  readonly createdAt: string;
  readonly createdBy: string | undefined;
}

export interface Policy extends PolicyInfo {
  readonly allow: readonly string[];
  readonly deny: readonly string[];
}

export interface IdentityInfo {
  readonly identity: string;
  readonly admin: boolean;
  /** Name of its policy. */
  readonly policy: string | undefined;
  readonly createdAt: string;
  readonly createdBy: string | undefined;
}

/** Who the caller is, and what its policy lets it do. */
export interface SelfInfo extends IdentityInfo {
  readonly allow: readonly string[];
  readonly deny: readonly string[];
}

export interface AuditEvent {
  readonly time: string;
  readonly sourceIp: string | undefined;
  readonly path: string;
  readonly identity: string | undefined;
  readonly status: number;
  readonly durationMs: number;
}

export interface ErrorEvent {
  readonly message: string;
}

/** Names the server takes for imported keys. */
export type KeyAlgorithm = 'AES256' | 'ChaCha20';
