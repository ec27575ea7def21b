/**
 * Logins of the Transit face and what comes after them. A login proves who somebody is; the token it gives stands for that identity,
 * with the policy of its role, until it ends. Why one was refused is in the audit record and not in the answer.
 */
import { hash } from 'node:crypto';
import type { Identity } from '../../access/index.ts';
import { isListed } from '../../server/gate.ts';
import { blockHolds, parseCidr, parseIp } from '../../access/cidr.ts';
import { framed } from '../../crypto/index.ts';
import type { TransitRole } from '../../config/model.ts';
import { fault, invalidToken, noContent, oneError, permissionDenied, type VaultAnswer } from './answers.ts';
import { secondsField, textField } from './fields.ts';
import type { TransitCall } from './call.ts';
import type { Handler, TransitRoute } from './routes.ts';
import type { Token } from './tokens.ts';

const second = 1000;

/** Who a role stands for, where no certificate does: the same 64 digits on every replica. */
export function identityOfRole(tenant: string, method: string, role: string, holder = ''): string {
  const parts = ['sello transit role v1', tenant, method, role, holder].map((part) => Buffer.from(part));
  return hash('sha256', framed(...parts), 'hex');
}

export interface Proven {
  readonly method: string;
  /** Path of the login below `auth/`. */
  readonly mount: string;
  readonly role: string | undefined;
  readonly identity: string;
  readonly policy: string | undefined;
  readonly metadata: Readonly<Record<string, string>>;
  readonly ttlMs: number;
  readonly maxTtlMs: number;
}

/** A token for whoever proved to be somebody. Where a certificate is there, it is that one's alone. */
export async function grant(call: TransitCall, proven: Proven): Promise<VaultAnswer> {
  const now = Math.floor(Date.now() / second);
  const ttl = Math.ceil(proven.ttlMs / second);
  call.loginIdentity = proven.identity;
  const { text, token } = await call.tokens.make({
    method: proven.method,
    path: `auth/${proven.mount}/login`,
    role: proven.role,
    identity: proven.identity,
    policy: proven.policy,
    certificate: call.admission.identity,
    metadata: proven.metadata,
    createdAt: now,
    expiresAt: now + ttl,
    lastsUntil: now + Math.ceil(proven.maxTtlMs / second),
    ttl,
  });
  try {
    await call.release(200);
  } catch (error) {
    await call.tokens.revoke(token.hash).catch(() => undefined);
    throw error;
  }
  return { status: 200, auth: authView(call, token, text, ttl), mountType: '' };
}

/** The form of a UUID, as clients know entities, role ids and secret ids: of the first 32 of some hex digits. */
export function uuidForm(hex: string): string {
  return hex.replace(/^(.{8})(.{4})(.{4})(.{4})(.{12}).*$/, '$1-$2-$3-$4-$5');
}

function policiesOf(call: TransitCall, token: Token): string[] {
  const own = token.policy ?? call.tenant.access.policyOf(token.identity as Identity);
  return ['default', own ?? 'admin'];
}

function authView(
  call: TransitCall,
  token: Token,
  text: string,
  leaseSeconds: number,
): Record<string, unknown> {
  const policies = policiesOf(call, token);
  return {
    client_token: text,
    accessor: token.accessor,
    policies,
    token_policies: policies,
    metadata: token.metadata,
    lease_duration: leaseSeconds,
    renewable: true,
    entity_id: uuidForm(token.identity),
    token_type: 'service',
    orphan: true,
    mfa_requirement: null,
    num_uses: 0,
  };
}

/** Whether a request comes from one of these networks; none: from anywhere. */
export function isFrom({ admission }: TransitCall, sources: readonly string[]): boolean {
  if (sources.length === 0) return true;
  const address = parseIp(admission.sourceIp ?? '');
  return sources.some((text) => {
    const block = parseCidr(text);
    return block !== undefined && address !== undefined && blockHolds(block, address);
  });
}

/** @throws VaultFault when the role may not log in from there */
export function checkSource(call: TransitCall, { sources }: Pick<TransitRole, 'sources'>): void {
  if (!isFrom(call, sources))
    throw refused(call, 'login from a network the role does not name', 'permission denied', 403);
}

/** A refusal with Vault's text; `reason` is for the record. */
export function refused(
  call: TransitCall,
  reason: string,
  text: string,
  status = 400,
): ReturnType<typeof fault> {
  call.reason = reason;
  return fault(status, status === 403 ? oneError(text) : text, 'SELLO_LOGIN_REFUSED');
}

const certLogin: Handler = async (call) => {
  const { admission, config, tenant } = call;
  const { identity } = admission;
  if (identity === undefined)
    throw refused(call, 'no client certificate', 'client certificate must be supplied');
  if (admission.refusal !== undefined || !isListed(tenant, identity))
    throw refused(
      call,
      admission.refusal?.reason ?? 'identity is in no policy',
      'invalid certificate or no client certificate supplied',
    );
  return grant(call, {
    method: 'cert',
    mount: config.mounts.cert,
    role: undefined,
    identity,
    policy: undefined,
    metadata: { cert_name: tenant.access.policyOf(identity) ?? 'admin' },
    ttlMs: config.tokens.ttlMs,
    maxTtlMs: config.tokens.maxTtlMs,
  });
};

export const certRoutes: readonly TransitRoute[] = [
  { path: 'login', operation: 'status', methods: { POST: certLogin }, isOpen: true },
];

/** The token of the request; these routes are about it. */
function ownToken(call: TransitCall): { readonly token: Token; readonly text: string } {
  const { token, tokenText } = call;
  if (token === undefined || tokenText === undefined)
    throw fault(403, 'permission denied', 'SELLO_LOGIN_REFUSED');
  return { token, text: tokenText };
}

const lookupSelf: Handler = (call) => {
  const { text, token } = ownToken(call);
  call.operation = 'status';
  const now = Math.floor(Date.now() / second);
  const iso = (seconds: number): string => new Date(seconds * second).toISOString().replace(/\.000Z$/, 'Z');
  return {
    status: 200,
    mountType: 'token',
    data: {
      accessor: token.accessor,
      creation_time: token.createdAt,
      creation_ttl: token.ttl,
      display_name: token.method,
      entity_id: uuidForm(token.identity),
      expire_time: iso(token.expiresAt),
      explicit_max_ttl: 0,
      id: text,
      issue_time: iso(token.createdAt),
      meta: token.metadata,
      num_uses: 0,
      orphan: true,
      path: token.path,
      policies: policiesOf(call, token),
      renewable: true,
      ttl: Math.max(0, token.expiresAt - now),
      type: 'service',
    },
  };
};

/** Vault's policy `default` lets a token read of itself, and no more at this path. */
const notAllowed: Handler = () => {
  throw permissionDenied();
};

const renewSelf: Handler = async (call, _parameters, body) => {
  const { text, token } = ownToken(call);
  call.operation = 'status';
  const increment = secondsField(body.fields(), 'increment') ?? 0;
  const now = Math.floor(Date.now() / second);
  // As Vault, which answers so from the moment that nothing can be added.
  if (token.lastsUntil <= now) throw fault(500, oneError('past the max TTL, cannot renew'));
  const wanted = increment > 0 ? increment : token.ttl;
  const renewed = await call.tokens.renew(token, wanted);
  if (renewed === undefined) throw invalidToken();
  return {
    status: 200,
    mountType: 'token',
    auth: authView(call, renewed, text, Math.max(0, renewed.expiresAt - now)),
  };
};

const revokeSelf: Handler = async (call) => {
  const { token } = ownToken(call);
  call.operation = 'status';
  await call.tokens.revoke(token.hash);
  return noContent;
};

/** For administrators: ends a token by its accessor, which logs and answers may show. */
const revokeAccessor: Handler = async (call, _parameters, body) => {
  call.authorize('admin', undefined);
  const accessor = textField(body.fields(), 'accessor') ?? '';
  if (accessor === '') throw fault(400, 'missing accessor');
  if (!(await call.tokens.revokeByAccessor(accessor))) throw fault(400, 'invalid accessor');
  return noContent;
};

export const tokenRoutes: readonly TransitRoute[] = [
  { path: 'lookup-self', operation: 'status', methods: { GET: lookupSelf, POST: notAllowed } },
  { path: 'renew-self', operation: 'status', methods: { POST: renewSelf } },
  { path: 'revoke-self', operation: 'status', methods: { POST: revokeSelf } },
  { path: 'revoke-accessor', operation: 'admin', methods: { POST: revokeAccessor } },
];
