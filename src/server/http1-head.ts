/**
 * The head of a small call over HTTP/1.1, read strictly: one form of each thing, and no field that says where a message ends but one
 * Content-Length. What is written in any other way, valid or not, is none of ours: Node's parser judges it.
 */
import type { IncomingHttpHeaders } from 'node:http';

export interface Http1Head {
  readonly method: string;
  readonly path: string;
  /** Names in lower case, without a prototype. */
  readonly headers: IncomingHttpHeaders;
  readonly contentLength: number;
}

const requestLine = /^(PUT|POST) (\/[!-~]*) HTTP\/1\.1$/;
const namePattern = /^[!#$%&'*+\-.^_`|~0-9A-Za-z]+$/;
const notInValue = /[^\t\x20-\x7e]/;
const lengthPattern = /^\d{1,7}$/;

/** Fields about the connection or the end of a message, but for `Connection: keep-alive`. */
const special: ReadonlySet<string> = new Set([
  'connection',
  'expect',
  'http2-settings',
  'keep-alive',
  'proxy-connection',
  'te',
  'trailer',
  'transfer-encoding',
  'upgrade',
]);

/** @param text from the request line to the last field, without the line breaks that end it, as latin1 */
export function readHttp1Head(text: string): Http1Head | undefined {
  const [first, ...lines] = text.split('\r\n');
  const [, method, path] = requestLine.exec(first!) ?? [];
  if (method === undefined || path === undefined) return undefined;
  const headers = Object.create(null) as IncomingHttpHeaders;
  for (const line of lines) {
    const colon = line.indexOf(':');
    const name = line.slice(0, colon).toLowerCase();
    const value = trimmed(line, colon + 1);
    if (colon < 1 || !namePattern.test(name) || notInValue.test(value)) return undefined;
    if (headers[name] !== undefined) return undefined;
    if (special.has(name) && !(name === 'connection' && value.toLowerCase() === 'keep-alive'))
      return undefined;
    headers[name] = value;
  }
  const length = headers['content-length'];
  if (length === undefined || !lengthPattern.test(length) || !headers.host) return undefined;
  return { method, path, headers, contentLength: Number(length) };
}

/** Without the blanks around a value (RFC 9112 §5). */
function trimmed(line: string, from: number): string {
  let start = from;
  let end = line.length;
  while (start < end && isBlank(line.charCodeAt(start))) start++;
  while (end > start && isBlank(line.charCodeAt(end - 1))) end--;
  return line.slice(start, end);
}

function isBlank(code: number): boolean {
  return code === 32 || code === 9;
}
