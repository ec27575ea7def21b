/**
 * Where connections of HTTP/1.1 begin: small calls that come whole, one after another, are answered here, without the objects that Node makes
 * for each message. The first thing that is anything else takes its connection to Node's server, with all bytes that are not
 * answered, and the connection stays there. So nothing is judged here that could be read in two ways (see http1-head.ts).
 */
import { STATUS_CODES, type IncomingHttpHeaders, type OutgoingHttpHeaders } from 'node:http';
import type { TLSSocket } from 'node:tls';
import type { RouteTarget } from '../api/kes/index.ts';
import { readHttp1Head, type Http1Head } from './http1-head.ts';

/** A call that is longer is not small: Node's server gathers those under the limits of their routes. */
const mostCallBytes = 8192;
const headEnd = Buffer.from('\r\n\r\n');
const answerBytes = 1024;

export interface LaneOptions {
  readonly headersTimeoutMs: number;
  readonly requestTimeoutMs: number;
  readonly idleTimeoutMs: number;
  readonly maxHeaderBytes: number;
  /** Answers ask their client to close. */
  readonly isDraining: () => boolean;
  readonly smallCall: (method: string, path: string) => RouteTarget | undefined;
  readonly serve: (request: LaneRequest, target: RouteTarget, response: LaneResponse) => void;
  /** Takes the socket, from which what was not answered can be read. */
  readonly handOver: (socket: TLSSocket) => void;
  /** A request did not come whole in time. */
  readonly expired: (socket: TLSSocket) => void;
  /** The socket has closed, or is somebody else's. */
  readonly onEnd: () => void;
}

/** What faces ask of a request; its body is there. */
export class LaneRequest {
  declare readonly httpVersion: string;
  declare readonly httpVersionMajor: number;
  declare readonly httpVersionMinor: number;
  readonly socket: TLSSocket;
  readonly method: string;
  readonly url: string;
  readonly headers: IncomingHttpHeaders;
  readonly whole: Buffer;

  constructor(socket: TLSSocket, head: Http1Head, whole: Buffer) {
    this.socket = socket;
    this.method = head.method;
    this.url = head.path;
    this.headers = head.headers;
    this.whole = whole;
  }
}
Object.assign(LaneRequest.prototype, { httpVersion: '1.1', httpVersionMajor: 1, httpVersionMinor: 1 });

/** Takes one answer. */
export class LaneResponse {
  readonly #lane: Http1Lane;
  #status = 200;
  #headers: OutgoingHttpHeaders = {};
  writableEnded = false;
  /** The body is a secret, overwritten once it is sent. */
  wipeAfterSend = false;

  constructor(lane: Http1Lane) {
    this.#lane = lane;
  }

  writeHead(status: number, headers: OutgoingHttpHeaders): void {
    this.#status = status;
    this.#headers = headers;
  }

  end(body?: Buffer): void {
    if (this.writableEnded) return;
    this.writableEnded = true;
    this.#lane.answer(this.#status, this.#headers, body);
    if (this.wipeAfterSend) body?.fill(0);
  }
}

interface KnownHead {
  readonly bytes: Buffer;
  readonly head: Http1Head;
  readonly target: RouteTarget;
}

export class Http1Lane {
  readonly #socket: TLSSocket;
  readonly #options: LaneOptions;
  /** Clients send the same head again. */
  #known: KnownHead | undefined;
  /** What came of a call that is not whole, or while another one is answered. */
  #rest: Buffer | undefined;
  #isAnswering = false;
  #isClosing = false;
  /** The last answer, or the beginning. */
  #idleSinceMs = performance.now();
  #hasAnswered = false;
  #begunMs: number | undefined;
  #out: Buffer | undefined = Buffer.allocUnsafeSlow(answerBytes);

  constructor(socket: TLSSocket, options: LaneOptions) {
    this.#socket = socket;
    this.#options = options;
    socket.on('data', this.#onData);
    socket.on('end', this.#onEnd);
    socket.on('close', this.#onClose);
  }

  /** Called every second or so. @param nowMs `performance.now()` */
  sweep(nowMs: number): void {
    if (this.#isAnswering) return;
    const { headersTimeoutMs, idleTimeoutMs, requestTimeoutMs } = this.#options;
    if (this.#begunMs !== undefined) {
      if (nowMs - this.#begunMs > requestTimeoutMs) this.#expire();
    } else if (!this.#hasAnswered) {
      if (nowMs - this.#idleSinceMs > headersTimeoutMs) this.#expire();
    } else if (nowMs - this.#idleSinceMs > idleTimeoutMs) this.close();
  }

  /** What still comes is not served: the client is told that it was too late. */
  #expire(): void {
    this.#isClosing = true;
    this.#rest = undefined;
    this.#options.expired(this.#socket);
  }

  /** Ends now, or with the answer under way. */
  close(): void {
    this.#isClosing = true;
    if (!this.#isAnswering) this.#socket.destroySoon();
  }

  readonly #onData = (chunk: Buffer): void => {
    // The end has been told, or will be with the answer under way: nothing behind it is served.
    if (this.#isClosing) return;
    const bytes = this.#rest === undefined ? chunk : Buffer.concat([this.#rest, chunk]);
    this.#rest = undefined;
    if (!this.#isAnswering) {
      this.#take(bytes);
      return;
    }
    this.#rest = bytes;
    if (bytes.length > mostCallBytes) this.#socket.pause();
  };

  #take(bytes: Buffer): void {
    const known = this.#headOf(bytes);
    const length = known === undefined ? 0 : known.bytes.length + known.head.contentLength;
    if (known === undefined || length > mostCallBytes || bytes.length > length) {
      this.#handOver(bytes);
      return;
    }
    if (bytes.length < length) {
      this.#rest = bytes;
      this.#begunMs ??= performance.now();
      return;
    }
    this.#begunMs = undefined;
    this.#isAnswering = true;
    const request = new LaneRequest(this.#socket, known.head, bytes.subarray(known.bytes.length));
    this.#options.serve(request, known.target, new LaneResponse(this));
  }

  #headOf(bytes: Buffer): KnownHead | undefined {
    const known = this.#known;
    if (known !== undefined) {
      const { length } = known.bytes;
      if (bytes.length >= length && known.bytes.compare(bytes, 0, length) === 0) return known;
    }
    const end = bytes.indexOf(headEnd);
    if (end === -1 || end > this.#options.maxHeaderBytes) return undefined;
    const head = readHttp1Head(bytes.toString('latin1', 0, end));
    const target = head === undefined ? undefined : this.#options.smallCall(head.method, head.path);
    if (head === undefined || target === undefined) return undefined;
    this.#known = { bytes: Buffer.from(bytes.subarray(0, end + headEnd.length)), head, target };
    return this.#known;
  }

  #handOver(bytes: Buffer): void {
    const socket = this.#socket;
    this.#leave();
    socket.pause();
    socket.unshift(bytes);
    this.#options.handOver(socket);
    socket.resume();
  }

  #leave(): void {
    const socket = this.#socket;
    socket.off('data', this.#onData);
    socket.off('end', this.#onEnd);
    socket.off('close', this.#onClose);
    this.#options.onEnd();
  }

  /** The client sends nothing more. */
  readonly #onEnd = (): void => {
    this.close();
  };

  readonly #onClose = (): void => {
    this.#options.onEnd();
  };

  /** Sends the answer of the call under way; `body` is copied. */
  answer(status: number, headers: OutgoingHttpHeaders, body: Buffer | undefined): void {
    const socket = this.#socket;
    this.#isClosing ||= this.#options.isDraining() || headers['connection'] === 'close';
    let head = `HTTP/1.1 ${String(status)} ${STATUS_CODES[status] ?? ''}\r\n`;
    for (const name in headers) {
      const value = headers[name];
      if (value !== undefined && name !== 'connection') head += `${name}: ${String(value)}\r\n`;
    }
    head += `Date: ${dateNow()}\r\n`;
    if (this.#isClosing) head += 'Connection: close\r\n\r\n';
    else
      head += `Connection: keep-alive\r\nKeep-Alive: timeout=${String(Math.floor(this.#options.idleTimeoutMs / 1000))}\r\n\r\n`;
    const length = head.length + (body?.length ?? 0);
    const room =
      this.#out !== undefined && this.#out.length >= length ? this.#out : Buffer.allocUnsafeSlow(length);
    this.#out = undefined;
    const at = room.write(head, 'latin1');
    body?.copy(room, at);
    const sent = room.subarray(0, length);
    socket.write(sent, () => {
      sent.fill(0);
      this.#out = room;
    });
    this.#isAnswering = false;
    this.#hasAnswered = true;
    this.#idleSinceMs = performance.now();
    if (this.#isClosing) {
      socket.destroySoon();
      return;
    }
    if (this.#rest !== undefined) this.#goOn();
  }

  /** With what came meanwhile, from a fresh stack: a client may have sent many calls at once. */
  #goOn(): void {
    setImmediate(() => {
      const bytes = this.#rest;
      if (bytes === undefined || this.#isAnswering || this.#isClosing || this.#socket.destroyed) return;
      this.#rest = undefined;
      if (this.#socket.isPaused()) this.#socket.resume();
      this.#take(bytes);
    });
  }
}

let dateText = '';
let dateSecond = -1;

/** Changes once a second. */
function dateNow(): string {
  const second = Math.floor(Date.now() / 1000);
  if (second !== dateSecond) {
    dateSecond = second;
    dateText = new Date(second * 1000).toUTCString();
  }
  return dateText;
}
