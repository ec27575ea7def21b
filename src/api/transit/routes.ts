/** The routes of the Transit face as data: what a path below a mount names, what it takes, which handler answers. */
import type { Operation } from '../../access/index.ts';
import type { VaultAnswer } from './answers.ts';
import type { TransitCall } from './call.ts';
import type { SecretFields } from './body.ts';
import type { Fields } from './fields.ts';

/** What a route reads of a request's body. */
export interface RequestBody {
  /** @throws VaultFault */
  fields(): Fields;
  /** Where plaintexts may be in it. They are wiped when the request is over. @throws VaultFault */
  secretFields(): SecretFields;
}

export type Parameters = Readonly<Record<string, string>>;

export type Handler = (
  call: TransitCall,
  parameters: Parameters,
  body: RequestBody,
) => VaultAnswer | Promise<VaultAnswer>;

export type TransitMethod = 'GET' | 'LIST' | 'POST' | 'DELETE';

export interface TransitRoute {
  /** Below the mount: `{name}` stands for a segment, `{path*}` for all that are left. */
  readonly path: string;
  /** What policies and records call it; handlers that ask for more than one operation do so themselves. */
  readonly operation: Operation | undefined;
  readonly methods: Partial<Record<TransitMethod, Handler>>;
  /** Served without a token. */
  readonly isOpen?: boolean;
}

/** The routes below one mount, made ready for requests. */
export interface Mount {
  readonly segments: readonly string[];
  readonly routes: readonly {
    readonly route: TransitRoute;
    readonly label: string;
    readonly pattern: readonly string[];
  }[];
}

/** @param label what the mount is called in metrics, wherever it is */
export function mountOf(path: string, label: string, routes: readonly TransitRoute[]): Mount {
  return {
    segments: path.split('/'),
    routes: routes.map((route) => ({
      route,
      label: `${label}/${route.path}`,
      pattern: route.path.split('/'),
    })),
  };
}

export interface MatchedRoute {
  readonly route: TransitRoute;
  readonly label: string;
  readonly parameters: Parameters;
}

/** Names as Vault's engines take them. */
const genericName = /^\w(?:[\w.-]*\w)?$/;

/** What a path names: the first of the first mount above it that fits. */
export function matchRoute(mounts: readonly Mount[], segments: readonly string[]): MatchedRoute | undefined {
  const mount = mounts.find((each) => segments.length > each.segments.length && isAtOrBelow(each, segments));
  if (mount === undefined) return undefined;
  const rest = segments.slice(mount.segments.length);
  for (const { label, pattern, route } of mount.routes) {
    const parameters = matches(pattern, rest);
    if (parameters !== undefined) return { route, label, parameters };
  }
  return undefined;
}

export function isAtOrBelow(mount: Mount, segments: readonly string[]): boolean {
  return mount.segments.every((part, i) => segments[i] === part);
}

function matches(pattern: readonly string[], segments: readonly string[]): Parameters | undefined {
  const parameters: Record<string, string> = {};
  for (let i = 0; i < pattern.length; i++) {
    const part = pattern[i]!;
    if (part === '{path*}') {
      parameters['path'] = segments.slice(i).join('/');
      return parameters;
    }
    const segment = segments[i];
    if (segment === undefined) return undefined;
    if (part.startsWith('{')) {
      if (!genericName.test(segment)) return undefined;
      parameters[part.slice(1, -1)] = segment;
    } else if (part !== segment) return undefined;
  }
  return pattern.length === segments.length ? parameters : undefined;
}
