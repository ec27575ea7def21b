/** The door of people's logins over HTTP. */
export { openApiOfPeople } from './openapi.ts';
export { AuditReading, maxSearches, maxSearchesPerTenant, maxVerifications } from './audit-reading.ts';
export { peoplePlugin, peoplePrefix } from './plugin.ts';
export type { LoginEvent, PeopleFace, PeopleFaceOptions } from './plugin.ts';
export { strictHeaders } from './strict-headers.ts';
export { approvalHeader, tenantPlugin, tenantPrefix } from './tenant-plugin.ts';
export type { TenantFaceOptions } from './tenant-plugin.ts';
