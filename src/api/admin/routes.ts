/** The routes of the operators' API as data: what the listener matches, what policies judge, what the OpenAPI document lists. */
import type { Operation } from '../../access/index.ts';

export type AdminRouteName =
  | 'create' | 'import' | 'delete' | 'keyring' | 'use' | 'holds' | 'rotate' | 'enable' | 'disable' | 'settings' | 'rewrap' | 'schedule-deletion' | 'cancel-deletion'
  | 'destroy' | 'enable-version' | 'disable-version' | 'compromise-version' | 'schedule-destruction' | 'cancel-destruction'
  | 'destroy-version' | 'accept-restore' | 'document'; // prettier-ignore

export interface AdminRoute {
  readonly name: AdminRouteName;
  readonly method: 'GET' | 'POST';
  /** After the prefix; `{key}` and `{version}` stand for one segment each. */
  readonly path: string;
  /** What policies and records call it. Undefined: to every identity the tenant knows. */
  readonly operation: Operation | undefined;
  /** It changes something: its record is written before it is done, and another one after. */
  readonly isChange: boolean;
  /** Bytes of body. */
  readonly maxBody: number;
}

export const adminPrefix = '/admin/v1/';

const kibibyte = 1024;

function read(name: AdminRouteName, path: string, operation: Operation | undefined): AdminRoute {
  return { name, method: 'GET', path, operation, isChange: false, maxBody: 0 };
}

function change(
  name: AdminRouteName,
  path: string,
  operation: Operation,
  maxBody = 4 * kibibyte,
): AdminRoute {
  return { name, method: 'POST', path, operation, isChange: true, maxBody };
}

export const adminRoutes: readonly AdminRoute[] = [
  read('keyring', 'keys/{key}', 'describe'),
  read('use', 'keys/{key}/use', 'describe'),
  read('holds', 'keys/{key}/holds', 'describe'),
  change('create', 'keys/{key}/create', 'create'),
  change('import', 'keys/{key}/import', 'import'),
  change('delete', 'keys/{key}/delete', 'delete'),
  change('rotate', 'keys/{key}/rotate', 'rotate'),
  change('enable', 'keys/{key}/enable', 'state'),
  change('disable', 'keys/{key}/disable', 'state'),
  change('settings', 'keys/{key}/settings', 'state'),
  // Nothing changes but what the caller holds, and no data key leaves.
  {
    name: 'rewrap',
    method: 'POST',
    path: 'keys/{key}/rewrap',
    operation: 'rewrap',
    isChange: false,
    maxBody: 8 * 1024 * kibibyte,
  },
  change('schedule-deletion', 'keys/{key}/schedule-deletion', 'delete'),
  change('cancel-deletion', 'keys/{key}/cancel-deletion', 'delete'),
  change('destroy', 'keys/{key}/destroy', 'delete'),
  change('enable-version', 'keys/{key}/versions/{version}/enable', 'state'),
  change('disable-version', 'keys/{key}/versions/{version}/disable', 'state'),
  change('compromise-version', 'keys/{key}/versions/{version}/compromise', 'state'),
  change('schedule-destruction', 'keys/{key}/versions/{version}/schedule-destruction', 'delete'),
  change('cancel-destruction', 'keys/{key}/versions/{version}/cancel-destruction', 'delete'),
  change('destroy-version', 'keys/{key}/versions/{version}/destroy', 'delete'),
  change('accept-restore', 'restore/accept', 'admin'),
  read('document', 'openapi.json', undefined),
];

/**
 * What cannot be undone, or is done by the schedule once it was asked for: people need a second one for it, and a tenant with
 * `lifecycle.dualControl` lets nobody do it alone.
 */
const irrevocable: ReadonlySet<AdminRouteName> = new Set([
  'delete',
  'schedule-deletion',
  'destroy',
  'destroy-version',
]);

export function needsTwoPeople({ name }: AdminRoute): boolean {
  return irrevocable.has(name);
}

export interface AdminTarget {
  readonly route: AdminRoute;
  /** As in the path; empty where the route has none. */
  readonly key: string;
  readonly version: number;
}

/** What a request target asks for; undefined when it is no path of this face. Names and numbers need no escaping, so none is taken. */
export function adminTarget(url: string): AdminTarget | undefined {
  if (!url.startsWith(adminPrefix)) return undefined;
  const segments = url.slice(adminPrefix.length).split('/');
  for (const { route, pattern } of patterns) {
    if (pattern.length !== segments.length) continue;
    let key = '';
    let version = 0;
    const matches = pattern.every((part, i) => {
      const segment = segments[i]!;
      if (part === '{key}') return (key = segment) !== '' && !/[?#%]/.test(segment);
      if (part === '{version}') return (version = numberOf(segment)) !== 0;
      return part === segment;
    });
    if (matches) return { route, key, version };
  }
  return undefined;
}

const patterns = adminRoutes.map((route) => ({ route, pattern: route.path.split('/') }));

function numberOf(text: string): number {
  return /^[1-9]\d{0,8}$/.test(text) ? Number(text) : 0;
}
