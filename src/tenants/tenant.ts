/** A tenant at run time: its keys, its policies, its audit stream, its quota. Nothing here is shared with another tenant. */
import type { Access } from '../access/index.ts';
import type { AuditFile } from '../audit/index.ts';
import type { TenantConfig } from '../config/model.ts';
import type { TenantKeys } from '../keys/index.ts';
import type { TenantName } from './name.ts';
import type { Quota } from './quota.ts';

export interface Tenant {
  readonly name: TenantName;
  readonly config: TenantConfig;
  /** When this configuration was loaded: RFC 3339 with nanoseconds. KES reports it as the time of policies and identities. */
  readonly configuredAt: string;
  readonly access: Access;
  readonly keys: TenantKeys;
  readonly audit: AuditFile;
  readonly quota: Quota;
}
