/**
 * Answers in the form of Vault 1.21's HTTP API: an envelope around `data` or `auth`, or a list of error texts. Clients compare texts, so
 * they are Vault's own to the letter where a client can meet them (docs/vault-compatibility.md).
 */
import { randomUUID } from 'node:crypto';
import { base64Length, encodeBase64Into, secretBytes } from '../../crypto/index.ts';
import type { AuditRecord } from '../../audit/record.ts';
import { SelloError, type ErrorCode } from '../../errors.ts';
import { goJson } from '../../go-json.ts';
import type { Answer } from '../objects/answers.ts';

/** A piece of an answer's JSON: text, or bytes that are written as base64 and never become a string. */
export type Piece = string | { readonly secret: Uint8Array };

export interface VaultAnswer {
  readonly status: number;
  /** What stands at `data`; none: null. */
  readonly data?: unknown;
  /** In place of {@link data}, where it holds secrets: its JSON in pieces. */
  readonly pieces?: readonly Piece[];
  readonly auth?: unknown;
  /** `transit`, `kv`, `token`; what Vault calls the kind of a mount. */
  readonly mountType?: string;
  /** The whole body, where an answer has no envelope (`sys/health`). */
  readonly bare?: unknown;
  readonly warnings?: readonly string[];
  /** What must be on record before it leaves; undefined: the usual record of a request, where the handler wrote none itself. */
  readonly records?: readonly AuditRecord[];
}

export const noContent: VaultAnswer = { status: 204 };

/** A request that is answered with error texts and nothing else. */
export class VaultFault extends Error {
  readonly status: number;
  readonly texts: readonly string[];
  readonly code: ErrorCode | undefined;

  constructor(status: number, texts: readonly string[], code?: ErrorCode) {
    super(texts.join('; '));
    this.name = 'VaultFault';
    this.status = status;
    this.texts = texts;
    this.code = code;
  }
}

/** How Vault tells of an error that a handler returned beside its answer. */
export function oneError(text: string): string {
  return `1 error occurred:\n\t* ${text}\n\n`;
}

/** What {@link oneError} was made of. */
export function innerError(text: string): string | undefined {
  return /^1 error occurred:\n\t\* (.*)\n\n$/s.exec(text)?.[1];
}

export function fault(status: number, text: string, code?: ErrorCode): VaultFault {
  return new VaultFault(status, [text], code);
}

export const permissionDenied = (code: ErrorCode = 'SELLO_NOT_AUTHORIZED'): VaultFault =>
  fault(403, oneError('permission denied'), code);
export const missingToken = (): VaultFault => fault(403, 'permission denied', 'SELLO_LOGIN_REFUSED');
export const invalidToken = (): VaultFault =>
  fault(403, '2 errors occurred:\n\t* permission denied\n\t* invalid token\n\n', 'SELLO_LOGIN_REFUSED');
export const unsupportedPath = (): VaultFault => fault(404, oneError('unsupported path'));
export const unsupportedOperation = (): VaultFault => fault(405, oneError('unsupported operation'));
export const notFound = (code?: ErrorCode): VaultFault => new VaultFault(404, [], code);

/** What stands for an error of Sello's on this face, where its handler has no text of its own. */
const shown: Partial<Record<ErrorCode, readonly [status: number, text: string]>> = {
  SELLO_KEY_NOT_FOUND: [400, 'encryption key not found'],
  SELLO_CIPHERTEXT_NOT_AUTHENTIC: [400, 'cipher: message authentication failed'],
  SELLO_KEY_VERSION_TOO_OLD: [400, 'ciphertext or signature version is disallowed by policy (too old)'],
  SELLO_KEY_VERSION_NOT_FOUND: [
    400,
    'requested version for encryption is higher than the latest key version',
  ],
  SELLO_NOT_AUTHORIZED: [403, oneError('permission denied')],
  SELLO_RATE_LIMITED: [429, 'request path "transit" rate limit quota exceeded'],
  SELLO_KEY_WITHOUT_MAC: [400, 'no HMAC key exists for that key version'],
  SELLO_KEY_NAME_INVALID: [404, oneError('unsupported path')],
  SELLO_RECORD_CONFLICT: [400, 'key changed while it was being changed: try again'],
};

/** States that Vault's keys do not have are refusals here, in Sello's words. */
const refusals: ReadonlySet<ErrorCode> = new Set([
  'SELLO_KEY_DISABLED',
  'SELLO_KEY_DELETION_PENDING',
  'SELLO_KEY_REWRAP_ONLY',
  'SELLO_KEY_CHANGE_REFUSED',
  'SELLO_KEYRING_UNSUPPORTED',
  'SELLO_KEY_ALGORITHM_UNSUPPORTED',
  'SELLO_APPROVAL_REQUIRED',
]);

/** Of these the detail is made of states, dates and names alone. */
const toldInFull: ReadonlySet<ErrorCode> = new Set(['SELLO_KEY_CHANGE_REFUSED', 'SELLO_KEYRING_UNSUPPORTED']);

export function faultOf(error: unknown): VaultFault {
  if (error instanceof VaultFault) return error;
  const known = error instanceof SelloError ? error : new SelloError('SELLO_INTERNAL', { cause: error });
  const { code, detail, message } = known;
  const entry = shown[code];
  if (entry !== undefined) return fault(...entry, code);
  const text = toldInFull.has(code) && detail !== undefined ? `${message}: ${detail}` : message;
  if (refusals.has(code)) return fault(400, text, code);
  // What Vault answers when it cannot serve now; clients try again.
  return fault(known.retryable ? 503 : 500, oneError(text), code);
}

const fixedHeaders = {
  'cache-control': 'no-store',
  'strict-transport-security': 'max-age=31536000; includeSubDomains',
};

const jsonType = 'application/json';

export function answerOfFault({ status, texts }: VaultFault): Answer {
  const headers = status === 429 || status === 503 ? { ...fixedHeaders, 'retry-after': '1' } : fixedHeaders;
  return { status, headers, type: jsonType, body: Buffer.from(`${goJson({ errors: texts })}\n`) };
}

export function answerOf(answer: VaultAnswer): Answer {
  const { auth, bare, data, mountType = '', pieces, status, warnings = [] } = answer;
  if (status === 204) return { status, headers: fixedHeaders, type: jsonType };
  if (bare !== undefined)
    return { status, headers: fixedHeaders, type: jsonType, body: Buffer.from(`${goJson(bare)}\n`) };
  const before = `{"request_id":"${randomUUID()}","lease_id":"","renewable":false,"lease_duration":0,"data":`;
  const told = warnings.length === 0 ? 'null' : goJson(warnings);
  const after = `,"wrap_info":null,"warnings":${told},"auth":${goJson(auth ?? null)},"mount_type":"${mountType}"}\n`;
  if (pieces === undefined)
    return {
      status,
      headers: fixedHeaders,
      type: jsonType,
      body: Buffer.from(before + goJson(data ?? null) + after),
    };
  const body = joined([before, ...pieces, after]);
  wipeAnswer(answer);
  return { status, headers: fixedHeaders, type: jsonType, body, secret: true };
}

/** Ends the secrets of an answer that is not to be sent. */
export function wipeAnswer({ pieces }: VaultAnswer): void {
  for (const piece of pieces ?? []) if (typeof piece !== 'string') piece.secret.fill(0);
}

/** Bytes of their own for text and secrets, the latter as base64. */
function joined(pieces: readonly Piece[]): Buffer {
  let length = 0;
  for (const piece of pieces)
    length += typeof piece === 'string' ? Buffer.byteLength(piece) : base64Length(piece.secret.length);
  const body = secretBytes(length);
  let at = 0;
  for (const piece of pieces)
    at = typeof piece === 'string' ? at + body.write(piece, at) : encodeBase64Into(body, at, piece.secret);
  return body;
}
