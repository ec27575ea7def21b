/**
 * A key listener: TLS with client certificates, HTTP/2 and HTTP/1.1 on one port, Fastify on top of thin HTTP/2 classes.
 * What is measured and attacked here: header, time, connection and HTTP/2 limits (docs/limits.md).
 */
import { fastify, type FastifyInstance, type FastifyServerFactory } from 'fastify';
import { constants as cryptoConstants, X509Certificate } from 'node:crypto';
import { readFileSync } from 'node:fs';
import type { IncomingMessage, ServerOptions, ServerResponse } from 'node:http';
import https, { type Server as HttpsServer } from 'node:https';
import net from 'node:net';
import tls, { type TLSSocket } from 'node:tls';
import { peerFactsOfSocket, type PeerFacts } from '../access/index.ts';
import { adminPlugin, rewriteAdminUrl } from '../api/admin/index.ts';
import { KesExchange, kesPlugin, rewriteKesUrl } from '../api/kes/index.ts';
import { objectsPlugin, rewriteObjectsUrl } from '../api/objects/index.ts';
import { rewriteTransitUrl, transitPlugin } from '../api/transit/index.ts';
import type { LimitsConfig, ListenerConfig, TlsConfig } from '../config/model.ts';
import { SelloError } from '../errors.ts';
import {
  errorCode,
  Http2Connection,
  Http2Stream,
  mostWindowBytes,
  SmallCall,
  type ConnectionLimits,
  type RequestHead,
  type StreamPort,
} from '../http2/index.ts';
import type { ServedCertificate } from './certificates.ts';
import { connectionFacts, type ConnectionFacts, type FactsCarrier, type Gate } from './gate.ts';
import { Http2Request, Http2Response } from './http2-exchange.ts';
import type { ServerInfo } from './info.ts';
import { Http1Lane } from './http1-lane.ts';
import { acceptListMethod, listMethodOf } from './list-method.ts';
import { longBody, type LongBody } from './long-body.ts';

/** Suites with forward secrecy and authenticated encryption alone. */
const ciphers = [
  'TLS_AES_256_GCM_SHA384',
  'TLS_AES_128_GCM_SHA256',
  'TLS_CHACHA20_POLY1305_SHA256',
  'ECDHE-ECDSA-AES256-GCM-SHA384',
  'ECDHE-RSA-AES256-GCM-SHA384',
  'ECDHE-ECDSA-AES128-GCM-SHA256',
  'ECDHE-RSA-AES128-GCM-SHA256',
  'ECDHE-ECDSA-CHACHA20-POLY1305',
  'ECDHE-RSA-CHACHA20-POLY1305',
].join(':');

/**
 * No session tickets: a resumed session skips the client certificate, also after its CA was removed or it was revoked.
 * Every context is made here, because a context without these options would reopen what they close.
 */
export function secureContextOptions(
  config: TlsConfig,
): tls.SecureContextOptions & { readonly cert: Buffer } {
  try {
    const options = {
      cert: readFileSync(config.certFile),
      key: readFileSync(config.keyFile),
      ...(config.keyPassword === undefined ? {} : { passphrase: config.keyPassword }),
      minVersion: config.minVersion,
      ciphers,
      honorCipherOrder: true,
      secureOptions: cryptoConstants.SSL_OP_NO_TICKET | cryptoConstants.SSL_OP_NO_RENEGOTIATION,
      sessionIdContext: 'sello',
    } satisfies tls.SecureContextOptions;
    tls.createSecureContext(options); // Throws for a certificate and a key that do not belong together.
    return options;
  } catch (cause) {
    throw new SelloError('SELLO_CONFIG_INVALID', {
      // OpenSSL's and the system's words: they name no byte of the key.
      detail: `TLS certificate ${config.certFile} or key ${config.keyFile} cannot be used: ${cause instanceof Error ? cause.message : String(cause)}`,
      cause,
    });
  }
}

/** What Node's HTTP/1.1 server bounds on every listener that needs a certificate. */
export function http1Options(limits: LimitsConfig): ServerOptions {
  return {
    maxHeaderSize: limits.maxHeaderBytes,
    // Node refuses one that is longer than the whole request may take.
    headersTimeout: Math.min(limits.headersTimeoutMs, limits.requestTimeoutMs),
    requestTimeout: limits.requestTimeoutMs,
    keepAliveTimeout: limits.idleTimeoutMs,
    connectionsCheckingInterval: 1000,
    requireHostHeader: true,
  };
}

export interface ListenerDependencies {
  readonly limits: LimitsConfig;
  readonly gate: Gate;
  readonly server: ServerInfo;
  /** Several processes share the port. */
  readonly reusePort: boolean;
}

/** What a client may send of one body before it is read: HTTP/2's 64 KiB make a stream wait for every round trip. */
const streamWindowBytes = 262_144;
/** The same for a connection. Node takes in what arrives at once, so one stream that is not read holds up no other. */
const sessionWindowBytes = 4 * 1_048_576;

/** Of one connection with object streams: 250 of them, each with a segment on its way out. Node refuses new streams above it. */
const streamSessionMb = 64;

interface ArrivingRequest extends LongBody {
  /** What the faces keep with a request. */
  readonly sello?: { readonly startMs: number };
}

/** Streams that a client opened before it saw the first GOAWAY are on their way at most this much longer than its answer to a PING. */
const goawayNoticeMs = 50;

/** A client that does not answer a PING either is not waited for any longer. */
const goawayPatienceMs = 2000;

export class KeyListener {
  readonly #config: ListenerConfig;
  readonly #dependencies: ListenerDependencies;
  readonly #http2 = new Set<Http2Connection>();
  /** Connections of HTTP/1.1 that have asked for nothing but small calls. */
  readonly #lanes = new Set<Http1Lane>();
  readonly #sockets = new Set<TLSSocket>();
  #server: HttpsServer | undefined;
  /** Fastify. */
  #serve: (request: unknown, response: unknown) => void = () => undefined;
  readonly #app: FastifyInstance;
  readonly #kes: KesExchange;
  /** What it shows to clients. */
  served: ServedCertificate | undefined;
  /** HTTP/1.1: the answer under way on a connection. */
  readonly #answering = new WeakMap<TLSSocket, ServerResponse>();
  #http2Limits!: ConnectionLimits;
  /** Clients are told to put nothing into HPACK's table. */
  #isTableOff = false;
  #draining = false;
  /** The port is closed. */
  #refusing = false;
  /** Every route as Fastify knows it, so that tests can hold their list of routes against it. */
  readonly routes = new Set<string>();

  constructor(config: ListenerConfig, dependencies: ListenerDependencies) {
    this.#config = config;
    this.#dependencies = dependencies;
    this.#kes = new KesExchange({ gate: dependencies.gate, server: dependencies.server });
    this.#app = fastify({
      logger: false,
      // Fastify's types know one server class per instance; the real one is HTTP/2 with HTTP/1.1 beside it.
      serverFactory: ((handler: (request: unknown, response: unknown) => void) =>
        this.#createServer(handler)) as unknown as FastifyServerFactory,
      rewriteUrl: (raw) =>
        rewriteTransitUrl(
          raw,
          rewriteAdminUrl(raw, rewriteObjectsUrl(raw, rewriteKesUrl(raw))),
          dependencies.gate.runtime.transitMounts,
        ),
      exposeHeadRoutes: false,
      return503OnClosing: false,
      routerOptions: { caseSensitive: true, ignoreTrailingSlash: false },
      genReqId: () => '',
      clientErrorHandler: (error: NodeJS.ErrnoException, socket) =>
        this.#malformed(error, socket as TLSSocket),
    }) as unknown as FastifyInstance;
    this.#app.addHook('onRoute', ({ url }) => void this.routes.add(url));
    this.#app.register(kesPlugin, { exchange: this.#kes });
    this.#app.register(adminPlugin, { gate: dependencies.gate, server: dependencies.server });
    this.#app.register(objectsPlugin, { gate: dependencies.gate, server: dependencies.server });
    this.#app.register(transitPlugin, { gate: dependencies.gate, server: dependencies.server });
  }

  /** Starts listening; returns the port in use. */
  async listen(): Promise<number> {
    await this.#app.ready();
    const server = this.#server!;
    const { host, port } = this.#config;
    await new Promise<void>((resolve, reject) => {
      server.once('error', reject);
      server.listen({ host, port, reusePort: this.#dependencies.reusePort, backlog: 1024 }, () => {
        server.off('error', reject);
        resolve();
      });
    });
    const address = server.address();
    return typeof address === 'object' && address !== null ? address.port : port;
  }

  /** New handshakes use these files from now on; throws and keeps the old ones when they cannot be used. */
  reloadTls(config: TlsConfig): void {
    this.#useCertificate(secureContextOptions(config), (options) => this.#server!.setSecureContext(options));
  }

  /** Puts a certificate in force and shows when it ends. */
  #useCertificate<T>(
    options: ReturnType<typeof secureContextOptions>,
    use: (options: tls.SecureContextOptions) => T,
  ): T {
    const result = use(options);
    const { host, port } = this.#config;
    const certificate = new X509Certificate(options.cert);
    this.served = { use: 'listener', where: `${host}:${port}`, certificate };
    const notAfterMs = certificate.validToDate.getTime();
    this.#dependencies.server.metrics.certificateNotAfter(`listener ${host}:${port}`, notAfterMs);
    return result;
  }

  #createServer(handler: (request: unknown, response: unknown) => void): HttpsServer {
    const { limits } = this.#dependencies;
    this.#isTableOff = this.#carriesCustomerKeys;
    this.#http2Limits = this.#limitsOfHttp2();
    const create = (context: tls.SecureContextOptions): HttpsServer =>
      https.createServer({
        ...context,
        ALPNProtocols: ['h2', 'http/1.1'],
        requestCert: true,
        // The verdict is ours, per request and with a reason (access/peer.ts); OpenSSL would refuse without saying why.
        rejectUnauthorized: false,
        handshakeTimeout: limits.handshakeTimeoutMs,
        ...http1Options(limits),
        // Ours (#endSlowRequests), because Node's knows no exception for requests that are streams.
        requestTimeout: 0,
      });
    const server = this.#useCertificate(secureContextOptions(this.#config.tls), create);
    this.#server = server;
    server.maxConnections = limits.maxConnections;
    this.#guardConnections(server);
    const sweep = setInterval(() => this.#sweep(), 1000).unref();
    server.once('close', () => clearInterval(sweep));
    server.on('timeout', (socket: TLSSocket) => socket.destroy());
    server.on('connect', (_request: unknown, socket: unknown) => answerConnect(socket));
    this.#serve = handler;
    server.on('request', (request, response) => {
      const socket = request.socket as TLSSocket;
      // What was pipelined behind a request that ended the connection is not served.
      if (socket.writableEnded) return;
      const refusal = refuseHttp1(request);
      if (refusal !== undefined) {
        answerRefused(refusal, socket);
        return;
      }
      this.#answering.set(socket, response);
      listMethodOf(request);
      if (this.#draining) response.setHeader('connection', 'close');
      if (!this.#kes.serveDirectly(request, response)) handler(request, response);
    });
    return server;
  }

  /** A request over HTTP/2. */
  #serveHttp2(port: StreamPort, head: RequestHead): void {
    const target = this.#kes.smallCall(head.method, head.path);
    if (target !== undefined) {
      const stream = new SmallCall(port);
      const response = new Http2Response(stream);
      if (head.headers.expect === '100-continue') response.writeContinue();
      this.#kes.serveSmall(new Http2Request(stream, head, head.headers), target, response);
      return;
    }
    const stream = new Http2Stream(port);
    // Faces set fields of the body aside; those of a head may be another request's too.
    const headers = Object.assign(Object.create(null), head.headers) as RequestHead['headers'];
    const request = new Http2Request(stream, head, headers);
    const response = new Http2Response(stream);
    if (headers.expect === '100-continue') response.writeContinue();
    if (head.method === 'CONNECT') answerConnect(response);
    else this.#serve(request, response);
  }

  #sweep(): void {
    this.#endSlowRequests();
    const nowMs = performance.now();
    for (const connection of this.#http2) connection.sweep(nowMs);
    for (const lane of this.#lanes) lane.sweep(nowMs);
  }

  #limitsOfHttp2(): ConnectionLimits {
    const { http2, ...limits } = this.#dependencies.limits;
    const memoryMb = Math.max(http2.maxSessionMemoryMb, this.#servesObjects ? streamSessionMb : 0);
    return {
      maxConcurrentStreams: http2.maxConcurrentStreams,
      maxResetsPerSecond: http2.maxResetsPerSecond,
      maxSettings: http2.maxSettings,
      maxWaitingPings: http2.maxOutstandingPings,
      maxMemoryBytes: memoryMb * 1_000_000,
      maxHeaderListBytes: limits.maxHeaderBytes,
      // A customer's key in a table would outlive its request: with one allowed anywhere, nothing goes into tables.
      headerTableBytes: this.#isTableOff ? 0 : 4096,
      streamWindowBytes,
      windowBytes: sessionWindowBytes,
      headersTimeoutMs: limits.headersTimeoutMs,
      idleTimeoutMs: limits.idleTimeoutMs,
    };
  }

  /** HTTP/1.1 requests that take too long to arrive, headers and body together (RFC 9110 §15.5.9). */
  #endSlowRequests(): void {
    const latestStartMs = performance.now() - this.#dependencies.limits.requestTimeoutMs;
    for (const socket of this.#sockets) {
      const request = this.#answering.get(socket)?.req as (ArrivingRequest & IncomingMessage) | undefined;
      if (request === undefined || request.complete || request[longBody] === true) continue;
      if ((request.sello?.startMs ?? Infinity) < latestStartMs)
        this.#malformed(Object.assign(new Error('request timeout'), { code: expiredCode }), socket);
    }
  }

  get #servesObjects(): boolean {
    return [...this.#dependencies.gate.runtime.tenants.values()].some(
      ({ config }) => config.objects !== undefined,
    );
  }

  get #carriesCustomerKeys(): boolean {
    return [...this.#dependencies.gate.runtime.tenants.values()].some(({ config: { objects } }) =>
      [objects?.everyBucket, ...Object.values(objects?.buckets ?? {})].some(
        (bucket) => bucket?.allowsCustomerKeys === true,
      ),
    );
  }

  #malformed(error: NodeJS.ErrnoException, socket: TLSSocket): void {
    // What follows a request may be malformed while that request is still being answered: its answer goes first.
    const answering = this.#answering.get(socket);
    // A body that breaks off in mid-message has no end to wait for: without this its request would stay open for ever.
    const isBody = answering !== undefined && !answering.req.complete && !answering.headersSent;
    if (answering === undefined || answering.writableFinished || isBody) answerMalformed(error, socket);
    else answering.once('finish', () => socket.destroy());
  }

  /** Looks at each connection after its handshake and before HTTP: facts are found here, once. */
  #guardConnections(server: HttpsServer): void {
    const { gate, server: info } = this.#dependencies;
    const listeners = server.listeners('secureConnection') as ((socket: TLSSocket) => void)[];
    server.removeAllListeners('secureConnection');
    server.on('secureConnection', (socket: TLSSocket) => {
      socket.on('error', () => socket.destroy());
      const facts: ConnectionFacts = {
        peer: factsOf(socket),
        remoteAddress: socket.remoteAddress?.replace(/^::ffff:/, ''),
        serverName: typeof socket.servername === 'string' ? socket.servername : undefined,
        serverNames: this.#config.serverNames,
        ...(this.#config.tenantWithoutCertificate === undefined
          ? {}
          : { tenantWithoutCertificate: this.#config.tenantWithoutCertificate }),
      };
      const reason = gate.runtime.refusesConnection(facts);
      if (reason !== undefined) {
        info.metrics.tlsHandshakeFailed(reason);
        gate.serverAudit.append({
          timeMs: Date.now(),
          requestId: info.newRequestId(),
          tenant: undefined,
          identity: facts.peer?.identity,
          certificateSerial: facts.peer?.serialNumber,
          certificateIssuer: facts.peer?.issuerName,
          sourceIp: facts.remoteAddress,
          face: 'server',
          decision: 'deny',
          reason,
          status: 0,
          durationMs: 0,
        });
        socket.destroy();
        return;
      }
      gate.noteClient(facts);
      (socket as FactsCarrier)[connectionFacts] = facts;
      this.#sockets.add(socket);
      socket.once('close', () => this.#sockets.delete(socket));
      if (socket.alpnProtocol === 'h2') {
        this.#adopt(socket, facts);
        return;
      }
      this.#openLane(socket, () => {
        for (const listener of listeners) listener.call(server, socket);
        if (gate.runtime.transitMounts.size > 0)
          acceptListMethod(socket, () => {
            const { req } = this.#answering.get(socket) ?? {};
            return req === undefined || req.complete;
          });
      });
    });
    server.on('tlsClientError', (error: NodeJS.ErrnoException, socket: TLSSocket) => {
      const reason = `handshake failed: ${error.code ?? 'unknown'}`;
      info.metrics.tlsHandshakeFailed(error.code ?? 'unknown');
      gate.serverAudit.append({
        timeMs: Date.now(),
        requestId: info.newRequestId(),
        tenant: undefined,
        sourceIp: socket.remoteAddress?.replace(/^::ffff:/, ''),
        face: 'server',
        decision: 'deny',
        reason,
        status: 0,
        durationMs: 0,
      });
      // Node ends a connection whose handshake fails; one that takes too long it reports and leaves open.
      if (error.code === 'ERR_TLS_HANDSHAKE_TIMEOUT') socket.destroy();
    });
  }

  #openLane(socket: TLSSocket, handOver: () => void): void {
    const { headersTimeoutMs, idleTimeoutMs, maxHeaderBytes, requestTimeoutMs } = this.#dependencies.limits;
    const lane: Http1Lane = new Http1Lane(socket, {
      headersTimeoutMs,
      idleTimeoutMs,
      maxHeaderBytes,
      requestTimeoutMs,
      isDraining: () => this.#draining,
      smallCall: (method, path) => this.#kes.smallCall(method, path),
      serve: (request, target, response) => this.#kes.serveSmall(request, target, response),
      handOver,
      expired: (expired) =>
        answerMalformed(Object.assign(new Error('request timeout'), { code: expiredCode }), expired),
      onEnd: () => this.#lanes.delete(lane),
    });
    this.#lanes.add(lane);
  }

  #adopt(socket: TLSSocket, facts: ConnectionFacts): void {
    const { maxConnectionAgeMs } = this.#dependencies.limits;
    let retiring: NodeJS.Timeout | undefined;
    const connection: Http2Connection & FactsCarrier = new Http2Connection(socket, this.#http2Limits, {
      onRequest: (port, head) => this.#serveHttp2(port, head),
      onClose: () => {
        this.#http2.delete(connection);
        clearTimeout(retiring);
      },
    });
    connection[connectionFacts] = facts;
    this.#http2.add(connection);
    // A reload may have allowed them since this listener was made.
    if (!this.#isTableOff && this.#carriesCustomerKeys) connection.limitTable(0);
    if (maxConnectionAgeMs > 0) {
      // Jitter of a tenth, so that connections made together do not end together.
      const ageMs = maxConnectionAgeMs * (0.95 + Math.random() * 0.1);
      retiring = setTimeout(() => retire(connection), ageMs).unref();
    }
    if (this.#refusing) retire(connection);
  }

  /**
   * Stops without losing a request: connections are asked to go elsewhere while everything that still arrives is served, then
   * the port is closed, then what is under way ends.
   */
  async stop(drainMs: number, deadlineMs: number): Promise<void> {
    const server = this.#server;
    if (server === undefined || !server.listening) return;
    this.#draining = true;
    for (const connection of this.#http2) retire(connection);
    await wait(drainMs);
    // HTTP/1.1 clients learn of the end with their next answer. Those that have not asked yet get a little longer: closing an idle
    // connection may cross a request on its way.
    const endMs = performance.now() + 2 * drainMs;
    while (this.#sockets.size > 0 && performance.now() < endMs) await wait(idlePauseMs);
    // Sessions that came while draining are served until the port is closed. Told to leave before that they would come
    // straight back, and of processes that share a port perhaps to this one, until their client gives up.
    // The port is closed right after a look at it: what the kernel has accepted and the process has not would be reset.
    await new Promise(setImmediate);
    const closed = new Promise<void>((resolve) => net.Server.prototype.close.call(server, () => resolve()));
    this.#refusing = true;
    for (const connection of this.#http2) retire(connection);
    if (drainMs > 0) {
      const lastMs = performance.now() + goawayPatienceMs;
      while (this.#http2.size > 0 && performance.now() < lastMs) await wait(idlePauseMs);
    }
    server.closeIdleConnections();
    for (const lane of this.#lanes) lane.close();
    for (const connection of this.#http2) connection.close();
    const timer = setTimeout(() => this.#destroyAll(), deadlineMs);
    await closed;
    clearTimeout(timer);
  }

  #destroyAll(): void {
    for (const connection of this.#http2) connection.destroy();
    for (const socket of this.#sockets) socket.destroy();
  }

  get connections(): number {
    return this.#sockets.size;
  }
}

/**
 * Two steps, as RFC 9113 §6.8 advises: a notice that allows every stream, then the end once streams on their way have arrived. Frames
 * keep their order, so a client that has answered a PING has seen the notice before it, however busy it is.
 */
function retire(connection: Http2Connection): void {
  if (connection.destroyed) return;
  connection.goaway(errorCode.noError, mostWindowBytes);
  const close = (): void => connection.close();
  const patience = setTimeout(close, goawayPatienceMs).unref();
  connection.ping((error) => {
    if (error !== null) return;
    clearTimeout(patience);
    setTimeout(close, goawayNoticeMs).unref();
  });
}

/** A malformed certificate counts as none: OpenSSL read it, we could not. */
function factsOf(socket: TLSSocket): PeerFacts | undefined {
  try {
    return peerFactsOfSocket(socket);
  } catch {
    return undefined;
  }
}

/** As Node names it. */
const expiredCode = 'ERR_HTTP_REQUEST_TIMEOUT';

const idlePauseMs = 25;

function wait(ms: number): Promise<void> {
  return new Promise((resolve) => {
    setTimeout(resolve, ms);
  });
}

/** What Node's parser lets through and RFC 9112 does not: other versions (§2.3), more than one Host (§3.2). */
function refuseHttp1(request: Pick<IncomingMessage, 'httpVersion' | 'rawHeaders'>): string | undefined {
  if (request.httpVersion !== '1.1' && request.httpVersion !== '1.0') return '505 HTTP Version Not Supported';
  let hosts = 0;
  const { rawHeaders } = request;
  for (let i = 0; i < rawHeaders.length; i += 2) {
    const name = rawHeaders[i]!;
    if (name.length === 4 && name.toLowerCase() === 'host') hosts++;
  }
  return hosts > 1 ? '400 Bad Request' : undefined;
}

function answerRefused(status: string, socket: TLSSocket): void {
  socket.end(
    `HTTP/1.1 ${status}\r\nContent-Type: text/plain; charset=utf-8\r\nConnection: close\r\n\r\n${status}`,
  );
}

function answerMalformed(error: NodeJS.ErrnoException, socket: TLSSocket): void {
  if (!socket.writable) {
    socket.destroy();
    return;
  }
  const status =
    error.code === 'HPE_HEADER_OVERFLOW'
      ? '431 Request Header Fields Too Large'
      : error.code === expiredCode
        ? '408 Request Timeout'
        : '400 Bad Request';
  answerRefused(status, socket);
}

/** KES answers CONNECT like any unknown path. */
function answerConnect(target: unknown): void {
  if (target instanceof Http2Response) {
    target.statusCode = 404;
    target.end('404 page not found\n');
  } else {
    (target as TLSSocket).end(
      'HTTP/1.1 404 Not Found\r\nContent-Type: text/plain; charset=utf-8\r\nX-Content-Type-Options: nosniff\r\nContent-Length: 19\r\n\r\n404 page not found\n',
    );
  }
}
