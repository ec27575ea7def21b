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

export type TransitMethod = 'GET' | 'LIST' | 'POST' | 'DELETE' | 'PATCH';

export interface TransitRoute {
  /** Below the mount: `{name}` stands for a segment, `{path*}` for all that are left. */
  readonly path: string;
  /** What policies and records call it; handlers that ask for more than one operation do so themselves. */
  readonly operation: Operation | undefined;
  readonly methods: Partial<Record<TransitMethod, Handler>>;
  /** Served without a token. */
  readonly isOpen?: boolean;
  /** Changes something: recorded before it is done, too. */
  readonly changes?: boolean;
}

export interface MatchedRoute {
  readonly route: TransitRoute;
  readonly parameters: Parameters;
}

/** Names as Vault's engines take them. */
const genericName = /^\w(?:[\w.-]*\w)?$/;

/** What a mount's path names. The first route of a list counts. */
export function matchRoute(
  routes: readonly TransitRoute[],
  segments: readonly string[],
): MatchedRoute | undefined {
  for (const route of routes) {
    const parameters = matches(route.path.split('/'), segments);
    if (parameters !== undefined) return { route, parameters };
  }
  return undefined;
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
