/**
 * Errors as S3 clients know them. A node hands `code` and `message` on to its client with this status; `sello` is the code of the
 * registry, for records and logs. The table is docs/object-api.md, each row a test.
 */
import { SelloError, type ErrorCode } from '../errors.ts';

export const s3Errors = {
  InvalidArgument: 400,
  InvalidRequest: 400,
  InvalidEncryptionAlgorithmError: 400,
  InvalidPart: 400,
  InvalidPartOrder: 400,
  InvalidDigest: 400,
  EntityTooLarge: 400,
  BadDigest: 400,
  AccessDenied: 403,
  NoSuchKey: 404,
  ServerSideEncryptionConfigurationNotFoundError: 404,
  InvalidRange: 416,
  InternalError: 500,
  SlowDown: 503,
  ServiceUnavailable: 503,
  'KMS.NotFoundException': 400,
  'KMS.DisabledException': 400,
  'KMS.KMSInvalidStateException': 400,
} as const;

export type S3Code = keyof typeof s3Errors;

export class S3Error extends Error {
  readonly code: S3Code;
  readonly status: number;
  readonly sello: ErrorCode;

  constructor(
    code: S3Code,
    message: string,
    sello: ErrorCode,
    options: { status?: number; cause?: unknown } = {},
  ) {
    super(message, options.cause === undefined ? undefined : { cause: options.cause });
    this.name = 'S3Error';
    this.code = code;
    this.status = options.status ?? s3Errors[code];
    this.sello = sello;
  }
}

export function invalidArgument(message: string): S3Error {
  return new S3Error('InvalidArgument', message, 'SELLO_SSE_REQUEST_INVALID');
}

export function invalidRequest(message: string): S3Error {
  return new S3Error('InvalidRequest', message, 'SELLO_SSE_REQUEST_INVALID');
}

export function accessDenied(message = 'Access Denied', sello: ErrorCode = 'SELLO_SSE_REFUSED'): S3Error {
  return new S3Error('AccessDenied', message, sello);
}

/** What a failure of keys, stores or formats is to an S3 client. Nothing internal is told. */
export function s3ErrorOf(error: unknown): S3Error {
  if (error instanceof S3Error) return error;
  if (!(error instanceof SelloError)) {
    return new S3Error(
      'InternalError',
      'We encountered an internal error. Please try again.',
      'SELLO_INTERNAL',
      { cause: error },
    );
  }
  const { code } = error;
  const as = (s3: S3Code, message: string) => new S3Error(s3, message, code, { cause: error });
  switch (code) {
    case 'SELLO_KEY_NOT_FOUND':
    case 'SELLO_KEY_NAME_INVALID':
      return as('KMS.NotFoundException', 'The specified KMS key does not exist.');
    case 'SELLO_KEY_DISABLED':
      return as('KMS.DisabledException', 'The specified KMS key is disabled.');
    case 'SELLO_KEY_DELETION_PENDING':
    case 'SELLO_KEY_REWRAP_ONLY':
    case 'SELLO_KEY_VERSION_TOO_OLD':
      return as('KMS.KMSInvalidStateException', 'The state of the specified KMS key does not allow this.');
    case 'SELLO_NOT_AUTHORIZED':
    case 'SELLO_CLIENT_CERTIFICATE_REQUIRED':
    case 'SELLO_CLIENT_CERTIFICATE_AMBIGUOUS':
    case 'SELLO_CLIENT_CERTIFICATE_REJECTED':
    case 'SELLO_PROXY_CERTIFICATE_MISSING':
    case 'SELLO_PROXY_CERTIFICATE_AMBIGUOUS':
    case 'SELLO_PROXY_CERTIFICATE_INVALID':
    case 'SELLO_MISDIRECTED':
    case 'SELLO_CIPHERTEXT_NOT_AUTHENTIC':
    case 'SELLO_SSE_REFUSED':
      return as('AccessDenied', 'Access Denied');
    case 'SELLO_OBJECT_NOT_AUTHENTIC':
    case 'SELLO_OBJECT_FORMAT_UNKNOWN':
      return as('InvalidRequest', 'The object is damaged, incomplete, or was not sealed for this place.');
    case 'SELLO_OBJECT_RANGE_INVALID':
      return as('InvalidRange', 'The requested range is not satisfiable.');
    case 'SELLO_OBJECT_TOO_LARGE':
      return as('EntityTooLarge', 'Your proposed upload exceeds the maximum allowed object size.');
    case 'SELLO_RATE_LIMITED':
      return as('SlowDown', 'Please reduce your request rate.');
    case 'SELLO_STORE_UNREACHABLE':
    case 'SELLO_STORE_FAILED':
    case 'SELLO_STORED_KEY_UNREADABLE':
    case 'SELLO_KEYRING_ROLLED_BACK':
    case 'SELLO_AUDIT_UNAVAILABLE':
    case 'SELLO_DRAINING':
      return as('ServiceUnavailable', 'Please try again.');
    case 'SELLO_SSE_REQUEST_INVALID':
      return as('InvalidRequest', 'The request is not valid.');
    default:
      return as(error.retryable ? 'ServiceUnavailable' : 'InternalError', 'Please try again.');
  }
}
