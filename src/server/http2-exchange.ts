/**
 * Request and response objects for HTTP/2 that are thin views over Node's core stream, passed to
 * `http2.createSecureServer` as its documented `Http2ServerRequest` / `Http2ServerResponse` options.
 *
 * Why: Node's own compatibility classes build a Readable, a Writable and a socket proxy per request, which halves the
 * throughput of small calls. These hold just what Fastify and the faces touch. Bodies are read from `stream`.
 */
import type {
  IncomingHttpHeaders,
  OutgoingHttpHeaders,
  ServerHttp2Session,
  ServerHttp2Stream,
} from 'node:http2';

/** Header fields that belong to one hop of HTTP/1.1 and are malformed in HTTP/2 (RFC 9113 §8.2.2). */
const connectionSpecific = new Set([
  'connection',
  'keep-alive',
  'proxy-connection',
  'transfer-encoding',
  'upgrade',
]);

/** A stream's failure ends that stream alone; its owner learns of it by 'close'. Without a listener it would end the process. */
function ignoreStreamError(): void {}

const secretBody = Symbol('secret body');
type WipedStream = ServerHttp2Stream & { [secretBody]?: Buffer };

/** One listener for every stream: a closure per request would cost. */
function wipeBody(this: WipedStream): void {
  wipeLater(this[secretBody]!);
}

const sent: Buffer[] = [];

/**
 * Overwrites a body that has been sent. Neither 'finish' nor 'close' is late enough: nghttp2 refers to this memory until the
 * turn of the event loop in which it closes the stream ends with the write to TLS, which copies.
 */
function wipeLater(body: Buffer): void {
  if (sent.push(body) > 1) return;
  setImmediate(() => {
    for (const bytes of sent) bytes.fill(0);
    sent.length = 0;
  });
}

/** How many answers of a session have no end of their own, so that silence does not end it. */
export const longAnswers = Symbol('answers without an end');
export interface LongAnswers {
  [longAnswers]?: number;
}

type Listener = (...args: never[]) => void;

export class Http2Request {
  declare readonly httpVersion: string;
  declare readonly httpVersionMajor: number;
  declare readonly httpVersionMinor: number;
  readonly stream: ServerHttp2Stream;
  readonly headers: IncomingHttpHeaders;
  readonly method: string;
  url: string;
  originalUrl = '';

  constructor(stream: ServerHttp2Stream, headers: IncomingHttpHeaders) {
    this.stream = stream;
    this.headers = headers;
    this.method = headers[':method'] ?? '';
    this.url = headers[':path'] ?? '';
    stream.on('error', ignoreStreamError);
  }

  get socket(): unknown {
    return this.stream.session?.socket;
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
  readonly stream: ServerHttp2Stream;
  statusCode = 200;
  headersSent = false;
  writableEnded = false;
  /** When true the body's bytes are overwritten once the stream has taken them: they are a secret. */
  wipeAfterSend = false;
  #headers: OutgoingHttpHeaders | undefined;

  constructor(stream: ServerHttp2Stream) {
    this.stream = stream;
  }

  get destroyed(): boolean {
    return this.stream.destroyed || this.stream.closed;
  }

  get socket(): unknown {
    return this.stream.session?.socket;
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

  /** Sends an informational 100 (RFC 9110 §10.1.1); Node's server calls it for `Expect: 100-continue`. */
  writeContinue(): void {
    this.stream.additionalHeaders({ ':status': 100 });
  }

  #respond(endStream: boolean): boolean {
    const stream = this.stream;
    if (stream.headersSent) return true;
    if (stream.destroyed || stream.closed) return false;
    const out: OutgoingHttpHeaders = { ':status': this.statusCode };
    const headers = this.#headers;
    for (const name in headers) {
      const value = headers[name];
      if (value !== undefined && !connectionSpecific.has(name)) out[name] = value;
    }
    stream.respond(out, endStream ? { endStream: true } : undefined);
    return true;
  }

  flushHeaders(): void {
    this.headersSent = true;
    this.#respond(false);
  }

  /** Keeps the session through silence until this answer closes. */
  outlastSilence(): void {
    const session = this.stream.session as (ServerHttp2Session & LongAnswers) | undefined;
    if (session === undefined) return;
    session[longAnswers] = (session[longAnswers] ?? 0) + 1;
    this.stream.once('close', () => session[longAnswers]!--);
  }

  get writableLength(): number {
    return this.stream.writableLength;
  }

  write(chunk: string | Buffer): boolean {
    this.headersSent = true;
    return this.#respond(false) ? this.stream.write(chunk) : false;
  }

  end(chunk?: string | Buffer | null): this {
    if (this.writableEnded) return this;
    this.writableEnded = true;
    this.headersSent = true;
    const stream = this.stream;
    if (chunk === undefined || chunk === null || chunk.length === 0) {
      if (stream.headersSent) stream.end();
      else this.#respond(true);
    } else if (this.#respond(false)) {
      if (this.wipeAfterSend && typeof chunk !== 'string') {
        (stream as WipedStream)[secretBody] = chunk;
        stream.on('close', wipeBody);
      }
      stream.end(chunk);
    } else if (this.wipeAfterSend && typeof chunk !== 'string') {
      chunk.fill(0);
    }
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
