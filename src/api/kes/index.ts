/** The KES v1 face. */
export { KesExchange, kesPlugin, rewriteKesUrl, type KesPluginOptions } from './plugin.ts';
export { kesRoutes, type KesRoute } from './routes.ts';
export type { RouteTarget } from './target.ts';
