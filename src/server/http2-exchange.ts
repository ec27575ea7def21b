/**
 * Request and response objects for HTTP/2 that are thin views over a stream: just what Fastify and the faces touch. Bodies are
 * read from `stream`.
 */
import type { EventEmitter } from 'node:events';
import type { OutgoingHttpHeaders } from 'node:http';
import type { IncomingHttpHeaders } from 'node:http2';
import type { Http2Stream, RequestHead, SmallCall } from '../http2/index.ts';

/** A stream's failure ends that stream alone; its owner learns of it by 'close'. Without a listener it would end the process. */
function ignoreStreamError(): void {}

/** What a small call and one of any size have in common. */
export type ServedStream = EventEmitter &
  Pick<
    SmallCall | Http2Stream,
    | 'session'
    | 'endAfterHeaders'
    | 'headersSent'
    | 'aborted'
    | 'rstCode'
    | 'destroyed'
    | 'closed'
    | 'inform'
    | 'answer'
    | 'close'
  > & { destroy(error?: Error): unknown };

type Listener = (...args: never[]) => void;

export class Http2Request {
  declare readonly httpVersion: string;
  declare readonly httpVersionMajor: number;
  declare readonly httpVersionMinor: number;
  readonly stream: ServedStream;
  readonly headers: IncomingHttpHeaders;
  readonly method: string;
  url: string;
  originalUrl = '';

  /** @param headers those of `head`, or a copy that may be changed */
  constructor(stream: ServedStream, head: RequestHead, headers: IncomingHttpHeaders) {
    this.stream = stream;
    this.headers = headers;
    this.method = head.method;
    this.url = head.path;
    stream.on('error', ignoreStreamError);
  }

  get socket(): unknown {
    return this.stream.session.socket;
  }

  get aborted(): boolean {
    return this.stream.aborted;
  }

  on(event: string, listener: Listener): this {
    this.stream.on(event, listener as () => void);
    return this;
  }

  removeListener(event: string, listener: Listener): this {
    this.stream.removeListener(event, listener as () => void);
    return this;
  }

  destroy(error?: Error): this {
    this.stream.destroy(error);
    return this;
  }
}
Object.assign(Http2Request.prototype, { httpVersion: '2.0', httpVersionMajor: 2, httpVersionMinor: 0 });

export class Http2Response {
  readonly stream: ServedStream;
  statusCode = 200;
  headersSent = false;
  writableEnded = false;
  /** When true the body's bytes are overwritten once the stream has taken them: they are a secret. */
  wipeAfterSend = false;
  #headers: OutgoingHttpHeaders | undefined;

  constructor(stream: ServedStream) {
    this.stream = stream;
  }

  get destroyed(): boolean {
    return this.stream.destroyed || this.stream.closed;
  }

  get socket(): unknown {
    return this.stream.session.socket;
  }

  setHeader(name: string, value: string | number | string[]): this {
    (this.#headers ??= {})[name.toLowerCase()] = value;
    return this;
  }

  getHeader(name: string): unknown {
    return this.#headers?.[name.toLowerCase()];
  }

  getHeaders(): OutgoingHttpHeaders {
    return { ...this.#headers };
  }

  hasHeader(name: string): boolean {
    return this.#headers?.[name.toLowerCase()] !== undefined;
  }

  removeHeader(name: string): void {
    if (this.#headers !== undefined) this.#headers[name.toLowerCase()] = undefined;
  }

  writeHead(status: number, headers?: OutgoingHttpHeaders): this {
    this.statusCode = status;
    this.#headers = this.#headers === undefined ? headers : { ...this.#headers, ...headers };
    this.headersSent = true;
    return this;
  }

  /** Sends an informational 100 (RFC 9110 §10.1.1). */
  writeContinue(): void {
    this.stream.inform(100);
  }

  /** @returns where the rest goes; undefined when nobody is there to take it */
  #begin(): Http2Stream | undefined {
    /* Precondition: small calls are answered whole. */
    const stream = this.stream as Http2Stream;
    if (stream.destroyed || stream.closed) return undefined;
    if (!stream.headersSent) stream.respond(this.statusCode, this.#headers);
    return stream;
  }

  flushHeaders(): void {
    this.headersSent = true;
    this.#begin();
  }

  /** Keeps the connection through silence until this answer closes. */
  outlastSilence(): void {
    const { session } = this.stream;
    session.longAnswers++;
    this.stream.once('close', () => session.longAnswers--);
  }

  get writableLength(): number {
    return (this.stream as Http2Stream).writableLength;
  }

  write(chunk: string | Buffer): boolean {
    this.headersSent = true;
    return this.#begin()?.write(chunk) ?? false;
  }

  end(chunk?: string | Buffer | null): this {
    if (this.writableEnded) return this;
    this.writableEnded = true;
    const bytes = typeof chunk === 'string' ? Buffer.from(chunk) : (chunk ?? undefined);
    const { stream } = this;
    if (this.stream.headersSent) {
      const rest = this.#begin();
      if (bytes === undefined || bytes.length === 0) rest?.end();
      else rest?.end(bytes);
    } else if (!stream.destroyed) stream.answer(this.statusCode, this.#headers, bytes, this.wipeAfterSend);
    else if (this.wipeAfterSend) bytes?.fill(0);
    this.headersSent = true;
    return this;
  }

  on(event: string, listener: Listener): this {
    this.stream.on(event, listener as () => void);
    return this;
  }

  once(event: string, listener: Listener): this {
    this.stream.once(event, listener as () => void);
    return this;
  }

  removeListener(event: string, listener: Listener): this {
    this.stream.removeListener(event, listener as () => void);
    return this;
  }

  destroy(error?: Error): this {
    this.stream.destroy(error);
    return this;
  }
}
