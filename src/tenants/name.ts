/** Tenant names: 1 to 63 characters of `[a-z0-9-]`, `-` neither first nor last (a DNS label, so that it can be a namespace). */
declare const tenantName: unique symbol;

export type TenantName = string & { readonly [tenantName]: true };

const tenantPattern = /^[a-z0-9](?:[a-z0-9-]{0,61}[a-z0-9])?$/;

export function parseTenantName(text: string): TenantName | undefined {
  return tenantPattern.test(text) ? (text as TenantName) : undefined;
}

/** The tenant of a plain KES file. */
export const defaultTenant = 'default' as TenantName;
