/**
 * A login by browser at an OpenID provider: authorization code, PKCE (RFC 7636, S256), state and nonce (OpenID Connect Core §3.1, RFC 9700).
 * What has to be remembered between the two halves is sealed into a cookie, so nobody can fill this process's memory by beginning logins,
 * and a browser can only finish what it began.
 */
import { createHash, randomBytes } from 'node:crypto';
import type { Clock } from '../../clock.ts';
import { aeadNonceBytes, aeadOpen, aeadSealInto, aeadTagBytes, equalSecrets } from '../../crypto/index.ts';
import type { FetchedJson, JsonFetcher } from './fetch.ts';
import type { OidcVerifier } from './oidc.ts';
import type { Provider } from './provider.ts';
import { read, refuse, unavailable } from './refusal.ts';
import type { Person } from './roles.ts';
import { isObject, parseStrictJson } from './strict-json.ts';

export interface LoginClient {
  readonly id: string;
  /** Read anew at each login; undefined: a public client, which PKCE alone protects. */
  readonly secret: (() => Buffer) | undefined;
  readonly authentication: 'basic' | 'post';
  readonly scopes: readonly string[];
  /** `https://sello.example.org:7375/v1/operators/callback`, as registered at the provider. */
  readonly redirectUri: string;
}

export interface LoginFlowOptions {
  readonly client: LoginClient;
  readonly provider: Provider;
  readonly verifier: OidcVerifier;
  readonly fetcher: JsonFetcher;
  readonly clock: Clock;
  readonly seal: CookieSeal;
}

export interface FinishedLogin {
  readonly person: Person;
  readonly returnTo: string;
}

/** How long a person may take at the provider. */
export const loginLifeMs = 10 * 60_000;

const maxValueCharacters = 4096;

/** Finished logins that are remembered, so that none is finished twice; a login lives no longer. */
const maxFinished = 4096;

interface Pending {
  readonly provider: string;
  readonly state: string;
  readonly nonce: string;
  readonly verifier: string;
  readonly returnTo: string;
  readonly expiresMs: number;
}

export class LoginFlow {
  readonly #options: LoginFlowOptions;

  constructor(options: LoginFlowOptions) {
    this.#options = options;
  }

  /** Where to send the browser, and the cookie it is to bring back. @throws LoginError */
  async begin(returnTo: string): Promise<{ readonly location: string; readonly cookie: string }> {
    const { client, provider, verifier, clock, seal } = this.#options;
    const { authorizationEndpoint, tokenEndpoint } = await provider.metadata();
    if (authorizationEndpoint === undefined || tokenEndpoint === undefined)
      throw unavailable('provider not usable', 'it has no authorization or token endpoint');
    const pending: Pending = {
      provider: verifier.rules.name,
      state: randomText(),
      nonce: randomText(),
      verifier: randomText(),
      returnTo: localPath(returnTo),
      expiresMs: clock.now() + loginLifeMs,
    };
    const location = new URL(authorizationEndpoint);
    for (const [name, value] of Object.entries({
      response_type: 'code',
      response_mode: 'query',
      client_id: client.id,
      redirect_uri: client.redirectUri,
      scope: client.scopes.join(' '),
      state: pending.state,
      nonce: pending.nonce,
      code_challenge: createHash('sha256').update(pending.verifier).digest('base64url'),
      code_challenge_method: 'S256',
    })) {
      location.searchParams.set(name, value);
    }
    return { location: location.href, cookie: seal.close(JSON.stringify(pending)) };
  }

  /** The second half, with what {@link CookieSeal} opened. @throws LoginError */
  async finish(query: URLSearchParams, pending: OpenedLogin): Promise<FinishedLogin> {
    const { client, provider, verifier, fetcher } = this.#options;
    const metadata = await provider.metadata();
    // RFC 9207: an answer that another provider made for its own login is not taken here.
    const issuer = onlyValue(query, 'iss');
    if (issuer === undefined ? metadata.answersWithIssuer : issuer !== metadata.issuer)
      throw refuse('login answered by another issuer');
    const error = onlyValue(query, 'error');
    if (error !== undefined) throw refuse('login refused by provider', printableCode(error));
    const code = onlyValue(query, 'code');
    if (code === undefined || code === '') throw refuse('login refused by provider', 'no code');
    if (metadata.tokenEndpoint === undefined)
      throw unavailable('provider not usable', 'it has no token endpoint');
    const answer = await fetcher.fetch({
      url: metadata.tokenEndpoint,
      ...authenticated(client, {
        grant_type: 'authorization_code',
        code,
        redirect_uri: client.redirectUri,
        code_verifier: pending.verifier,
      }),
    });
    const { idToken, accessToken } = tokensOf(answer);
    const { person, claims } = await verifier.verifyIdToken(idToken, pending.nonce);
    checkAccessTokenHash(claims['at_hash'], accessToken, idToken);
    if (person.roles.size === 0) throw refuse('person has no role', `${person.issuer} ${person.subject}`);
    return { person, returnTo: pending.returnTo };
  }
}

export type OpenedLogin = Omit<Pending, 'state' | 'expiresMs'>;

/** Seals what a browser carries between the halves of a login, under a key of this process. */
export class CookieSeal {
  readonly #key = randomBytes(32);
  readonly #clock: Clock;
  readonly #finished = new Map<string, number>();

  constructor(clock: Clock) {
    this.#clock = clock;
  }

  close(text: string): string {
    const nonce = randomBytes(aeadNonceBytes);
    const plain = Buffer.from(text, 'utf8');
    const sealed = Buffer.alloc(plain.length + aeadTagBytes);
    aeadSealInto(sealed, 0, 'aes-256-gcm', this.#key, nonce, label, plain);
    return Buffer.concat([nonce, sealed]).toString('base64url');
  }

  /** The login that this browser began, if the answer is for it; each can be opened once. @throws LoginError */
  open(cookie: string | undefined, query: URLSearchParams): OpenedLogin {
    const pending = cookie === undefined ? undefined : this.#read(cookie);
    if (pending === undefined) throw refuse('login state wrong', 'no cookie of a login');
    const state = onlyValue(query, 'state');
    if (state === undefined || !equalSecrets(Buffer.from(state), Buffer.from(pending.state)))
      throw refuse('login state wrong');
    const nowMs = this.#clock.now();
    if (nowMs >= pending.expiresMs) throw refuse('login expired');
    for (const [done, endMs] of this.#finished) if (nowMs >= endMs) this.#finished.delete(done);
    if (this.#finished.has(pending.state)) throw refuse('login state wrong', 'used');
    // The provider takes a code once as well, so the oldest may go.
    if (this.#finished.size >= maxFinished) this.#finished.delete(this.#finished.keys().next().value!);
    this.#finished.set(pending.state, pending.expiresMs);
    const { state: _state, expiresMs: _expires, ...opened } = pending;
    return opened;
  }

  #read(cookie: string): Pending | undefined {
    if (cookie.length > maxValueCharacters || !/^[\w-]+$/.test(cookie)) return undefined;
    const bytes = Buffer.from(cookie, 'base64url');
    const nonce = bytes.subarray(0, aeadNonceBytes);
    const plain = aeadOpen('aes-256-gcm', this.#key, nonce, label, bytes.subarray(aeadNonceBytes));
    // Authentic: nobody but us made it.
    return plain === undefined ? undefined : (JSON.parse(plain.toString('utf8')) as Pending);
  }
}

const label = Buffer.from('sello login');

function randomText(): string {
  return randomBytes(32).toString('base64url');
}

/** A path of this origin: what a browser would read as another origin is the start page (CWE-601). */
export function localPath(text: string): string {
  const isLocal = /^\/(?![/\\])[!-~]*$/.test(text) && !text.includes('\\') && text.length <= 512;
  return isLocal && new URL(text, 'https://local.invalid').origin === 'https://local.invalid' ? text : '/';
}

/** A parameter that stands there once. @throws LoginError when it stands twice */
function onlyValue(query: URLSearchParams, name: string): string | undefined {
  const values = query.getAll(name);
  if (values.length > 1 || (values[0]?.length ?? 0) > maxValueCharacters)
    throw refuse('login state wrong', `'${name}' stands twice or is too long`);
  return values[0];
}

function authenticated(
  { id, secret, authentication }: LoginClient,
  form: Record<string, string>,
): { form: Record<string, string>; authorization?: string } {
  if (secret === undefined) return { form: { ...form, client_id: id } };
  const bytes = read('client secret', secret);
  const text = bytes.toString('utf8');
  bytes.fill(0);
  if (authentication === 'post') return { form: { ...form, client_id: id, client_secret: text } };
  // RFC 6749 §2.3.1: both are form-encoded first.
  const encode = (value: string): string => new URLSearchParams({ '': value }).toString().slice(1);
  const pair = Buffer.from(`${encode(id)}:${encode(text)}`);
  return { form, authorization: `Basic ${pair.toString('base64')}` };
}

function tokensOf({ status, body }: FetchedJson): { idToken: string; accessToken: string | undefined } {
  if (status !== 200) {
    const error = printableCode(String(body['error'] ?? `status ${String(status)}`));
    // The code was not good, or we are not: RFC 6749 §5.2.
    if (error === 'invalid_grant') throw refuse('login refused by provider', error);
    throw unavailable('provider refuses this client', error);
  }
  const { id_token: idToken, access_token: accessToken } = body;
  if (typeof idToken !== 'string')
    throw unavailable('provider not usable', 'it answered without an ID token');
  return { idToken, accessToken: typeof accessToken === 'string' ? accessToken : undefined };
}

/** OpenID Connect Core §3.1.3.8: where the ID token names its access token, it is that one. */
function checkAccessTokenHash(atHash: unknown, accessToken: string | undefined, idToken: string): void {
  if (atHash === undefined || accessToken === undefined) return;
  const header: unknown = parseStrictJson(Buffer.from(idToken.split('.')[0]!, 'base64url').toString('utf8'));
  const algorithm = isObject(header) ? String(header['alg']) : '';
  const bits = /(256|384|512)$/.exec(algorithm)?.[1] ?? '512';
  const digest = createHash(`sha${bits}`).update(accessToken, 'latin1').digest();
  const half = digest.subarray(0, digest.length / 2).toString('base64url');
  if (atHash !== half) throw refuse('token not bound to this code or access token');
}

function printableCode(text: string): string {
  return text.replace(/[^\w. -]/g, '').slice(0, 80);
}
