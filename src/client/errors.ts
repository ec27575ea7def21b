/** What a call of the client can fail with: the server said no, or no server could be asked. */

/** The server answered with an error. `status` and `message` are the server's own (the KES error body). */
export class ClientError extends Error {
  readonly status: number;

  constructor(status: number, message: string) {
    super(message);
    this.name = 'ClientError';
    this.status = status;
  }
}

/** No answer: the connection could not be made, broke, or took too long. */
export class ConnectionError extends Error {
  /** `host:port` that was tried last. */
  readonly endpoint: string;
  /** Node's code of the cause, such as `ECONNREFUSED` or `DEPTH_ZERO_SELF_SIGNED_CERT`; `SELLO_TIMEOUT` for a deadline. */
  readonly code: string;

  constructor(endpoint: string, cause: unknown) {
    super(`cannot reach ${endpoint}: ${reasonOf(cause)}`, { cause });
    this.name = 'ConnectionError';
    this.endpoint = endpoint;
    this.code = codeOf(cause);
  }

  /** True when the server's certificate was refused: another try cannot help. */
  get untrusted(): boolean {
    return untrustedCodes.has(this.code);
  }
}

/** OpenSSL's verification results as Node names them. */
const untrustedCodes = new Set([
  'CERT_HAS_EXPIRED',
  'CERT_NOT_YET_VALID',
  'CERT_UNTRUSTED',
  'CERT_SIGNATURE_FAILURE',
  'DEPTH_ZERO_SELF_SIGNED_CERT',
  'ERR_TLS_CERT_ALTNAME_INVALID',
  'INVALID_CA',
  'INVALID_PURPOSE',
  'SELF_SIGNED_CERT_IN_CHAIN',
  'UNABLE_TO_GET_ISSUER_CERT',
  'UNABLE_TO_GET_ISSUER_CERT_LOCALLY',
  'UNABLE_TO_VERIFY_LEAF_SIGNATURE',
]);

const plainReasons: Readonly<Record<string, string>> = {
  ECONNREFUSED: 'connection refused',
  ECONNRESET: 'connection reset',
  EPIPE: 'connection closed',
  ENOTFOUND: 'no such host',
  EAI_AGAIN: 'the name cannot be resolved now',
  EHOSTUNREACH: 'no route to host',
  ENETUNREACH: 'network is unreachable',
  SELLO_TIMEOUT: 'no answer in time',
  ETIMEDOUT: 'no answer in time',
  DEPTH_ZERO_SELF_SIGNED_CERT: 'server certificate is self-signed and not trusted',
  SELF_SIGNED_CERT_IN_CHAIN: 'server certificate chain ends in a CA that is not trusted',
  UNABLE_TO_VERIFY_LEAF_SIGNATURE: 'server certificate is signed by a CA that is not trusted',
  UNABLE_TO_GET_ISSUER_CERT_LOCALLY: 'server certificate is signed by a CA that is not trusted',
  CERT_HAS_EXPIRED: 'server certificate has expired',
  CERT_NOT_YET_VALID: 'server certificate is not valid yet',
  ERR_TLS_CERT_ALTNAME_INVALID: 'server certificate is for another host name',
  ERR_SSL_TLSV13_ALERT_CERTIFICATE_REQUIRED: 'server requires a client certificate',
};

function codeOf(cause: unknown): string {
  if (cause instanceof AggregateError && cause.errors.length > 0) return codeOf(cause.errors[0]);
  if (cause instanceof Error && 'code' in cause && typeof cause.code === 'string') {
    // http2 wraps what its socket suffered.
    if (cause.code === 'ERR_HTTP2_STREAM_CANCEL' && cause.cause !== undefined) return codeOf(cause.cause);
    return cause.code;
  }
  return 'SELLO_CONNECTION_FAILED';
}

function reasonOf(cause: unknown): string {
  const code = codeOf(cause);
  const plain = plainReasons[code];
  if (plain !== undefined) return plain;
  return cause instanceof Error && cause.message !== '' ? cause.message : code;
}

/** A deadline passed. */
export class TimeoutError extends Error {
  readonly code = 'SELLO_TIMEOUT';

  constructor(timeoutMs: number) {
    super(`no answer within ${String(timeoutMs)} ms`);
    this.name = 'TimeoutError';
  }
}
