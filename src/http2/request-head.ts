/** What a header block says of a request (RFC 9113 §8.3.1), in the form Node's HTTP/2 has for headers. */
import type { IncomingHttpHeaders } from 'node:http2';
import { fieldKind, type Field } from './field.ts';

export interface RequestHead {
  readonly method: string;
  /** `:path`; empty for CONNECT. */
  readonly path: string;
  /** Names in lower case, without a prototype. */
  readonly headers: IncomingHttpHeaders;
  /** Of the body, where the client says it; else undefined. */
  readonly contentLength: number | undefined;
}

export type HeadProblem = 'malformed' | 'too large';

/** Fields of which there is one: of several the first counts, as for Node's servers. */
const single: ReadonlySet<string> = new Set([
  'age', 'authorization', 'content-encoding', 'content-location', 'content-md5', 'content-range', 'content-type', 'date', 'etag',
  'expires', 'from', 'host', 'if-match', 'if-modified-since', 'if-none-match', 'if-range', 'if-unmodified-since',
  'last-modified', 'location', 'max-forwards', 'proxy-authorization', 'range', 'referer', 'retry-after', 'user-agent',
]); // prettier-ignore

const methodPattern = /^[!#$%&'*+\-.^_`|~0-9A-Za-z]+$/;
/** What no target of a request has: blanks and control characters. */
const notInPath = /[\0- \x7f]/;
const lengthPattern = /^\d{1,15}$/;

const most = { fields: 128 } as const;

export class RequestHeadReader {
  readonly #mostBytes: number;
  #headers: IncomingHttpHeaders = {};
  #method: string | undefined;
  #scheme: string | undefined;
  #path: string | undefined;
  #authority: string | undefined;
  #contentLength: string | undefined;
  #isRegular = false;
  #isMalformed = false;
  #bytes = 0;
  #fields = 0;

  constructor(mostBytes: number) {
    this.#mostBytes = mostBytes;
  }

  begin(): void {
    this.#headers = Object.create(null) as IncomingHttpHeaders;
    this.#method = undefined;
    this.#scheme = undefined;
    this.#path = undefined;
    this.#authority = undefined;
    this.#contentLength = undefined;
    this.#isRegular = false;
    this.#isMalformed = false;
    this.#bytes = 0;
    this.#fields = 0;
  }

  readonly take = (field: Field): void => {
    this.#bytes += field.bytes;
    // A block is read to its end all the same: the table has to stay in step.
    if (this.#bytes > this.#mostBytes || ++this.#fields > most.fields) return;
    const { kind, name, value } = field;
    if (kind === fieldKind.regular) {
      this.#isRegular = true;
      this.#takeRegular(name, value);
      return;
    }
    if (kind === fieldKind.malformed || this.#isRegular || this.#headers[name] !== undefined) {
      this.#isMalformed = true;
      return;
    }
    this.#headers[name] = value;
    if (kind === fieldKind.method) this.#method = value;
    else if (kind === fieldKind.scheme) this.#scheme = value;
    else if (kind === fieldKind.path) this.#path = value;
    else this.#authority = value;
  };

  #takeRegular(name: string, value: string): void {
    const headers = this.#headers;
    const before = headers[name];
    if (before === undefined) {
      headers[name] = name === 'set-cookie' ? [value] : value;
      if (name === 'content-length') this.#contentLength = value;
    } else if (name === 'content-length') this.#isMalformed = true;
    else if (name === 'set-cookie') (before as string[]).push(value);
    else if (!single.has(name))
      headers[name] = `${before as string}${name === 'cookie' ? '; ' : ', '}${value}`;
  }

  /** @param isWhole no body follows */
  end(isWhole: boolean): RequestHead | HeadProblem {
    if (this.#bytes > this.#mostBytes || this.#fields > most.fields) return 'too large';
    const method = this.#method;
    if (this.#isMalformed || method === undefined || !methodPattern.test(method)) return 'malformed';
    const path = this.#path;
    if (method === 'CONNECT') {
      if (this.#scheme !== undefined || path !== undefined || this.#authority === undefined)
        return 'malformed';
    } else {
      if (path === undefined || this.#scheme === undefined || this.#scheme === '') return 'malformed';
      if (path[0] !== '/' && !(path === '*' && method === 'OPTIONS')) return 'malformed';
      if (notInPath.test(path)) return 'malformed';
      if (this.#authority === undefined && this.#headers['host'] === undefined) return 'malformed';
    }
    const length = this.#contentLength;
    if (length !== undefined && (!lengthPattern.test(length) || (isWhole && Number(length) > 0)))
      return 'malformed';
    return {
      method,
      path: path ?? '',
      headers: this.#headers,
      contentLength: length === undefined ? undefined : Number(length),
    };
  }
}
