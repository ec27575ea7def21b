/**
 * Answers of the KES face. Clients compare status and message for equality, so every text here is part of the wire
 * (reference: recordings wire/*). Bodies are built as bytes: data keys never become strings.
 */
import { base64Length, encodeBase64Into, secretSlice } from '../../crypto/index.ts';
import { SelloError, type ErrorCode } from '../../errors.ts';
import { goString } from './json.ts';

export interface Answer {
  readonly status: number;
  readonly body?: Buffer | undefined;
  /** Content-Type; `application/json` unless said otherwise. Absent for an empty body. */
  readonly type?: string;
  readonly headers?: Readonly<Record<string, string>>;
  /** The body holds key material: overwrite it once sent. */
  readonly secret?: boolean;
  /** For the audit record. */
  readonly error?: ErrorCode | undefined;
  /** HTTP/1.1: the connection cannot be used again. */
  readonly close?: boolean;
  /** Makes what follows `body`, page by page while it is sent. */
  readonly next?: NextPage;
}

export type NextPage = () => Promise<{ readonly text: string; readonly more: boolean }>;

export type ErrorTexts = 'current' | '2021';

/** Texts that clients of before 2022 know instead (kes.md §1.3). */
const textsOf2021 = new Map([
  ['not authorized: insufficient permissions', 'prohibited by policy'],
  ['key already exists', 'key does already exist'],
]);

const json = 'application/json';
const plain = 'text/plain; charset=utf-8';
const html = 'text/html; charset=utf-8';

export const empty: Answer = { status: 200 };

export function jsonAnswer(text: string): Answer {
  return { status: 200, body: Buffer.from(`${text}\n`), type: json };
}

/** KES's error body: a line break before the closing brace. */
export function failure(
  status: number,
  message: string,
  error?: ErrorCode,
  texts: ErrorTexts = 'current',
): Answer {
  const shown = texts === '2021' ? (textsOf2021.get(message) ?? message) : message;
  return { status, body: Buffer.from(`{"message":${goString(shown)}\n}`), type: json, error };
}

/** Also what other faces answer where they are not there. */
export const notFound = {
  status: 404,
  body: Buffer.from('404 page not found\n'),
  type: plain,
  headers: { 'x-content-type-options': 'nosniff' },
} satisfies Answer;

export const malformedTarget: Answer = {
  status: 400,
  body: Buffer.from('400 Bad Request'),
  type: plain,
  close: true,
};

/** Go's redirect: a small HTML body for GET only, and its type for HEAD too. */
export function redirectAnswer(method: string, location: string): Answer {
  const headers = { location };
  if (method !== 'GET' && method !== 'HEAD') return { status: 301, headers };
  if (method === 'HEAD') return { status: 301, type: html, headers };
  const href = location.replaceAll('&', '&amp;').replaceAll('<', '&lt;').replaceAll('>', '&gt;').replaceAll('"', '&#34;').replaceAll("'", '&#39;'); // prettier-ignore
  return {
    status: 301,
    body: Buffer.from(`<a href="${href}">Moved Permanently</a>.\n\n`),
    type: html,
    headers,
  };
}

export function methodNotAllowed(received: string, expected: string): Answer {
  return {
    ...failure(405, `received method '${received}' expected '${expected}'`),
    headers: { accept: expected },
  };
}

/** `what` names what failed, as KES does in its 502 and 500 texts: `create key`, `read key`, `list keys`, `delete key`. */
export function answerOfError(error: unknown, what: string, texts: ErrorTexts): Answer {
  if (!(error instanceof SelloError)) return failure(500, `failed to ${what}`, 'SELLO_INTERNAL');
  const { code, message } = error;
  switch (code) {
    case 'SELLO_KEY_NOT_FOUND':
      return failure(404, message, code);
    case 'SELLO_KEY_EXISTS':
    case 'SELLO_CIPHERTEXT_NOT_AUTHENTIC':
      return failure(400, message, code, texts);
    case 'SELLO_KEY_VERSION_TOO_OLD':
      return failure(400, message, code);
    case 'SELLO_KEY_WITHOUT_MAC':
      return failure(409, message, code);
    case 'SELLO_NOT_AUTHORIZED':
    case 'SELLO_KEY_DISABLED':
    case 'SELLO_KEY_DELETION_PENDING':
    case 'SELLO_KEY_REWRAP_ONLY':
    case 'SELLO_APPROVAL_REQUIRED':
    case 'SELLO_CLIENT_CERTIFICATE_REJECTED':
      return failure(403, 'not authorized: insufficient permissions', code, texts);
    case 'SELLO_CLIENT_CERTIFICATE_REQUIRED':
      return failure(400, 'tls: client certificate is required', code);
    case 'SELLO_CLIENT_CERTIFICATE_AMBIGUOUS':
      return failure(400, 'tls: received more than one client certificate', code);
    case 'SELLO_PROXY_CERTIFICATE_MISSING':
    case 'SELLO_PROXY_CERTIFICATE_AMBIGUOUS':
    case 'SELLO_PROXY_CERTIFICATE_INVALID':
      return failure(400, message, code);
    case 'SELLO_MISDIRECTED':
      return failure(421, message, code);
    case 'SELLO_STORE_UNREACHABLE':
    case 'SELLO_STORE_FAILED':
    case 'SELLO_STORED_KEY_UNREADABLE':
    case 'SELLO_KEYRING_ROLLED_BACK':
    case 'SELLO_RECORD_CONFLICT':
      return failure(502, `failed to ${what}`, code);
    case 'SELLO_RATE_LIMITED':
      return { ...failure(429, message, code), headers: { 'retry-after': '1' } };
    case 'SELLO_AUDIT_UNAVAILABLE':
    case 'SELLO_DRAINING':
      return failure(503, message, code);
    default:
      return failure(500, `failed to ${what}`, code);
  }
}

const plaintextOpen = Buffer.from('{"plaintext":"');
const ciphertextNext = Buffer.from('","ciphertext":"');
const ciphertextOpen = Buffer.from('{"ciphertext":"');
const hmacOpen = Buffer.from('{"hmac":"');
const close = Buffer.from('"}\n');
const bulkClose = Buffer.from('"}');

function concatenate(parts: readonly { text?: Buffer; bytes?: Buffer }[]): Buffer {
  let length = 0;
  for (const part of parts) length += part.text?.length ?? base64Length(part.bytes!.length);
  const out = secretSlice(length);
  let at = 0;
  for (const part of parts) {
    if (part.text !== undefined) at += part.text.copy(out, at);
    else at = encodeBase64Into(out, at, part.bytes!);
  }
  return out;
}

/** `{"plaintext":…,"ciphertext":…}`; wipes `plaintext`. */
export function dataKeyAnswer(plaintext: Buffer, ciphertext: Buffer): Answer {
  const body = secretSlice(14 + base64Length(plaintext.length) + 16 + base64Length(ciphertext.length) + 3);
  let at = plaintextOpen.copy(body, 0);
  at = encodeBase64Into(body, at, plaintext);
  at += ciphertextNext.copy(body, at);
  at = encodeBase64Into(body, at, ciphertext);
  close.copy(body, at);
  plaintext.fill(0);
  return { status: 200, body, type: json, secret: true };
}

/** `{"plaintext":…}`; wipes `plaintext`. */
export function plaintextAnswer(plaintext: Buffer): Answer {
  const body = concatenate([{ text: plaintextOpen }, { bytes: plaintext }, { text: close }]);
  plaintext.fill(0);
  return { status: 200, body, type: json, secret: true };
}

/** `[{"plaintext":…},…]`; wipes each plaintext. */
export function plaintextsAnswer(plaintexts: readonly Buffer[]): Answer {
  const comma = Buffer.from(',');
  const parts = plaintexts.flatMap((bytes, i) => [
    ...(i === 0 ? [] : [{ text: comma }]),
    { text: plaintextOpen },
    { bytes },
    { text: bulkClose },
  ]);
  const body = concatenate([{ text: Buffer.from('[') }, ...parts, { text: Buffer.from(']\n') }]);
  for (const plaintext of plaintexts) plaintext.fill(0);
  return { status: 200, body, type: json, secret: true };
}

export function ciphertextAnswer(ciphertext: Buffer): Answer {
  return {
    status: 200,
    body: concatenate([{ text: ciphertextOpen }, { bytes: ciphertext }, { text: close }]),
    type: json,
  };
}

/** `{"hmac":…}`; MinIO derives root credentials from it, so it is a secret; wipes `digest`. */
export function hmacAnswer(digest: Buffer): Answer {
  const body = concatenate([{ text: hmacOpen }, { bytes: digest }, { text: close }]);
  digest.fill(0);
  return { status: 200, body, type: json, secret: true };
}
