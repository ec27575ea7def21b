/** Answers of the operators' API: JSON, and failures with a stable code and a reason that an administrator can act on. */
import { SelloError, type ErrorCode } from '../../errors.ts';

export interface Answer {
  readonly status: number;
  readonly body: Buffer;
  readonly error?: ErrorCode | undefined;
  readonly headers?: Readonly<Record<string, string>>;
}

/** A request that cannot be understood. */
export class AdminError extends Error {
  readonly status: number;

  constructor(status: number, message: string) {
    super(message);
    this.name = 'AdminError';
    this.status = status;
  }
}

export function json(value: unknown, status = 200): Answer {
  return { status, body: Buffer.from(`${JSON.stringify(value)}\n`) };
}

const statuses: Partial<Record<ErrorCode, number>> = {
  SELLO_KEY_NOT_FOUND: 404,
  SELLO_KEY_VERSION_NOT_FOUND: 404,
  SELLO_KEY_NAME_INVALID: 400,
  SELLO_KEY_ALGORITHM_UNSUPPORTED: 400,
  SELLO_KEY_MATERIAL_INVALID: 400,
  SELLO_KEY_EXISTS: 409,
  SELLO_KEY_CHANGE_REFUSED: 409,
  SELLO_KEY_IN_USE: 409,
  SELLO_KEY_DISABLED: 409,
  SELLO_KEY_DELETION_PENDING: 409,
  SELLO_KEY_REWRAP_ONLY: 409,
  SELLO_RECORD_CONFLICT: 409,
  SELLO_KEYRING_UNSUPPORTED: 409,
  SELLO_KEYRING_ROLLED_BACK: 409,
  SELLO_CIPHERTEXT_NOT_AUTHENTIC: 400,
  SELLO_KEY_VERSION_TOO_OLD: 400,
  SELLO_NOT_AUTHORIZED: 403,
  SELLO_APPROVAL_NOT_FOUND: 404,
  SELLO_APPROVAL_REQUIRED: 403,
  SELLO_APPROVAL_SAME_PERSON: 403,
  SELLO_APPROVAL_EXPIRED: 409,
  SELLO_APPROVAL_USED: 409,
  SELLO_LOGIN_UNAVAILABLE: 503,
  SELLO_LOGIN_REFUSED: 403,
  SELLO_CLIENT_CERTIFICATE_REJECTED: 403,
  SELLO_CLIENT_CERTIFICATE_REQUIRED: 401,
  SELLO_MISDIRECTED: 421,
  SELLO_RATE_LIMITED: 429,
  SELLO_AUDIT_UNAVAILABLE: 503,
  SELLO_STORE_UNREACHABLE: 503,
  SELLO_STORE_FAILED: 503,
  SELLO_STORED_KEY_UNREADABLE: 500,
};

/** Of these the detail is made of states and dates alone, and says what to do next. */
const toldInFull: ReadonlySet<ErrorCode> = new Set([
  'SELLO_KEY_CHANGE_REFUSED',
  'SELLO_KEY_IN_USE',
  'SELLO_KEYRING_UNSUPPORTED',
  'SELLO_KEYRING_ROLLED_BACK',
]);

export function failure(error: unknown, requestId: string): Answer {
  if (error instanceof AdminError) {
    return json({ message: error.message, requestId }, error.status);
  }
  const known = error instanceof SelloError ? error : new SelloError('SELLO_INTERNAL', { cause: error });
  const { code, detail, message } = known;
  const told = toldInFull.has(code) && detail !== undefined ? `${message}: ${detail}` : message;
  const status = statuses[code] ?? 500;
  return {
    ...json({ code, message: told, requestId }, status),
    error: code,
    ...(status === 429 || status === 503 ? { headers: { 'retry-after': '1' } } : {}),
  };
}
