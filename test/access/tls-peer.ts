/** One real handshake: a server that asks for a certificate and judges nothing itself, a client that sends what it is told. */
import { once } from 'node:events';
import { readFileSync } from 'node:fs';
import { resolve } from 'node:path';
import { connect, createServer } from 'node:tls';
import type { SecureVersion, TLSSocket } from 'node:tls';

const folder = resolve(import.meta.dirname, '../fixtures/pki');

export function fixture(file: string): Buffer {
  return readFileSync(resolve(folder, file));
}

export interface Handshake {
  readonly version: SecureVersion;
  readonly key?: string | Buffer;
  /** PEM of everything the client sends, in order. */
  readonly cert?: string | Buffer;
  /** What the server's own context trusts: must make no difference. */
  readonly serverCa?: string | Buffer;
}

/** Runs `look` on the server's end of the connection. */
export async function handshake<T>(options: Handshake, look: (socket: TLSSocket) => T): Promise<T> {
  const server = createServer({
    key: fixture('server.key'),
    cert: fixture('server.crt'),
    requestCert: true,
    rejectUnauthorized: false,
    minVersion: options.version,
    maxVersion: options.version,
    ...(options.serverCa === undefined ? {} : { ca: options.serverCa }),
  });
  const seen = new Promise<T>((resolveSeen, reject) => {
    server.once('tlsClientError', reject);
    server.once('secureConnection', (socket) => {
      try {
        resolveSeen(look(socket));
      } catch (error) {
        reject(error);
      } finally {
        socket.end();
      }
    });
  });
  server.listen(0, '127.0.0.1');
  await once(server, 'listening');
  const address = server.address();
  if (address === null || typeof address === 'string') throw new Error('no port');
  const client = connect({
    host: '127.0.0.1',
    port: address.port,
    rejectUnauthorized: false,
    ...(options.key === undefined ? {} : { key: options.key, cert: options.cert }),
  });
  client.on('error', () => undefined);
  client.resume();
  try {
    return await seen;
  } finally {
    client.destroy();
    server.close();
    await once(server, 'close');
  }
}
