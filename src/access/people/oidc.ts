/**
 * Tokens of OpenID providers: what is verified, and who is the person behind them. Signatures are jose's; everything that decides what
 * is accepted is pinned here, from the configuration and never from the token (RFC 8725, JSON Web Token Best Current Practices).
 */
import { errors, jwtVerify, type JWSHeaderParameters } from 'jose';
import type { Clock } from '../../clock.ts';
import type { TenantName } from '../../tenants/name.ts';
import { claimText, claimTimeMs, claimValues, printable, type ClaimPath, type Claims } from './claims.ts';
import type { Provider } from './provider.ts';
import { LoginError, refuse } from './refusal.ts';
import {
  raise,
  rolesOf,
  type Evidence,
  type Person,
  type PersonRef,
  type Role,
  type RoleGrant,
} from './roles.ts';
import { isObject, parseStrictJson } from './strict-json.ts';
import { tokenAlgorithms, type TokenAlgorithm } from './token-algorithms.ts';

export interface OidcGrant extends RoleGrant {
  /** Instead of the provider's `rolesClaim`. */
  readonly claim?: ClaimPath | undefined;
}

/** What holds for the tokens of one provider. */
export interface OidcRules {
  readonly name: string;
  readonly issuer: string;
  /** Issuers that access tokens have instead, such as AD FS's `http://adfs.example.org/adfs/services/trust`. */
  readonly alsoIssuers: readonly string[];
  /** One of these must be among a bearer token's audiences. */
  readonly audiences: readonly string[];
  /** For logins by browser: ID tokens are made out to it. */
  readonly clientId: string | undefined;
  /** Clients whose tokens are taken; none: a token that names one names `clientId` or an audience. */
  readonly authorizedParties: readonly string[];
  readonly algorithms: readonly TokenAlgorithm[];
  readonly clockSkewMs: number;
  /** Since `iat`. */
  readonly maxTokenAgeMs: number;
  /** `at+jwt`: bearer tokens are RFC 9068 access tokens, and no ID token is taken for one. */
  readonly bearer: 'any' | 'at+jwt';
  readonly rolesClaim: ClaimPath;
  readonly grants: readonly OidcGrant[];
  /** Claims that must have this very text, such as `hd` at Google or `tid` at Entra. */
  readonly require: Readonly<Record<string, string>>;
  readonly subjectClaim: ClaimPath;
  readonly nameClaims: readonly ClaimPath[];
  /** Tells a human apart from others across issuers, for dual control. */
  readonly stableClaim: ClaimPath | undefined;
  readonly revoked: readonly string[];
}

export interface VerifiedToken {
  readonly person: Person;
  readonly expiresMs: number;
  readonly claims: Claims;
}

/** Larger ones would not fit into a request's headers either. */
export const maxTokenBytes = 16_384;

const maxSubjectBytes = 512;

/** Keycloak marks what a token is for in its payload too. */
const refusedKinds = new Set(['refresh', 'offline', 'logout', 'registration']);

interface Expectation {
  readonly audiences: readonly string[];
  readonly issuers: readonly string[];
  readonly kind: 'bearer' | 'id';
}

export class OidcVerifier {
  readonly rules: OidcRules;
  readonly #provider: Provider;
  readonly #clock: Clock;
  readonly #tenants: readonly TenantName[];

  constructor(options: {
    rules: OidcRules;
    provider: Provider;
    clock: Clock;
    tenants: readonly TenantName[];
  }) {
    const { rules } = options;
    const known: readonly string[] = tokenAlgorithms;
    if (rules.algorithms.length === 0 || rules.algorithms.some((algorithm) => !known.includes(algorithm)))
      throw new TypeError('token algorithms: expected asymmetric ones');
    if (rules.audiences.length === 0 && rules.clientId === undefined)
      throw new TypeError('a provider needs an audience or a client');
    this.rules = rules;
    this.#provider = options.provider;
    this.#clock = options.clock;
    this.#tenants = options.tenants;
  }

  /** True when a token says it comes from here; nothing is verified yet. */
  claimsToIssue(issuer: string): boolean {
    return issuer === this.rules.issuer || this.rules.alsoIssuers.includes(issuer);
  }

  /** A token from an Authorization header. @throws LoginError */
  async verifyBearer(token: string): Promise<VerifiedToken> {
    const { audiences, clientId, issuer, alsoIssuers } = this.rules;
    return this.#verify(token, {
      audiences: audiences.length > 0 ? audiences : [clientId!],
      issuers: [issuer, ...alsoIssuers],
      kind: 'bearer',
    });
  }

  /** The ID token of a login that we began (OpenID Connect Core §3.1.3.7). @throws LoginError */
  async verifyIdToken(token: string, nonce: string): Promise<VerifiedToken> {
    const { clientId, issuer } = this.rules;
    if (clientId === undefined) throw new TypeError('this provider has no client');
    const verified = await this.#verify(token, { audiences: [clientId], issuers: [issuer], kind: 'id' });
    if (verified.claims['nonce'] !== nonce) throw refuse('token nonce wrong');
    return verified;
  }

  async #verify(token: string, expected: Expectation): Promise<VerifiedToken> {
    const { header, payload } = readToken(token);
    const { algorithms, clockSkewMs, maxTokenAgeMs } = this.rules;
    // jose compares too; said here first, so that the reason is exact and no key is asked for in vain.
    if (typeof header.alg !== 'string' || !(algorithms as readonly string[]).includes(header.alg))
      throw refuse('token algorithm not allowed');
    this.#checkType(header, payload, expected.kind);
    // jose takes any number, and 1e999 reads as infinite.
    for (const name of ['exp', 'iat', 'nbf']) {
      const at = payload[name];
      if (at !== undefined && !Number.isFinite(at)) throw refuse('token claim missing or wrong', name);
    }
    if (!expected.issuers.includes(payload['iss'] as string)) throw refuse('token from another issuer');
    try {
      await jwtVerify(
        token,
        ({ alg, kid }) => this.#provider.key({ alg: alg!, ...(kid === undefined ? {} : { kid }) }),
        {
          algorithms: [...algorithms],
          issuer: [...expected.issuers],
          audience: [...expected.audiences],
          clockTolerance: clockSkewMs / 1000,
          maxTokenAge: maxTokenAgeMs / 1000,
          requiredClaims: ['exp', 'iat', 'iss', 'aud'],
          currentDate: new Date(this.#clock.now()),
        },
      );
    } catch (error) {
      throw error instanceof LoginError ? error : refusalOf(error);
    }
    this.#checkParty(payload, expected);
    this.#checkRequired(payload);
    return {
      person: this.#personOf(payload),
      expiresMs: (payload['exp'] as number) * 1000,
      claims: payload,
    };
  }

  /** One kind of token must not pass for another (RFC 8725 §3.11, §3.12). */
  #checkType(header: JWSHeaderParameters, payload: Claims, kind: 'bearer' | 'id'): void {
    const type =
      header.typ === undefined
        ? ''
        : String(header.typ)
            .toLowerCase()
            .replace(/^application\//, '');
    const allowed =
      kind === 'id' ? ['', 'jwt'] : this.rules.bearer === 'at+jwt' ? ['at+jwt'] : ['', 'jwt', 'at+jwt'];
    if (!allowed.includes(type))
      throw refuse('token type not allowed', type === '' ? 'none' : type.slice(0, 40));
    const own = payload['typ'];
    if (typeof own === 'string' && refusedKinds.has(own.toLowerCase()))
      throw refuse('token type not allowed', own);
    if (kind === 'id' && typeof own === 'string' && own.toLowerCase() === 'bearer')
      throw refuse('token type not allowed', own);
    // Back-channel logout tokens look like ID tokens where a provider sets no type (OpenID Connect Back-Channel Logout §2.4).
    if (payload['events'] !== undefined) throw refuse('token type not allowed', 'event');
  }

  #checkParty(payload: Claims, { audiences, kind }: Expectation): void {
    const { authorizedParties, clientId } = this.rules;
    const { azp } = payload;
    if (azp !== undefined && typeof azp !== 'string') throw refuse('token for another client');
    const isShared = Array.isArray(payload['aud']) && payload['aud'].length > 1;
    if (kind === 'id') {
      if (azp === undefined ? isShared : azp !== clientId) throw refuse('token for another client');
      return;
    }
    if (authorizedParties.length > 0) {
      // Entra v1 and AD FS, RFC 9068, and Okta each have a name of their own.
      const party = azp ?? payload['appid'] ?? payload['client_id'] ?? payload['cid'];
      if (typeof party !== 'string' || !authorizedParties.includes(party))
        throw refuse('token for another client');
      return;
    }
    if (azp === undefined ? isShared : azp !== clientId && !audiences.includes(azp))
      throw refuse('token for another client', 'its client can be listed in authorizedParties');
  }

  #checkRequired(payload: Claims): void {
    for (const [name, wanted] of Object.entries(this.rules.require)) {
      const value = Object.hasOwn(payload, name) ? payload[name] : undefined;
      const text = typeof value === 'boolean' ? String(value) : value;
      if (text !== wanted) throw refuse('token required claim differs', name);
    }
  }

  #personOf(claims: Claims): Person {
    const { rules } = this;
    const subject = claimText(claims, rules.subjectClaim);
    if (subject === undefined || Buffer.byteLength(subject) > maxSubjectBytes)
      throw refuse('token claim missing or wrong', rules.subjectClaim.join('.'));
    if (rules.revoked.includes(subject)) throw refuse('person is revoked');
    const name = rules.nameClaims.map((path) => claimText(claims, path)).find((text) => text !== undefined);
    const shown = printable(name ?? '');
    const evidence = this.#evidenceOf(claims);
    return {
      // Of several names of one provider the first: a person is the same with either token.
      issuer: rules.issuer,
      subject,
      displayName: shown === '' ? printable(subject) : shown,
      stableId: this.#stableIdOf(claims),
      evidence,
      roles: this.rolesNow({ subject, evidence }),
      authTimeMs: claimTimeMs(claims, 'auth_time'),
    };
  }

  #stableIdOf(claims: Claims): string | undefined {
    const path = this.rules.stableClaim;
    if (path === undefined) return undefined;
    const value = claimText(claims, path);
    if (value === undefined || (isEmail(path) && claims['email_verified'] !== true)) return undefined;
    return stableForm(value);
  }

  /** What grants are about, and nothing else of the claims. @throws LoginError */
  #evidenceOf(claims: Claims): Evidence[] {
    const { grants, rolesClaim } = this.rules;
    const found: Evidence[] = [];
    for (const claim of pathsOf(grants, rolesClaim)) {
      const named = new Set(this.#grantsOf(claim).map(({ value }) => value));
      const values = [...new Set(claimValues(claims, claim))].filter((value) => named.has(value));
      if (values.length === 0) continue;
      // Anybody can put another's address into an account that does not verify it.
      if (isEmail(claim) && claims['email_verified'] !== true) throw refuse('email not verified');
      found.push({ claim, values });
    }
    return found;
  }

  #grantsOf(claim: ClaimPath): OidcGrant[] {
    return this.rules.grants.filter((grant) => samePath(grant.claim ?? this.rules.rolesClaim, claim));
  }

  /** The roles of somebody who logged in before, by what holds now. */
  rolesNow({ subject, evidence }: Pick<PersonRef, 'subject' | 'evidence'>): ReadonlyMap<TenantName, Role> {
    const found = new Map<TenantName, Role>();
    if (this.rules.revoked.includes(subject)) return found;
    for (const { claim, values } of evidence) {
      for (const [tenant, role] of rolesOf(values, this.#grantsOf(claim), this.#tenants))
        raise(found, tenant, role);
    }
    return found;
  }
}

/** A claim that tells humans apart, in the form that is compared: one person's capitals must not make two of them. */
export function stableForm(value: string): string {
  return value.normalize('NFKC').trim().toLowerCase();
}

/** The issuer a token claims to have, for choosing its verifier; undefined when it is no token at all. */
export function issuerOfToken(token: string): string | undefined {
  try {
    const { payload } = readToken(token);
    return typeof payload['iss'] === 'string' ? payload['iss'] : undefined;
  } catch {
    return undefined;
  }
}

/** Header and claims, not verified. @throws LoginError */
function readToken(token: string): { header: JWSHeaderParameters; payload: Claims } {
  if (token.length > maxTokenBytes) throw refuse('token too large');
  const parts = /^([\w-]+)\.([\w-]+)\.([\w-]*)$/.exec(token);
  // Five parts are an encrypted token; one without a signature ends in a dot and is refused by its algorithm.
  if (parts === null) throw refuse('token malformed');
  const header = partOf(parts[1]!);
  const payload = partOf(parts[2]!);
  return { header: header as JWSHeaderParameters, payload };
}

function partOf(text: string): Record<string, unknown> {
  let json: string;
  try {
    json = new TextDecoder('utf-8', { fatal: true }).decode(Buffer.from(text, 'base64url'));
  } catch (cause) {
    throw refuse('token malformed', 'not UTF-8', cause);
  }
  try {
    const value = parseStrictJson(json);
    if (isObject(value)) return value;
  } catch (cause) {
    const isRepeated = cause instanceof SyntaxError && cause.message === 'a name stands twice';
    throw refuse(isRepeated ? 'token repeats a claim' : 'token malformed', undefined, cause);
  }
  throw refuse('token malformed');
}

function pathsOf(grants: readonly OidcGrant[], rolesClaim: ClaimPath): ClaimPath[] {
  const paths: ClaimPath[] = [];
  for (const { claim = rolesClaim } of grants) {
    if (!paths.some((path) => samePath(path, claim))) paths.push(claim);
  }
  return paths;
}

function samePath(a: ClaimPath, b: ClaimPath): boolean {
  return a.length === b.length && a.every((name, i) => name === b[i]);
}

function isEmail(path: ClaimPath): boolean {
  return path.length === 1 && path[0] === 'email';
}

function refusalOf(error: unknown): LoginError {
  if (error instanceof errors.JWTExpired)
    return error.claim === 'iat' ? refuse('token too old') : refuse('token expired');
  if (error instanceof errors.JWTClaimValidationFailed) {
    if (error.claim === 'aud' && error.reason === 'check_failed') return refuse('token for another audience');
    if (error.claim === 'iss' && error.reason === 'check_failed') return refuse('token from another issuer');
    if (error.claim === 'nbf' && error.reason === 'check_failed') return refuse('token not valid yet');
    if (error.claim === 'iat' && error.reason === 'check_failed') return refuse('token not valid yet');
    return refuse('token claim missing or wrong', error.claim);
  }
  if (error instanceof errors.JWSSignatureVerificationFailed) return refuse('token signature wrong');
  if (error instanceof errors.JOSEAlgNotAllowed || error instanceof errors.JOSENotSupported)
    return refuse('token algorithm not allowed', error.message);
  // A key that does not fit its algorithm is a TypeError of jose's.
  return refuse('token malformed', error instanceof Error ? error.message : undefined, error);
}
