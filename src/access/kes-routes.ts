/**
 * The routes of the KES v1 API and the operation each one is. A KES pattern speaks of paths; this table is what
 * carries its meaning to the other faces (design.md, Policy). Routes that ask for no policy are not in it:
 * `/version`, and `/v1/identity/self/describe`, which any certificate may call.
 */
import type { Operation } from './operations.ts';

export interface KesRoute {
  /** Decoded path. With a trailing `/` the rest of the path is the argument. */
  readonly path: string;
  readonly operation: Operation;
  /** What the rest of the path names; `none`: the path is complete. */
  readonly argument: 'key' | 'policy' | 'identity' | 'none';
}

export const kesRoutes = [
  { path: '/v1/key/create/', operation: 'create', argument: 'key' },
  { path: '/v1/key/import/', operation: 'import', argument: 'key' },
  { path: '/v1/key/describe/', operation: 'describe', argument: 'key' },
  { path: '/v1/key/list/', operation: 'list', argument: 'key' },
  { path: '/v1/key/delete/', operation: 'delete', argument: 'key' },
  { path: '/v1/key/generate/', operation: 'issue', argument: 'key' },
  { path: '/v1/key/encrypt/', operation: 'encrypt', argument: 'key' },
  { path: '/v1/key/decrypt/', operation: 'unwrap', argument: 'key' },
  { path: '/v1/key/bulk/decrypt/', operation: 'unwrap', argument: 'key' },
  { path: '/v1/key/hmac/', operation: 'mac', argument: 'key' },
  { path: '/v1/policy/describe/', operation: 'admin', argument: 'policy' },
  { path: '/v1/policy/read/', operation: 'admin', argument: 'policy' },
  { path: '/v1/policy/list/', operation: 'admin', argument: 'policy' },
  { path: '/v1/identity/describe/', operation: 'admin', argument: 'identity' },
  { path: '/v1/identity/list/', operation: 'admin', argument: 'identity' },
  { path: '/v1/status', operation: 'status', argument: 'none' },
  { path: '/v1/ready', operation: 'status', argument: 'none' },
  { path: '/v1/api', operation: 'status', argument: 'none' },
  { path: '/v1/metrics', operation: 'metrics', argument: 'none' },
  { path: '/v1/log/error', operation: 'read-audit', argument: 'none' },
  { path: '/v1/log/audit', operation: 'read-audit', argument: 'none' },
] as const satisfies readonly KesRoute[];

/** Paths that need a client certificate at most, never a policy. */
export const kesRoutesWithoutPolicy = ['/version', '/v1/identity/self/describe'] as const;

/** The route a decoded path belongs to, undefined when it is none of {@link kesRoutes}. */
export function kesRouteOf(path: string): KesRoute | undefined {
  return kesRoutes.find((route) =>
    route.argument === 'none' ? path === route.path : path.startsWith(route.path),
  );
}
