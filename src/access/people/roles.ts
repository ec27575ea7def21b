/**
 * People and what they may do. A person has one role in a tenant, or none; each role includes the one before it. No role
 * has an operation that hands out data keys or plaintext: those are for certificates (docs/policies.md).
 */
import { createHash } from 'node:crypto';
import { framed } from '../../crypto/index.ts';
import type { TenantName } from '../../tenants/name.ts';
import type { Identity } from '../identity.ts';
import type { Operation } from '../operations.ts';

/** In rising order. */
export const roles = ['auditor', 'operator', 'administrator'] as const;
export type Role = (typeof roles)[number];

/** Who somebody is, whatever they may do: kept in records. */
export interface PersonRef {
  /** URL of the OpenID provider as its tokens have it, or `ldap:NAME`. */
  readonly issuer: string;
  /** Stable and unique at the issuer: never a name that can be given to another. */
  readonly subject: string;
  /** For people to read. Proves nothing. */
  readonly displayName: string;
  /** Value of the configured claim or attribute that tells a human apart across issuers. */
  readonly stableId: string | undefined;
  /** What the roles came from, so that they can be found anew when the mapping has changed. */
  readonly evidence: readonly Evidence[];
}

/** Those values of a claim, or those groups, that a grant named when the person logged in. */
export interface Evidence {
  /** Empty: groups of a directory. */
  readonly claim: readonly string[];
  readonly values: readonly string[];
}

/** Issuer of those who are known by a certificate: administrators of a tenant's own list. No provider has this name. */
export const certificateIssuer = 'certificate';

/**
 * Somebody known by a client certificate, for dual control. `stableId` where a list of people says whose it is: without one they and a person of a
 * provider cannot be told apart, and neither can approve for the other.
 */
export function personOfCertificate(identity: Identity, stableId?: string): PersonRef {
  return { issuer: certificateIssuer, subject: identity, displayName: identity, stableId, evidence: [] };
}

export interface Person extends PersonRef {
  readonly roles: ReadonlyMap<TenantName, Role>;
  /** When the person proved who they are; undefined when the issuer does not say. */
  readonly authTimeMs: number | undefined;
}

const auditor = ['describe', 'list', 'metrics', 'status', 'read-audit'] as const satisfies Operation[];
const operator = [...auditor, 'create', 'rotate', 'rewrap', 'state'] as const satisfies Operation[];
const administrator = [...operator, 'import', 'delete', 'admin'] as const satisfies Operation[];

/** The table of docs/people.md. */
export const operationsOfRole: Readonly<Record<Role, ReadonlySet<Operation>>> = {
  auditor: new Set<Operation>(auditor),
  operator: new Set<Operation>(operator),
  administrator: new Set<Operation>(administrator),
};

export interface RoleDecision {
  readonly allowed: boolean;
  /** For audit records, such as `role operator` or `no role in tenant`. */
  readonly rule: string;
}

/** Whether a person may do `operation` in `tenant`. What no role grants is refused, operations that are yet to come included. */
export function judgePerson(
  person: Pick<Person, 'roles'>,
  tenant: TenantName,
  operation: Operation,
): RoleDecision {
  const role = person.roles.get(tenant);
  if (role === undefined) return { allowed: false, rule: 'no role in tenant' };
  return { allowed: operationsOfRole[role].has(operation), rule: `role ${role}` };
}

/** What a value of a claim, or a group, grants. */
export interface RoleGrant {
  /** Compared whole and exactly. */
  readonly value: string;
  /** `*`: every tenant. */
  readonly tenant: TenantName | '*';
  readonly role: Role;
}

/** The highest role that the values grant, per tenant. */
export function rolesOf(
  values: readonly string[],
  grants: readonly RoleGrant[],
  tenants: readonly TenantName[],
): Map<TenantName, Role> {
  const found = new Map<TenantName, Role>();
  const held = new Set(values);
  for (const grant of grants) {
    if (!held.has(grant.value)) continue;
    for (const tenant of grant.tenant === '*' ? tenants : [grant.tenant]) {
      if (tenants.includes(tenant)) raise(found, tenant, grant.role);
    }
  }
  return found;
}

/** Keeps the higher of two roles. */
export function raise(into: Map<TenantName, Role>, tenant: TenantName, role: Role): void {
  const before = into.get(tenant);
  if (before === undefined || roles.indexOf(role) > roles.indexOf(before)) into.set(tenant, role);
}

/**
 * A person as the `identity` of audit records: 64 hex digits, as a certificate's. Issuer and subject with their lengths, so
 * that no two pairs are alike.
 */
export function personId({ issuer, subject }: Pick<PersonRef, 'issuer' | 'subject'>): string {
  const named = framed(Buffer.from(issuer), Buffer.from(subject));
  return createHash('sha256').update('sello person\0').update(named).digest('hex');
}
