/** A real OpenID provider (oidc-provider, certified by the OpenID Foundation), whose login page lets in whomever a test says. */
import { once } from 'node:events';
import { createServer, type Server } from 'node:http';
import type { AddressInfo } from 'node:net';
import { exportJWK, generateKeyPair } from 'jose';
import Provider from 'oidc-provider';

export interface Account {
  readonly sub: string;
  readonly name: string;
  readonly roles: readonly string[];
}

export const clientSecret = 'a secret with spaces & signs: +%/?=';

export class IdentityProvider {
  readonly issuer: string;
  readonly #server: Server;
  /** Who is at the keyboard; undefined: they click "cancel". */
  person: Account | undefined;
  /** Its login is a page that goes on by itself, as when somebody submits a form there: what follows is this site's doing. */
  hasPage = false;
  /** Requests by path. */
  readonly asked: string[] = [];

  private constructor(server: Server, host: string) {
    this.#server = server;
    this.issuer = `http://${host}:${String((server.address() as AddressInfo).port)}`;
  }

  /** `localhost` is another site than 127.0.0.1 to a browser. */
  static async start(
    redirectUri: string,
    host: '127.0.0.1' | 'localhost' = '127.0.0.1',
  ): Promise<IdentityProvider> {
    const server = createServer();
    server.listen(0, '127.0.0.1');
    await once(server, 'listening');
    const made = new IdentityProvider(server, host);
    const { privateKey } = await generateKeyPair('RS256', { extractable: true });
    const accounts = new Map<string, Account>();
    const provider = new Provider(made.issuer, {
      clients: [
        {
          client_id: 'console',
          client_secret: clientSecret,
          redirect_uris: [redirectUri],
          response_types: ['code'],
          grant_types: ['authorization_code'],
          token_endpoint_auth_method: 'client_secret_basic',
        },
      ],
      jwks: { keys: [{ ...(await exportJWK(privateKey)), kid: 'idp-1', alg: 'RS256', use: 'sig' }] },
      scopes: ['openid', 'profile', 'sello'],
      claims: { openid: ['sub'], profile: ['name'], sello: ['roles'] },
      conformIdTokenClaims: false,
      cookies: { keys: ['some cookie key'] },
      features: { devInteractions: { enabled: false } },
      pkce: { required: () => true },
      interactions: { url: (_context: unknown, { uid }: { uid: string }) => `/interaction/${uid}` },
      findAccount: (_context: unknown, id: string) => ({
        accountId: id,
        claims: async () => accounts.get(id),
      }),
    });
    const serve = provider.callback();
    server.on('request', (request, response) => {
      made.asked.push(request.url!.split('?', 1)[0]!);
      if (!request.url!.startsWith('/interaction/')) {
        serve(request, response);
        return;
      }
      if (made.hasPage && !request.url!.endsWith('/enter')) {
        response.writeHead(200, { 'content-type': 'text/html' });
        response.end(`<meta http-equiv="refresh" content="0; url=${request.url!}/enter">`);
        return;
      }
      void (async () => {
        const { params } = await provider.interactionDetails(request, response);
        const { person } = made;
        if (person === undefined) {
          await provider.interactionFinished(request, response, { error: 'access_denied' });
          return;
        }
        accounts.set(person.sub, person);
        const grant = new provider.Grant({ accountId: person.sub, clientId: String(params['client_id']) });
        grant.addOIDCScope('openid profile sello');
        const grantId = await grant.save();
        await provider.interactionFinished(request, response, {
          login: { accountId: person.sub },
          consent: { grantId },
        });
      })();
    });
    return made;
  }

  async stop(): Promise<void> {
    if (!this.#server.listening) return;
    this.#server.closeAllConnections();
    this.#server.close();
    await once(this.#server, 'close');
  }
}
