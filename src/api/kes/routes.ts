/**
 * The routes of the KES v1 face as data: what `/v1/api` lists, what the router matches and what decides the
 * check order (method, route, body cap, authentication, name, body, keystore; reference: recordings wire/routes, wire/methods).
 */
import { kesRouteOf, type Operation } from '../../access/index.ts';

export type RouteName =
  | 'version' | 'ready' | 'status' | 'metrics' | 'api'
  | 'key-create' | 'key-import' | 'key-describe' | 'key-list' | 'key-delete'
  | 'key-generate' | 'key-encrypt' | 'key-decrypt' | 'key-bulk-decrypt' | 'key-hmac'
  | 'policy-describe' | 'policy-read' | 'policy-list'
  | 'identity-describe' | 'identity-list' | 'identity-self'
  | 'log-error' | 'log-audit'; // prettier-ignore

export interface KesRoute {
  readonly name: RouteName;
  readonly method: 'GET' | 'PUT' | 'POST' | 'DELETE';
  /** Ends in `/` when a name follows. */
  readonly path: string;
  /** Bytes; 0: a body is ignored. KES: 1 MB is 1,000,000. */
  readonly maxBody: number;
  readonly timeoutMs: number;
  /** Who may call: `policy` decides, any `certificate`, or `anyone` who got through TLS. */
  readonly auth: 'policy' | 'certificate' | 'anyone';
  readonly operation: Operation;
  /** False: served, but not in `/v1/api`, whose list KES's clients know. */
  readonly listed: boolean;
}

/** What Fastify hands to a face, which judges and records the methods it does not serve, too. */
export const allMethods = ['GET', 'HEAD', 'POST', 'PUT', 'DELETE', 'PATCH', 'OPTIONS', 'TRACE'] as const;

const megabyte = 1_000_000;

function route(
  name: RouteName,
  method: KesRoute['method'],
  path: string,
  options: Partial<Pick<KesRoute, 'maxBody' | 'timeoutMs' | 'auth' | 'listed'>> = {},
): KesRoute {
  // What a route is to policies stands in access/. Those that ask for none read about the server or the caller itself.
  const operation = kesRouteOf(path)?.operation ?? 'status';
  return {
    name,
    method,
    path,
    operation,
    maxBody: 0,
    timeoutMs: 15_000,
    auth: 'policy',
    listed: true,
    ...options,
  };
}

export const kesRoutes: readonly KesRoute[] = [
  route('version', 'GET', '/version', { timeoutMs: 10_000, auth: 'anyone' }),
  route('ready', 'GET', '/v1/ready'),
  route('status', 'GET', '/v1/status'),
  route('metrics', 'GET', '/v1/metrics'),
  route('api', 'GET', '/v1/api', { timeoutMs: 10_000 }),
  route('key-create', 'PUT', '/v1/key/create/'),
  route('key-import', 'PUT', '/v1/key/import/', { maxBody: megabyte }),
  route('key-describe', 'GET', '/v1/key/describe/'),
  route('key-list', 'GET', '/v1/key/list/'),
  route('key-delete', 'DELETE', '/v1/key/delete/'),
  route('key-generate', 'PUT', '/v1/key/generate/', { maxBody: megabyte }),
  route('key-encrypt', 'PUT', '/v1/key/encrypt/', { maxBody: megabyte }),
  route('key-decrypt', 'PUT', '/v1/key/decrypt/', { maxBody: megabyte }),
  route('key-bulk-decrypt', 'POST', '/v1/key/bulk/decrypt/', { maxBody: megabyte, listed: false }),
  route('key-hmac', 'PUT', '/v1/key/hmac/', { maxBody: megabyte }),
  route('policy-describe', 'GET', '/v1/policy/describe/'),
  route('policy-read', 'GET', '/v1/policy/read/'),
  route('policy-list', 'GET', '/v1/policy/list/'),
  route('identity-describe', 'GET', '/v1/identity/describe/'),
  route('identity-list', 'GET', '/v1/identity/list/'),
  route('identity-self', 'GET', '/v1/identity/self/describe', { auth: 'certificate' }),
  route('log-error', 'GET', '/v1/log/error', { timeoutMs: 0 }),
  route('log-audit', 'GET', '/v1/log/audit', { timeoutMs: 0 }),
];

/** KES takes POST wherever PUT is registered (today's clients send POST for most of them). */
export function acceptsMethod(route: KesRoute, method: string): boolean {
  return (
    method === route.method ||
    (method === 'POST' && route.method === 'PUT') ||
    (method === 'PUT' && route.method === 'POST')
  );
}
