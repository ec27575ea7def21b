/**
 * The one registry of errors. Every failure that can reach a caller, a log or an audit record has a
 * stable `SELLO_…` code, a public message without secrets or internals, and says whether a retry can help.
 * docs/errors.md lists them; a test holds that table and this registry together.
 */

/** What an error means, independent of any wire face. A face maps codes to its own status and text. */
export interface ErrorKind {
  /** True when the same request may succeed later without a change by the caller. */
  readonly retryable: boolean;
  /** Text that may leave the process. */
  readonly message: string;
}

export const errorKinds = {
  SELLO_KEY_NOT_FOUND: { retryable: false, message: 'key does not exist' },
  SELLO_KEY_EXISTS: { retryable: false, message: 'key already exists' },
  SELLO_KEY_NAME_INVALID: {
    retryable: false,
    message: 'key name is empty, too long or contains invalid characters',
  },
  SELLO_KEY_ALGORITHM_UNSUPPORTED: { retryable: false, message: 'algorithm is not supported' },
  SELLO_KEY_MATERIAL_INVALID: { retryable: false, message: 'key material has the wrong size' },
  SELLO_KEY_WITHOUT_MAC: { retryable: false, message: 'key does not support HMAC' },
  SELLO_KEY_DISABLED: { retryable: false, message: 'key or key version is disabled' },
  SELLO_KEY_DELETION_PENDING: { retryable: false, message: 'key is scheduled for deletion' },
  SELLO_KEY_REWRAP_ONLY: { retryable: false, message: 'key version may only be rewrapped' },
  SELLO_KEY_VERSION_TOO_OLD: {
    retryable: false,
    message: "key version is below the key's minimum decryption version",
  },
  SELLO_KEY_VERSION_NOT_FOUND: { retryable: false, message: 'key version does not exist' },
  SELLO_KEY_CHANGE_REFUSED: { retryable: false, message: 'the state of the key does not allow this change' },
  SELLO_KEY_IN_USE: { retryable: false, message: 'key version was used too lately to be destroyed' },
  SELLO_KEYRING_UNSUPPORTED: {
    retryable: false,
    message: 'this key store cannot hold key versions',
  },
  SELLO_KEYRING_ROLLED_BACK: {
    retryable: false,
    message: 'key store holds an older state of this key than was seen before',
  },
  SELLO_CIPHERTEXT_NOT_AUTHENTIC: {
    retryable: false,
    message: 'decryption failed: ciphertext is not authentic',
  },
  SELLO_STORE_UNREACHABLE: { retryable: true, message: 'key store is not reachable' },
  SELLO_STORE_FAILED: { retryable: true, message: 'key store failed' },
  SELLO_RECORD_CONFLICT: { retryable: true, message: 'record was changed by somebody else' },
  SELLO_STORE_LOCKED: { retryable: false, message: 'key store is in use by another server' },
  SELLO_STORE_NOT_EMPTY: { retryable: false, message: 'key store is not empty' },
  SELLO_BACKUP_INVALID: { retryable: false, message: 'backup is damaged or not a backup' },
  SELLO_ROOT_KEY_WRONG: { retryable: false, message: 'root key does not open the key store' },
  SELLO_STORED_KEY_UNREADABLE: { retryable: false, message: 'stored key cannot be read' },
  SELLO_NOT_AUTHORIZED: { retryable: false, message: 'not authorized: insufficient permissions' },
  SELLO_MISDIRECTED: { retryable: false, message: 'request was sent to the wrong server name' },
  SELLO_RATE_LIMITED: { retryable: true, message: 'too many requests' },
  SELLO_CLIENT_CERTIFICATE_REQUIRED: { retryable: false, message: 'client certificate is required' },
  SELLO_CLIENT_CERTIFICATE_AMBIGUOUS: { retryable: false, message: 'more than one client certificate' },
  SELLO_CLIENT_CERTIFICATE_REJECTED: { retryable: false, message: 'client certificate is not accepted' },
  SELLO_PROXY_CERTIFICATE_MISSING: { retryable: false, message: 'no client certificate is present' },
  SELLO_PROXY_CERTIFICATE_AMBIGUOUS: {
    retryable: false,
    message: 'too many client certificates are present',
  },
  SELLO_PROXY_CERTIFICATE_INVALID: { retryable: false, message: 'invalid client certificate' },
  SELLO_AUDIT_UNAVAILABLE: { retryable: true, message: 'audit record cannot be written' },
  SELLO_DRAINING: { retryable: true, message: 'server is shutting down' },
  SELLO_CONFIG_INVALID: { retryable: false, message: 'configuration is not valid' },
  SELLO_OBJECT_NOT_AUTHENTIC: {
    retryable: false,
    message: 'object is damaged, incomplete, or not sealed for this key and place',
  },
  SELLO_OBJECT_FORMAT_UNKNOWN: { retryable: false, message: 'not a sealed object of a known format' },
  SELLO_OBJECT_TOO_LARGE: { retryable: false, message: 'object is larger than its format allows' },
  SELLO_OBJECT_RANGE_INVALID: { retryable: false, message: 'requested range is not satisfiable' },
  SELLO_SSE_REQUEST_INVALID: {
    retryable: false,
    message: 'request for server-side encryption is not valid',
  },
  SELLO_SSE_REFUSED: { retryable: false, message: 'this encryption is not allowed here' },
  SELLO_API_KEY_INVALID: { retryable: false, message: 'API key is not valid' },
  SELLO_LOGIN_REFUSED: { retryable: false, message: 'sign-in is not accepted' },
  SELLO_LOGIN_UNAVAILABLE: { retryable: true, message: 'sign-in cannot be checked now' },
  SELLO_REQUEST_FORGED: { retryable: false, message: 'request does not come from this site' },
  SELLO_APPROVAL_NOT_FOUND: { retryable: false, message: 'approval does not exist' },
  SELLO_APPROVAL_REQUIRED: { retryable: false, message: 'a second person has not approved this' },
  SELLO_APPROVAL_SAME_PERSON: {
    retryable: false,
    message: 'a different person has to approve this',
  },
  SELLO_APPROVAL_EXPIRED: { retryable: false, message: 'approval has expired' },
  SELLO_APPROVAL_USED: { retryable: false, message: 'approval was used or withdrawn' },
  SELLO_INTERNAL: { retryable: true, message: 'internal error' },
} as const satisfies Record<string, ErrorKind>;

export type ErrorCode = keyof typeof errorKinds;

/** A failure with a stable code. `detail` and `cause` are for logs and never leave the process. */
export class SelloError extends Error {
  readonly code: ErrorCode;
  readonly detail: string | undefined;

  constructor(code: ErrorCode, options: { detail?: string; cause?: unknown } = {}) {
    super(errorKinds[code].message, options.cause === undefined ? undefined : { cause: options.cause });
    this.name = 'SelloError';
    this.code = code;
    this.detail = options.detail;
  }

  get retryable(): boolean {
    return errorKinds[this.code].retryable;
  }
}

/** True when `error` is a {@link SelloError} with this code. */
export function hasCode(error: unknown, code: ErrorCode): error is SelloError {
  return error instanceof SelloError && error.code === code;
}
