/**
 * A KES path pattern. Since 2023-10: a trailing `*` matches every rest, `/` included; a `*` elsewhere is an
 * ordinary character; without a trailing `*` the path must be equal (wire/policy). `glob`: the rules before that.
 */
import { compileGlob } from './glob.ts';
import { kesRoutes } from './kes-routes.ts';
import type { KesRoute } from './kes-routes.ts';
import type { Operation } from './operations.ts';

export interface PathPattern {
  readonly text: string;
  matches(path: string): boolean;
  /** True when some path that begins with `start` could match. */
  reaches(start: string): boolean;
}

export function compilePathPattern(text: string, matching: 'prefix' | 'glob'): PathPattern {
  if (matching === 'glob') {
    const never = () => false;
    return { text, ...(compileGlob(text) ?? { matches: never, reaches: never }) };
  }
  if (text.endsWith('*')) {
    const prefix = text.slice(0, -1);
    return {
      text,
      matches: (path) => path.startsWith(prefix),
      reaches: (start) => start.startsWith(prefix) || prefix.startsWith(start),
    };
  }
  return { text, matches: (path) => path === text, reaches: (start) => text.startsWith(start) };
}

/**
 * Whether a KES deny pattern denies `operation` on a face other than KES's: it does when it denies one of the KES
 * routes of that operation for this key. A pattern for one policy or identity needs that name as `name`. What
 * cannot be told for want of a name is denied. A listing is denied when it could show a name the pattern denies.
 */
export function deniesOperation(
  pattern: PathPattern,
  operation: Operation,
  name: string | undefined,
): boolean {
  for (const route of kesRoutes as readonly KesRoute[]) {
    if (route.operation !== operation) continue;
    if (route.argument === 'none') {
      if (pattern.matches(route.path)) return true;
    } else if (name === undefined || operation === 'list') {
      if (pattern.matches(route.path + (name ?? '')) || pattern.reaches(route.path + (name ?? '')))
        return true;
    } else if (pattern.matches(route.path + name)) {
      return true;
    }
  }
  return false;
}

/** True when the pattern reaches a route of this operation at all: what keeps unconcerned rules off the hot path. */
export function concernsOperation(pattern: PathPattern, operation: Operation): boolean {
  return (kesRoutes as readonly KesRoute[]).some(
    (route) =>
      route.operation === operation &&
      (route.argument === 'none' ? pattern.matches(route.path) : pattern.reaches(route.path)),
  );
}
