/** The KES routes that a configuration may name, each exactly as KES registers it. */
export const kesRoutes: readonly string[] = [
  '/version',
  '/v1/ready',
  '/v1/status',
  '/v1/metrics',
  '/v1/api',
  '/v1/key/create/',
  '/v1/key/import/',
  '/v1/key/describe/',
  '/v1/key/list/',
  '/v1/key/delete/',
  '/v1/key/generate/',
  '/v1/key/encrypt/',
  '/v1/key/decrypt/',
  '/v1/key/bulk/decrypt/',
  '/v1/key/hmac/',
  '/v1/policy/describe/',
  '/v1/policy/read/',
  '/v1/policy/list/',
  '/v1/identity/describe/',
  '/v1/identity/list/',
  '/v1/identity/self/describe',
  '/v1/log/error',
  '/v1/log/audit',
];

/** Routes that tell a stranger nothing about keys: only these may answer without a client certificate. */
export const harmlessRoutes: ReadonlySet<string> = new Set([
  '/version',
  '/v1/ready',
  '/v1/status',
  '/v1/metrics',
  '/v1/api',
]);
