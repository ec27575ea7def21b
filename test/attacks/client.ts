/** Clients as attackers and storage nodes have them: one request on a connection of its own, or many on one session. */
import http2, { type ClientHttp2Session, type IncomingHttpHeaders } from 'node:http2';
import https from 'node:https';
import tls, { type TLSSocket } from 'node:tls';
import type { Credentials } from './pki.ts';

export interface Call {
  readonly method: string;
  readonly path: string;
  readonly headers?: Readonly<Record<string, string | string[]>>;
  readonly body?: string | Buffer;
  /** Answers that have no end are left after their headers. */
  readonly headersOnly?: boolean;
}

export interface Answer {
  readonly status: number;
  readonly headers: IncomingHttpHeaders;
  readonly body: Buffer;
}

export interface Target {
  readonly port: number;
  readonly credentials?: Credentials | undefined;
  readonly tlsVersion?: 'TLSv1.2' | 'TLSv1.3';
  readonly serverName?: string;
}

/** An answer later than this is none. */
export const patienceMs = 8_000;

export function tlsOptions({ credentials, tlsVersion, serverName }: Target): tls.ConnectionOptions {
  return {
    host: '127.0.0.1',
    rejectUnauthorized: false,
    ...credentials,
    ...(serverName === undefined ? {} : { servername: serverName }),
    ...(tlsVersion === undefined ? {} : { minVersion: tlsVersion, maxVersion: tlsVersion }),
  };
}

/** A session that can be asked many times. Rejects when the server ends it before it is usable. */
export class Session {
  readonly http2: ClientHttp2Session;

  private constructor(session: ClientHttp2Session) {
    this.http2 = session;
  }

  static open(target: Target): Promise<Session> {
    return new Promise((resolve, reject) => {
      const session = http2.connect(`https://127.0.0.1:${target.port}`, tlsOptions(target));
      const timer = setTimeout(() => session.destroy(new Error('no session in time')), patienceMs);
      let failure: Error = new Error('closed');
      session.on('error', (error) => (failure = error));
      session.once('close', () => {
        clearTimeout(timer);
        reject(failure);
      });
      // With TLS 1.3 the client is done before the server has looked at its certificate: settings show that it has.
      session.once('remoteSettings', () => {
        clearTimeout(timer);
        resolve(new Session(session));
      });
    });
  }

  ask(call: Call): Promise<Answer> {
    return new Promise((resolve, reject) => {
      const body = call.body === undefined ? undefined : Buffer.from(call.body);
      const stream = this.http2.request(
        { ':method': call.method, ':path': call.path, ...call.headers },
        { endStream: body === undefined },
      );
      let headers: IncomingHttpHeaders = {};
      const chunks: Buffer[] = [];
      const timer = setTimeout(() => stream.destroy(new Error(`no answer to ${call.path}`)), patienceMs);
      const done = (): void => {
        clearTimeout(timer);
        resolve({ status: Number(headers[':status']), headers, body: Buffer.concat(chunks) });
      };
      stream.on('response', (received) => {
        headers = received;
        if (call.headersOnly === true && received[':status'] === 200) {
          stream.close(http2.constants.NGHTTP2_CANCEL);
          done();
        }
      });
      stream.on('data', (chunk: Buffer) => chunks.push(chunk));
      stream.on('end', done);
      stream.on('error', (error) => {
        clearTimeout(timer);
        reject(error);
      });
      stream.on('close', () => {
        clearTimeout(timer);
        reject(new Error(`stream ended with code ${stream.rstCode} and no answer`));
      });
      if (body !== undefined) stream.end(body);
    });
  }

  get isOpen(): boolean {
    return !this.http2.destroyed && !this.http2.closed;
  }

  close(): void {
    this.http2.destroy();
  }
}

/** One request over HTTP/2 on a connection of its own. */
export async function askHttp2(target: Target, call: Call): Promise<Answer> {
  const session = await Session.open(target);
  try {
    return await session.ask(call);
  } finally {
    session.close();
  }
}

/** One request over HTTP/1.1; without an agent on a connection of its own. */
export function askHttp1(target: Target, call: Call, agent?: https.Agent): Promise<Answer> {
  return new Promise((resolve, reject) => {
    const request = https.request(
      {
        ...(tlsOptions(target) as https.RequestOptions),
        port: target.port,
        method: call.method,
        path: call.path,
        headers: call.headers,
        agent: agent ?? false,
        timeout: patienceMs,
      },
      (response) => {
        const chunks: Buffer[] = [];
        const done = (): void => {
          resolve({ status: response.statusCode!, headers: response.headers, body: Buffer.concat(chunks) });
        };
        if (call.headersOnly === true && response.statusCode === 200) {
          response.destroy();
          done();
        }
        response.on('data', (chunk: Buffer) => chunks.push(chunk));
        response.on('end', done);
        response.on('error', reject);
      },
    );
    request.on('timeout', () => request.destroy(new Error('no answer')));
    request.on('error', reject);
    request.end(call.body);
  });
}

/** A TLS connection for bytes of the attacker's own choice. */
export function openSocket(target: Target, protocol: 'http/1.1' | 'h2'): Promise<TLSSocket> {
  return new Promise((resolve, reject) => {
    const socket = tls.connect({
      ...tlsOptions(target),
      port: target.port,
      ALPNProtocols: [protocol],
    });
    socket.setTimeout(patienceMs, () => socket.destroy(new Error('no handshake')));
    socket.once('error', reject);
    socket.once('secureConnect', () => {
      socket.setTimeout(0);
      socket.off('error', reject);
      socket.on('error', () => socket.destroy());
      resolve(socket);
    });
  });
}

/** What is true within `boundMs`, or false. */
export async function within(boundMs: number, claim: () => boolean | Promise<boolean>): Promise<boolean> {
  const endMs = performance.now() + boundMs;
  while (performance.now() < endMs) {
    if (await claim()) return true;
    await pause(10);
  }
  return claim();
}

export function pause(ms: number): Promise<void> {
  return new Promise((resolve) => {
    setTimeout(resolve, ms);
  });
}
