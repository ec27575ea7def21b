/** The KES routes that a configuration may name, each exactly as KES registers it. */
import { kesRoutes as policyRoutes, kesRoutesWithoutPolicy } from '../access/kes-routes.ts';

export const kesRoutes: readonly string[] = [
  ...kesRoutesWithoutPolicy,
  ...policyRoutes.map(({ path }) => path),
];

/** Routes that tell a stranger nothing about keys: only these may answer without a client certificate. */
export const harmlessRoutes: ReadonlySet<string> = new Set([
  '/version',
  '/v1/ready',
  '/v1/status',
  '/v1/metrics',
  '/v1/api',
]);
