/** A small OpenID provider for attacks: it serves what a test says, signs what a test says, and counts who asks. */
import { once } from 'node:events';
import { createServer, type Server } from 'node:http';
import type { AddressInfo } from 'node:net';
import {
  exportJWK,
  exportSPKI,
  generateKeyPair,
  SignJWT,
  type CryptoKey,
  type JWK,
  type JWTPayload,
} from 'jose';

export interface IdpKey {
  readonly kid: string;
  readonly alg: string;
  readonly privateKey: CryptoKey;
  readonly publicKey: CryptoKey;
  readonly jwk: JWK;
}

export async function newKey(kid: string, alg = 'RS256'): Promise<IdpKey> {
  const { privateKey, publicKey } = await generateKeyPair(alg, { extractable: true });
  return { kid, alg, privateKey, publicKey, jwk: { ...(await exportJWK(publicKey)), kid, alg, use: 'sig' } };
}

export { exportSPKI };

export class Idp {
  readonly #server: Server;
  readonly url: string;
  keys: readonly JWK[] = [];
  /** Overrides of the discovery document. */
  discovery: Record<string, unknown> = {};
  isDown = false;
  /** Answers every request itself when given. */
  answer: ((path: string) => { status: number; headers: Record<string, string>; body: string }) | undefined;
  readonly asked = new Map<string, number>();

  private constructor(server: Server) {
    this.#server = server;
    this.url = `http://127.0.0.1:${String((server.address() as AddressInfo).port)}`;
  }

  static async start(): Promise<Idp> {
    const server = createServer((request, response) => {
      const path = request.url!;
      idp.asked.set(path, (idp.asked.get(path) ?? 0) + 1);
      if (idp.isDown) {
        request.socket.destroy();
        return;
      }
      const own = idp.answer?.(path);
      if (own !== undefined) {
        response.writeHead(own.status, own.headers).end(own.body);
        return;
      }
      const body =
        path === '/.well-known/openid-configuration'
          ? { issuer: idp.url, jwks_uri: `${idp.url}/keys`, ...idp.discovery }
          : path === '/keys'
            ? { keys: idp.keys }
            : undefined;
      response.writeHead(body === undefined ? 404 : 200, { 'content-type': 'application/json' });
      response.end(JSON.stringify(body ?? {}));
    });
    server.listen(0, '127.0.0.1');
    await once(server, 'listening');
    const idp = new Idp(server);
    return idp;
  }

  count(path: string): number {
    return this.asked.get(path) ?? 0;
  }

  async stop(): Promise<void> {
    this.#server.closeAllConnections();
    this.#server.close();
    await once(this.#server, 'close');
  }
}

export function sign(
  key: IdpKey,
  payload: JWTPayload,
  header: Record<string, unknown> = {},
): Promise<string> {
  return new SignJWT(payload)
    .setProtectedHeader({ alg: key.alg, kid: key.kid, ...header })
    .sign(key.privateKey);
}

/** header.payload.signature of texts, as they are. */
export function rawToken(header: string, payload: string, signature = ''): string {
  return [header, payload].map((part) => Buffer.from(part).toString('base64url')).join('.') + `.${signature}`;
}
