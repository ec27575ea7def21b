/** Small TLS servers that misbehave in chosen ways: what a client meets that a good server never shows it. */
import { readFileSync } from 'node:fs';
import http2 from 'node:http2';
import type { IncomingMessage, ServerResponse } from 'node:http';
import https from 'node:https';
import type { AddressInfo } from 'node:net';
import path from 'node:path';
import type { TLSSocket } from 'node:tls';

const pki = path.join(import.meta.dirname, '../fixtures/pki');
const pem = (name: string) => readFileSync(path.join(pki, name), 'utf8');

export const adminCredentials = { certPem: pem('admin.crt'), keyPem: pem('admin.key') };
export const serverCertificate = pem('server.crt');

export interface Heard {
  readonly method: string;
  readonly path: string;
  readonly body: string;
  readonly protocol: string;
}

export interface Reply {
  readonly status: number;
  readonly contentType?: string;
  readonly body?: string;
  /** Break the connection in place of an answer. */
  readonly reset?: boolean;
  /** Never answer. */
  readonly silent?: boolean;
}

export interface WireServer {
  readonly endpoint: string;
  readonly heard: Heard[];
  /** Connections accepted so far. */
  readonly connections: () => number;
  /** Sends GOAWAY on every session, as a server that drains. */
  goAway(): void;
  close(): Promise<void>;
}

/** Answers with what `answer` says; `only` limits the protocol it offers. */
export async function startWireServer(
  answer: (request: Heard, number: number) => Reply,
  only?: 'http/1.1',
): Promise<WireServer> {
  const heard: Heard[] = [];
  const sockets = new Set<TLSSocket>();
  const sessions = new Set<http2.ServerHttp2Session>();
  const handle = (
    request: http2.Http2ServerRequest | IncomingMessage,
    response: http2.Http2ServerResponse | ServerResponse,
  ) => {
    const chunks: Buffer[] = [];
    request.on('data', (chunk: Buffer) => chunks.push(chunk));
    request.on('end', () => {
      const seen = {
        method: request.method ?? '',
        path: request.url ?? '',
        body: Buffer.concat(chunks).toString('utf8'),
        protocol: request.httpVersion,
      };
      heard.push(seen);
      const reply = answer(seen, heard.length);
      if (reply.silent === true) return;
      if (reply.reset === true) {
        for (const socket of sockets) socket.destroy();
        return;
      }
      response.statusCode = reply.status;
      response.setHeader('content-type', reply.contentType ?? 'application/json');
      response.end(reply.body ?? '');
    });
  };
  const options = {
    key: pem('server.key'),
    cert: pem('server.crt'),
    requestCert: true,
    rejectUnauthorized: false,
  };
  const server =
    only === undefined
      ? http2.createSecureServer({ ...options, allowHTTP1: true }, handle)
      : https.createServer({ ...options, ALPNProtocols: ['http/1.1'] }, handle);
  let connections = 0;
  server.on('secureConnection', (socket: TLSSocket) => {
    connections++;
    sockets.add(socket);
    socket.on('error', () => undefined);
    socket.on('close', () => sockets.delete(socket));
  });
  server.on('session', (session: http2.ServerHttp2Session) => {
    sessions.add(session);
    session.on('error', () => undefined);
    session.on('close', () => sessions.delete(session));
  });
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve));
  return {
    endpoint: `127.0.0.1:${String((server.address() as AddressInfo).port)}`,
    heard,
    connections: () => connections,
    goAway: () => sessions.forEach((session) => session.goaway()),
    close: async () => {
      for (const socket of sockets) socket.destroy();
      await new Promise((resolve) => server.close(resolve));
    },
  };
}
