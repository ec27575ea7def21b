/**
 * One connection to one endpoint: HTTP/2 where the server offers it (ALPN), HTTP/1.1 otherwise. Requests share it; who
 * owns it opens another once `usable` turns false.
 */
import http2 from 'node:http2';
import https from 'node:https';
import type { Readable } from 'node:stream';
import tls from 'node:tls';
import { isIP } from 'node:net';
import type { Endpoint } from './endpoint.ts';
import { TimeoutError } from './errors.ts';

export interface ConnectionOptions {
  readonly endpoint: Endpoint;
  readonly certPem: string;
  readonly keyPem: string | Buffer;
  readonly keyPassword?: string | undefined;
  readonly ca?: string | Buffer | readonly (string | Buffer)[] | undefined;
  readonly insecure: boolean;
  readonly timeoutMs: number;
}

export interface WireRequest {
  readonly method: 'GET' | 'PUT' | 'POST' | 'DELETE';
  /** Escaped path with its leading slash. */
  readonly path: string;
  readonly body?: Buffer | undefined;
  /** Aborting it ends the request, also while its answer is being read. */
  readonly signal: AbortSignal;
}

export interface WireResponse {
  readonly status: number;
  readonly contentType: string;
  /** Read it to its end or destroy it. */
  readonly body: Readable;
}

export interface Connection {
  readonly protocol: 'h2' | 'http/1.1';
  /** False once the server has said good-bye or the socket is gone. */
  readonly usable: boolean;
  send(request: WireRequest): Promise<WireResponse>;
  close(): void;
}

/** Connects and finds out which protocol the server speaks. Rejects with the socket's error. */
export async function openConnection(options: ConnectionOptions): Promise<Connection> {
  const socket = await openSocket(options);
  if (socket.alpnProtocol === 'h2') return new Http2Connection(socket, options.endpoint);
  socket.destroy();
  return new Http1Connection(options);
}

function tlsOptions(options: ConnectionOptions): tls.ConnectionOptions {
  const { endpoint } = options;
  return {
    host: endpoint.host,
    port: endpoint.port,
    cert: options.certPem,
    key: options.keyPem,
    rejectUnauthorized: !options.insecure,
    minVersion: 'TLSv1.2',
    ...(options.keyPassword === undefined ? {} : { passphrase: options.keyPassword }),
    ...(options.ca === undefined ? {} : { ca: options.ca as string | Buffer | (string | Buffer)[] }),
    // RFC 6066 §3: an address is not a server name.
    ...(isIP(endpoint.host) === 0 ? { servername: endpoint.host } : {}),
  };
}

function openSocket(options: ConnectionOptions): Promise<tls.TLSSocket> {
  return new Promise((resolve, reject) => {
    const socket = tls.connect({ ...tlsOptions(options), ALPNProtocols: ['h2', 'http/1.1'] });
    const deadline = setTimeout(() => socket.destroy(new TimeoutError(options.timeoutMs)), options.timeoutMs);
    socket.once('secureConnect', () => {
      clearTimeout(deadline);
      socket.removeListener('error', reject);
      // A calmer listener: errors after this reach the session or, for HTTP/1.1, nobody.
      socket.on('error', () => undefined);
      resolve(socket);
    });
    socket.once('error', reject);
    socket.once('close', () => {
      clearTimeout(deadline);
      reject(Object.assign(new Error('connection closed during the TLS handshake'), { code: 'ECONNRESET' }));
    });
  });
}

class Http2Connection implements Connection {
  readonly protocol = 'h2';
  readonly #session: http2.ClientHttp2Session;
  #usable = true;
  #failure: Error | undefined;
  #active = 0;

  constructor(socket: tls.TLSSocket, endpoint: Endpoint) {
    this.#session = http2.connect(endpoint.origin, {
      createConnection: () => socket,
      // SSE-C keys and contexts travel in no header here, but a table of past headers is still memory nobody can wipe.
      settings: { enablePush: false, headerTableSize: 0 },
    });
    const end = () => {
      this.#usable = false;
    };
    this.#session.on('goaway', end);
    this.#session.on('close', end);
    this.#session.on('error', (error) => {
      this.#failure = error;
      end();
    });
    this.#session.unref();
  }

  get usable(): boolean {
    return this.#usable && !this.#session.closed && !this.#session.destroyed;
  }

  send(request: WireRequest): Promise<WireResponse> {
    return new Promise((resolve, reject) => {
      request.signal.throwIfAborted();
      const body = request.body;
      const stream = this.#session.request(
        {
          ':method': request.method,
          ':path': request.path,
          accept: 'application/json',
          ...(body === undefined
            ? {}
            : { 'content-type': 'application/json', 'content-length': String(body.length) }),
        },
        { endStream: body === undefined },
      );
      this.#hold();
      const abort = () => stream.destroy(request.signal.reason as Error);
      request.signal.addEventListener('abort', abort, { once: true });
      stream.once('close', () => {
        request.signal.removeEventListener('abort', abort);
        this.#release();
        reject(this.#failure ?? closedEarly());
      });
      stream.on('error', (error) => reject(this.#failure ?? error));
      stream.once('response', (headers) => {
        resolve({
          status: headers[':status'] ?? 0,
          contentType: headers['content-type'] ?? '',
          body: stream,
        });
      });
      if (body !== undefined) stream.end(body);
    });
  }

  close(): void {
    this.#usable = false;
    this.#session.close();
    // An idle server may keep its half open; nothing of ours is in flight.
    if (this.#active === 0) this.#session.destroy();
  }

  /** An idle connection does not keep the process alive, a request does. */
  #hold(): void {
    if (this.#active++ === 0 && !this.#session.destroyed) this.#session.ref();
  }

  #release(): void {
    if (--this.#active === 0 && !this.#session.destroyed) this.#session.unref();
  }
}

class Http1Connection implements Connection {
  readonly protocol = 'http/1.1';
  readonly usable = true;
  readonly #agent: https.Agent;
  readonly #endpoint: Endpoint;

  constructor(options: ConnectionOptions) {
    this.#endpoint = options.endpoint;
    this.#agent = new https.Agent({ keepAlive: true, ...tlsOptions(options) });
  }

  send(request: WireRequest): Promise<WireResponse> {
    return new Promise((resolve, reject) => {
      const body = request.body;
      const outgoing = https.request({
        agent: this.#agent,
        host: this.#endpoint.host,
        port: this.#endpoint.port,
        method: request.method,
        path: request.path,
        signal: request.signal,
        headers: {
          accept: 'application/json',
          ...(body === undefined ? {} : { 'content-type': 'application/json' }),
          // An empty body is said to be empty: with none, Node would send a PUT chunked.
          ...(request.method === 'GET' ? {} : { 'content-length': String(body?.length ?? 0) }),
        },
      });
      outgoing.on('error', (error) =>
        reject(request.signal.aborted ? (request.signal.reason as Error) : error),
      );
      outgoing.once('response', (response) => {
        resolve({
          status: response.statusCode ?? 0,
          contentType: response.headers['content-type'] ?? '',
          body: response,
        });
      });
      outgoing.end(body);
    });
  }

  close(): void {
    this.#agent.destroy();
  }
}

function closedEarly(): Error {
  return Object.assign(new Error('connection closed before the answer'), { code: 'ECONNRESET' });
}
