/**
 * Logins with a token that somebody else signed: an OpenID provider's (`auth/jwt`), or a Kubernetes cluster's for a service account
 * (`auth/kubernetes`), which is either checked with the issuer's published keys or shown to the API server (TokenReview).
 */
import { readFileSync } from 'node:fs';
import { Agent } from 'undici';
import { systemClock } from '../../clock.ts';
import { readSecret } from '../../config/secret.ts';
import type { JwtLogins, KubernetesLogins, TransitRole } from '../../config/model.ts';
import { SelloError } from '../../errors.ts';
import {
  createFetcher,
  LoginError,
  OidcVerifier,
  Provider,
  type TokenAlgorithm,
} from '../../access/people/index.ts';
import { fault, type VaultFault } from './answers.ts';
import { textField } from './fields.ts';
import type { TransitCall } from './call.ts';
import { checkSource, grant, identityOfRole, refused } from './logins.ts';
import type { Handler, TransitRoute } from './routes.ts';

type Claims = Readonly<Record<string, unknown>>;

const timeoutMs = 5000;
/** Clusters make tokens that live for a year. */
const maxTokenAgeMs = 400 * 86_400_000;
const maxReviewBytes = 65_536;

interface Source {
  readonly issuer: string;
  readonly caFile: string | undefined;
  readonly audiences: readonly string[];
  readonly algorithms: readonly TokenAlgorithm[];
}

/** By what they are made of: a reload that changes nothing keeps the issuer's keys. */
const verifiers = new Map<string, OidcVerifier>();
const maxVerifiers = 64;

function verifierOf(source: Source): OidcVerifier {
  const key = JSON.stringify(source);
  let verifier = verifiers.get(key);
  if (verifier === undefined) {
    if (verifiers.size >= maxVerifiers) verifiers.clear();
    const fetcher = createFetcher({ caFile: source.caFile, timeoutMs });
    const provider = new Provider({ issuer: source.issuer, fetcher, clock: systemClock });
    verifier = new OidcVerifier({
      clock: systemClock,
      provider,
      tenants: [],
      rules: {
        name: source.issuer,
        issuer: source.issuer,
        alsoIssuers: [],
        audiences: source.audiences,
        clientId: undefined,
        authorizedParties: [],
        algorithms: source.algorithms,
        clockSkewMs: 30_000,
        maxTokenAgeMs,
        bearer: 'any',
        rolesClaim: ['roles'],
        grants: [],
        require: {},
        subjectClaim: ['sub'],
        nameClaims: [],
        stableClaim: undefined,
        revoked: [],
      },
    });
    verifiers.set(key, verifier);
  }
  return verifier;
}

/** @throws VaultFault 403; SelloError SELLO_LOGIN_UNAVAILABLE */
async function verified(call: TransitCall, source: Source, token: string): Promise<Claims> {
  try {
    return (await verifierOf(source).verifyBearer(token)).claims;
  } catch (error) {
    if (!(error instanceof LoginError) || error.code !== 'SELLO_LOGIN_REFUSED') throw error;
    throw denied(call, error.reason);
  }
}

function denied(call: TransitCall, reason: string): VaultFault {
  return refused(call, reason, 'permission denied', 403);
}

interface TokenLogin<R extends TransitRole> {
  readonly name: string;
  readonly role: R;
  readonly token: string;
}

/** @throws VaultFault */
async function asked<R extends TransitRole>(
  call: TransitCall,
  roles: Readonly<Record<string, R>> | undefined,
  fields: Readonly<Record<string, unknown>>,
): Promise<TokenLogin<R>> {
  const name = textField(fields, 'role') ?? '';
  const token = textField(fields, 'jwt') ?? '';
  if (name === '') throw refused(call, 'no role', 'missing role');
  if (token === '') throw refused(call, 'no token', 'missing jwt');
  if (roles === undefined || !Object.hasOwn(roles, name))
    throw refused(call, 'role is not known', `invalid role name ${JSON.stringify(name)}`);
  const role = roles[name]!;
  checkSource(call, role);
  return { name, role, token };
}

const jwtLogin: Handler = async (call, _parameters, body) => {
  const logins: JwtLogins | undefined = call.config.jwt;
  const { name, role, token } = await asked(call, logins?.roles, body.fields());
  const claims = await verified(call, logins!, token);
  const subject = claims['sub'] as string;
  if (role.subject !== undefined && role.subject !== subject)
    throw denied(call, 'another subject than the role names');
  for (const [claim, wanted] of Object.entries(role.claims)) {
    const value = Object.hasOwn(claims, claim) ? claims[claim] : undefined;
    const values = Array.isArray(value) ? value : [value];
    if (!values.some((each) => (typeof each === 'boolean' ? String(each) : each) === wanted))
      throw denied(call, `claim ${claim} is not what the role names`);
  }
  return grant(call, {
    method: 'jwt',
    mount: call.config.mounts.jwt,
    role: name,
    identity: identityOfRole(call.tenant.name, 'jwt', name, subject),
    policy: role.policy,
    metadata: { role: name },
    ttlMs: role.ttlMs,
    maxTtlMs: role.maxTtlMs,
  });
};

interface ServiceAccount {
  readonly namespace: string;
  readonly name: string;
  readonly uid: string;
}

const kubernetesLogin: Handler = async (call, _parameters, body) => {
  const logins: KubernetesLogins | undefined = call.config.kubernetes;
  const { name, role, token } = await asked(call, logins?.roles, body.fields());
  const account =
    logins!.issuer === undefined ? await reviewed(call, logins!, token) : await issued(call, logins!, token);
  const isNamed =
    role.namespaces.includes(account.namespace) &&
    (role.serviceAccounts.includes('*') || role.serviceAccounts.includes(account.name));
  if (!isNamed) throw denied(call, 'a service account that the role does not name');
  return grant(call, {
    method: 'kubernetes',
    mount: call.config.mounts.kubernetes,
    role: name,
    identity: identityOfRole(call.tenant.name, 'kubernetes', name, `${account.namespace}/${account.name}`),
    policy: role.policy,
    metadata: {
      role: name,
      service_account_name: account.name,
      service_account_namespace: account.namespace,
      service_account_uid: account.uid,
      service_account_secret_name: '',
    },
    ttlMs: role.ttlMs,
    maxTtlMs: role.maxTtlMs,
  });
};

const accountPattern = /^system:serviceaccount:([a-z0-9-]{1,63}):([a-z0-9.-]{1,253})$/;

async function issued(call: TransitCall, logins: KubernetesLogins, token: string): Promise<ServiceAccount> {
  const source: Source = {
    issuer: logins.issuer!.url,
    caFile: logins.issuer!.caFile,
    audiences: logins.audiences,
    algorithms: ['RS256', 'ES256'],
  };
  const claims = await verified(call, source, token);
  const account = accountPattern.exec(claims['sub'] as string);
  if (account === null) throw denied(call, 'token of no service account');
  const own = claims['kubernetes.io'] as { serviceaccount?: { uid?: unknown } } | undefined;
  const uid = own?.serviceaccount?.uid;
  return { namespace: account[1]!, name: account[2]!, uid: typeof uid === 'string' ? uid : '' };
}

interface TokenReview {
  readonly status?: {
    readonly authenticated?: boolean;
    readonly audiences?: readonly string[];
    readonly user?: { readonly username?: string; readonly uid?: string };
  };
}

/** Kubernetes' authentication.k8s.io/v1 TokenReview. */
async function reviewed(call: TransitCall, logins: KubernetesLogins, token: string): Promise<ServiceAccount> {
  const { caFile, token: own, url } = logins.review!;
  const bearer = own === undefined ? token : readSecret(own).toString('utf8').trim();
  const review = await askReview(url, caFile, bearer, {
    apiVersion: 'authentication.k8s.io/v1',
    kind: 'TokenReview',
    spec: { token, ...(logins.audiences.length === 0 ? {} : { audiences: logins.audiences }) },
  });
  const { status } = review;
  if (status?.authenticated !== true) throw denied(call, 'the cluster does not accept the token');
  const isForUs =
    logins.audiences.length === 0 ||
    status.audiences?.some((each) => logins.audiences.includes(each)) === true;
  if (!isForUs) throw denied(call, 'token for another audience');
  const account = accountPattern.exec(status.user?.username ?? '');
  if (account === null) throw denied(call, 'token of no service account');
  return { namespace: account[1]!, name: account[2]!, uid: status.user?.uid ?? '' };
}

const agents = new Map<string, Agent>();

function agentOf(caFile: string | undefined): Agent {
  const ca = caFile === undefined ? undefined : readFileSync(caFile);
  const key = ca === undefined ? '' : ca.toString('base64');
  let agent = agents.get(key);
  if (agent === undefined) {
    // A cluster's CA changes with the years; the connections of an old one end by themselves.
    if (agents.size >= maxVerifiers) agents.clear();
    agent = new Agent({
      connections: 4,
      headersTimeout: timeoutMs,
      bodyTimeout: timeoutMs,
      maxResponseSize: maxReviewBytes,
      connect: { timeout: timeoutMs, ...(ca === undefined ? {} : { ca }) },
    });
    agents.set(key, agent);
  }
  return agent;
}

/** @throws SelloError SELLO_LOGIN_UNAVAILABLE */
async function askReview(
  url: string,
  caFile: string | undefined,
  bearer: string,
  review: object,
): Promise<TokenReview> {
  try {
    const response = await agentOf(caFile).request({
      origin: new URL(url).origin,
      path: '/apis/authentication.k8s.io/v1/tokenreviews',
      method: 'POST',
      headers: {
        'content-type': 'application/json',
        accept: 'application/json',
        authorization: `Bearer ${bearer}`,
      },
      body: JSON.stringify(review),
    });
    const text = await response.body.text();
    // The cluster refuses who asks, not what is asked about, with 401 where the login's own token asks.
    if (response.statusCode === 401) return {};
    if (response.statusCode !== 200 && response.statusCode !== 201)
      throw new Error(`the API server answered ${String(response.statusCode)}`);
    const parsed = JSON.parse(text) as TokenReview | null;
    return typeof parsed === 'object' && parsed !== null ? parsed : {};
  } catch (cause) {
    throw new SelloError('SELLO_LOGIN_UNAVAILABLE', { detail: 'TokenReview', cause });
  }
}

const isConfigured =
  (name: 'jwt' | 'kubernetes', handler: Handler): Handler =>
  async (call, parameters, body) => {
    if (call.config[name] === undefined)
      throw fault(
        404,
        `no handler for route "auth/${call.config.mounts[name]}/login". route entry not found.`,
      );
    return handler(call, parameters, body);
  };

export const jwtRoutes: readonly TransitRoute[] = [
  { path: 'login', operation: 'status', methods: { POST: isConfigured('jwt', jwtLogin) }, isOpen: true },
];
export const kubernetesRoutes: readonly TransitRoute[] = [
  {
    path: 'login',
    operation: 'status',
    methods: { POST: isConfigured('kubernetes', kubernetesLogin) },
    isOpen: true,
  },
];
