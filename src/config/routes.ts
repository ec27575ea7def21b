/** Settings of KES routes: only paths that exist, and `skip_auth` only where it gives nothing away. */
import { harmlessRoutes, kesRoutes } from './kes-routes.ts';
import type { KesFaceConfig } from './model.ts';
import type { Position, ProblemList } from './problem.ts';
import { didYouMean } from './suggestion.ts';

export function routesOf(
  routes: Readonly<Record<string, { readonly skipAuth: boolean; readonly timeoutMs: number | undefined }>>,
  at: (route: string) => Position | undefined,
  problems: ProblemList,
): KesFaceConfig['routes'] {
  const known: Record<string, KesFaceConfig['routes'][string]> = {};
  for (const [route, { skipAuth, timeoutMs }] of Object.entries(routes)) {
    if (!kesRoutes.includes(route)) {
      problems.refuse(`unknown route '${route}'${didYouMean(route, kesRoutes)}`, at(route));
      continue;
    }
    const harmless = harmlessRoutes.has(route);
    if (skipAuth && !harmless) {
      const message = `skip_auth on '${route}' is IGNORED: it would let anyone use the route without a certificate`;
      problems.notice(message, at(route), { failsCheck: true });
    }
    known[route] = { skipAuth: skipAuth && harmless, timeoutMs };
  }
  return known;
}
