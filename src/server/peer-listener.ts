/** Where the other replicas reach this one: HTTPS with a certificate on both sides, for peers alone. */
import { fastify, type FastifyInstance, type FastifyServerFactory } from 'fastify';
import { once } from 'node:events';
import https from 'node:https';
import type { AddressInfo } from 'node:net';
import type { TLSSocket } from 'node:tls';
import { identityOfCertificate } from '../access/index.ts';
import { maxMessageBytes, peersPlugin, type PeersPluginOptions } from '../api/peers/index.ts';
import type { LimitsConfig, PeersConfig } from '../config/model.ts';
import type { ServerInfo } from './info.ts';
import { http1Options } from './listener.ts';
import type { PeerTrust } from './peer-trust.ts';
import { SharedRate } from './shared-rate.ts';

/** As many replicas as one may have, with the processes of each; half of them for one certificate. */
const maxConnections = 512;

/** Of all peers together, half of it of one: each asks a few times in `propagation`, and tells what people ask for. */
const maxRequestsPerSecond = 500;

export interface PeerListenerOptions extends Omit<PeersPluginOptions, 'tellerOf'> {
  readonly limits: LimitsConfig;
  readonly server: ServerInfo;
  /** A connection or a request that is no peer's. */
  readonly onStranger: (reason: string, address: string | undefined) => void;
}

export class PeerListener {
  readonly #options: PeerListenerOptions;
  readonly #app: FastifyInstance;
  /** With whose they are. */
  readonly #sockets = new Map<TLSSocket, string>();
  #server: https.Server | undefined;
  #trust: PeerTrust;
  readonly #address: Pick<PeersConfig, 'host' | 'port'>;
  readonly #requests = new SharedRate(maxRequestsPerSecond);

  constructor(address: Pick<PeersConfig, 'host' | 'port'>, trust: PeerTrust, options: PeerListenerOptions) {
    this.#address = address;
    this.#trust = trust;
    this.#options = options;
    this.#app = fastify({
      logger: false,
      serverFactory: ((handler: https.RequestOptions & (() => void)) =>
        this.#createServer(handler)) as unknown as FastifyServerFactory,
      bodyLimit: maxMessageBytes,
      exposeHeadRoutes: false,
      onProtoPoisoning: 'error',
      onConstructorPoisoning: 'error',
      requestIdHeader: false,
      return503OnClosing: false,
    }) as unknown as FastifyInstance;
    this.#app.addHook('onRequest', async (request, reply) => {
      const socket = request.raw.socket as TLSSocket;
      const reason = this.#refuses(socket);
      if (reason !== undefined) {
        options.onStranger(reason, request.socket.remoteAddress);
        await reply.code(403).send({ error: 'no peer' });
        return;
      }
      if (!this.#requests.take(this.#sockets.get(socket)!, 1))
        await reply.code(429).send({ error: 'too many requests' });
    });
    this.#app.setErrorHandler((error: { statusCode?: number }, _request, reply) =>
      reply.code(error.statusCode ?? 500).send({ error: 'not understood' }),
    );
    void this.#app.register(peersPlugin, {
      ...options,
      tellerOf: ({ raw }) => this.#sockets.get(raw.socket as TLSSocket)!,
    });
  }

  async listen(): Promise<number> {
    await this.#app.ready();
    const server = this.#server!;
    server.listen({ ...this.#address, backlog: 64 });
    await once(server, 'listening');
    return (server.address() as AddressInfo).port;
  }

  /** New certificates and rules, also for connections that are open. */
  reload(trust: PeerTrust): void {
    this.#trust = trust;
    this.#server?.setSecureContext(trust.context);
    for (const socket of this.#sockets.keys()) if (this.#refuses(socket) !== undefined) socket.destroy();
  }

  async stop(): Promise<void> {
    const server = this.#server;
    if (server?.listening === true) {
      const closed = once(server, 'close');
      server.close();
      for (const socket of this.#sockets.keys()) socket.destroy();
      await closed;
    }
    await this.#app.close();
  }

  #refuses(socket: TLSSocket): string | undefined {
    if (!socket.authorized) return 'certificate is not of the peers’ CA';
    return this.#trust.refuses(socket.getPeerX509Certificate(), Date.now());
  }

  #createServer(handler: (...parts: never[]) => void): https.Server {
    const { limits, onStranger, server: info } = this.#options;
    const server = https.createServer(
      {
        ...this.#trust.context,
        ALPNProtocols: ['http/1.1'],
        requestCert: true,
        rejectUnauthorized: true,
        handshakeTimeout: limits.handshakeTimeoutMs,
        ...http1Options(limits),
      },
      handler as unknown as https.RequestOptions & (() => void),
    );
    server.maxConnections = maxConnections;
    server.on('secureConnection', (socket: TLSSocket) => {
      const reason = this.#refuses(socket);
      if (reason !== undefined) {
        onStranger(reason, socket.remoteAddress);
        socket.destroy();
        return;
      }
      const identity = identityOfCertificate(socket.getPeerX509Certificate()!);
      const same = [...this.#sockets.values()].filter((each) => each === identity).length;
      if (same >= maxConnections / 2) {
        socket.destroy();
        return;
      }
      this.#sockets.set(socket, identity);
      socket.once('close', () => this.#sockets.delete(socket));
    });
    server.on('tlsClientError', (error: NodeJS.ErrnoException, socket: TLSSocket) => {
      info.metrics.tlsHandshakeFailed(error.code ?? 'unknown');
      socket.destroy();
    });
    this.#server = server;
    return server;
  }
}
