/**
 * What an OpenID provider says of itself (OpenID Connect Discovery 1.0): its endpoints and its keys, fetched when first needed,
 * kept while they are fresh, and for a bounded time longer while the provider is down.
 */
import {
  createLocalJWKSet,
  errors,
  type CryptoKey,
  type JSONWebKeySet,
  type JWSHeaderParameters,
} from 'jose';
import type { Clock } from '../../clock.ts';
import type { JsonFetcher } from './fetch.ts';
import { LoginError, refuse, unavailable } from './refusal.ts';
import { isObject } from './strict-json.ts';

export interface ProviderMetadata {
  readonly issuer: string;
  readonly jwksUri: string;
  readonly authorizationEndpoint: string | undefined;
  readonly tokenEndpoint: string | undefined;
  readonly endSessionEndpoint: string | undefined;
  /** RFC 9207: the answer to a login names its issuer. */
  readonly answersWithIssuer: boolean;
}

export interface ProviderOptions {
  /** As tokens have it: compared byte for byte. */
  readonly issuer: string;
  readonly fetcher: JsonFetcher;
  readonly clock: Clock;
  readonly times?: Partial<KeyTimes>;
}

export interface KeyTimes {
  /** Keys are asked for again at this age: what a provider withdrew is refused from then on. */
  readonly freshMs: number;
  /** While the provider is down its last keys are trusted up to this age. */
  readonly keptMs: number;
  /** A key id that is not known makes us ask at most this often: anybody can invent one. */
  readonly cooldownMs: number;
}

const defaultTimes: KeyTimes = { freshMs: 5 * 60_000, keptMs: 60 * 60_000, cooldownMs: 30_000 };

/** Providers publish two to six. */
const maxKeys = 64;

interface Fetched<T> {
  readonly value: T;
  readonly atMs: number;
}

interface KeySet {
  readonly find: ReturnType<typeof createLocalJWKSet>;
}

export class Provider {
  readonly issuer: string;
  readonly #fetcher: JsonFetcher;
  readonly #clock: Clock;
  readonly #times: KeyTimes;
  #metadata: Fetched<ProviderMetadata> | undefined;
  #metadataFailure: Fetched<unknown> | undefined;
  #keys: Fetched<KeySet> | undefined;
  #metadataUnderWay: Promise<ProviderMetadata> | undefined;
  #keysUnderWay: Promise<KeySet> | undefined;
  #lastAttemptMs = -Infinity;
  #lastFailure: LoginError | undefined;

  constructor({ issuer, fetcher, clock, times }: ProviderOptions) {
    this.issuer = issuer;
    this.#fetcher = fetcher;
    this.#clock = clock;
    this.#times = { ...defaultTimes, ...times };
  }

  /** @throws LoginError SELLO_LOGIN_UNAVAILABLE */
  async metadata(): Promise<ProviderMetadata> {
    const known = this.#metadata;
    const ageMs = known === undefined ? Infinity : this.#clock.monotonic() - known.atMs;
    if (known !== undefined && ageMs < this.#times.freshMs) return known.value;
    try {
      const failed = this.#metadataFailure;
      // Half the pause of the keys, which need this document: they are not to wait twice.
      if (failed !== undefined && this.#clock.monotonic() - failed.atMs < this.#times.cooldownMs / 2)
        throw failed.value;
      return await this.#fetchMetadata();
    } catch (error) {
      if (known !== undefined && ageMs < this.#times.keptMs) return known.value;
      throw error;
    }
  }

  /**
   * The key a token names.
   * @throws LoginError refused: no key of the provider's; unavailable: the provider's keys cannot be had
   */
  async key(header: JWSHeaderParameters): Promise<CryptoKey> {
    const set = await this.#currentKeys();
    try {
      return await set.find(header);
    } catch (error) {
      if (!(error instanceof errors.JWKSNoMatchingKey)) throw keyRefusal(error);
    }
    const fresh = await this.#keysAfterRotation();
    if (fresh === undefined) throw refuse('token signed by an unknown key');
    try {
      return await fresh.find(header);
    } catch (error) {
      throw keyRefusal(error);
    }
  }

  async #currentKeys(): Promise<KeySet> {
    const known = this.#keys;
    const ageMs = known === undefined ? Infinity : this.#clock.monotonic() - known.atMs;
    if (known !== undefined && ageMs < this.#times.freshMs) return known.value;
    try {
      // A provider that is down is not asked with every request.
      if (this.#lastFailure !== undefined && !this.#mayAsk) throw this.#lastFailure;
      return await this.#fetchKeys();
    } catch (error) {
      if (known !== undefined && ageMs < this.#times.keptMs) return known.value;
      throw error;
    }
  }

  /** Keys fetched anew because of an unknown id; undefined when that was done a moment ago, or cannot be done. */
  async #keysAfterRotation(): Promise<KeySet | undefined> {
    if (this.#keysUnderWay === undefined && !this.#mayAsk) return undefined;
    return this.#fetchKeys().catch(() => undefined);
  }

  get #mayAsk(): boolean {
    return this.#clock.monotonic() - this.#lastAttemptMs >= this.#times.cooldownMs;
  }

  #fetchKeys(): Promise<KeySet> {
    this.#keysUnderWay ??= this.#readKeys().finally(() => (this.#keysUnderWay = undefined));
    return this.#keysUnderWay;
  }

  async #readKeys(): Promise<KeySet> {
    this.#lastAttemptMs = this.#clock.monotonic();
    try {
      const { jwksUri } = await this.metadata();
      const { status, body } = await this.#fetcher.fetch({ url: jwksUri });
      if (status !== 200) throw unavailable('provider not reachable', `${jwksUri}: status ${status}`);
      const value = { find: createLocalJWKSet(publicKeysOf(body)) };
      this.#keys = { value, atMs: this.#clock.monotonic() };
      this.#lastFailure = undefined;
      return value;
    } catch (error) {
      this.#lastFailure = error instanceof LoginError ? error : unavailable('provider not usable', '', error);
      throw this.#lastFailure;
    }
  }

  #fetchMetadata(): Promise<ProviderMetadata> {
    this.#metadataUnderWay ??= this.#readMetadata()
      .catch((error: unknown) => {
        this.#metadataFailure = { value: error, atMs: this.#clock.monotonic() };
        throw error;
      })
      .finally(() => (this.#metadataUnderWay = undefined));
    return this.#metadataUnderWay;
  }

  async #readMetadata(): Promise<ProviderMetadata> {
    // Discovery §4: a slash at the issuer's end is not doubled.
    const url = `${this.issuer.replace(/\/$/, '')}/.well-known/openid-configuration`;
    const { status, body } = await this.#fetcher.fetch({ url });
    if (status !== 200) throw unavailable('provider not reachable', `${url}: status ${status}`);
    const value = metadataOf(body, this.issuer);
    this.#metadata = { value, atMs: this.#clock.monotonic() };
    this.#metadataFailure = undefined;
    return value;
  }
}

function keyRefusal(error: unknown): LoginError {
  if (error instanceof errors.JWKSMultipleMatchingKeys)
    return refuse('token signed by an unknown key', 'it names none, and several would do', error);
  return refuse('token signed by an unknown key', error instanceof Error ? error.message : undefined, error);
}

/** @throws LoginError when the document is not that of `issuer` (Discovery §4.3) or names places that are not safe */
export function metadataOf(body: Record<string, unknown>, issuer: string): ProviderMetadata {
  const said = body['issuer'];
  if (said !== issuer) {
    const shown = typeof said === 'string' ? `'${said.slice(0, 200)}'` : 'none';
    const hint =
      typeof said === 'string' && said.includes('{')
        ? '; an issuer for every tenant of the provider cannot be pinned: use that of your own'
        : '';
    throw unavailable('provider not usable', `its issuer is ${shown}, configured is '${issuer}'${hint}`);
  }
  const endpoint = (name: string): string | undefined => {
    const url = body[name];
    if (url === undefined || url === null) return undefined;
    if (typeof url !== 'string' || !isSafeUrl(url, issuer))
      throw unavailable('provider not usable', `${name} is not an https URL`);
    return url;
  };
  const jwksUri = endpoint('jwks_uri');
  if (jwksUri === undefined) throw unavailable('provider not usable', 'it has no jwks_uri');
  return {
    issuer,
    jwksUri,
    authorizationEndpoint: endpoint('authorization_endpoint'),
    tokenEndpoint: endpoint('token_endpoint'),
    endSessionEndpoint: endpoint('end_session_endpoint'),
    answersWithIssuer: body['authorization_response_iss_parameter_supported'] === true,
  };
}

/** https; http to this machine only when the issuer itself is there, as in tests. */
export function isSafeUrl(text: string, issuer: string): boolean {
  if (!URL.canParse(text)) return false;
  const url = new URL(text);
  if (url.username !== '' || url.password !== '' || url.hash !== '') return false;
  return (
    url.protocol === 'https:' ||
    (url.protocol === 'http:' && isLoopback(url.hostname) && new URL(issuer).protocol === 'http:')
  );
}

function isLoopback(hostname: string): boolean {
  return hostname === 'localhost' || hostname === '127.0.0.1' || hostname === '[::1]';
}

/** Public signing keys alone: a symmetric key in a public document is no secret, and a private one is a mistake not to build on. */
function publicKeysOf(body: Record<string, unknown>): JSONWebKeySet {
  const { keys } = body;
  if (!Array.isArray(keys) || keys.length > maxKeys)
    throw unavailable('provider not usable', 'its key set has no list of keys, or too many');
  const usable = keys.filter(
    (key): key is Record<string, unknown> & { kty: string } =>
      isObject(key) &&
      (key['kty'] === 'RSA' || key['kty'] === 'EC' || key['kty'] === 'OKP') &&
      key['d'] === undefined &&
      (key['use'] === undefined || key['use'] === 'sig'),
  );
  if (usable.length === 0) throw unavailable('provider not usable', 'its key set has no signing key');
  return { keys: usable } as JSONWebKeySet;
}
