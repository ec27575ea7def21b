/** The operators' API: key versions, states, rotation, rewrapping (docs/admin-api.md). */
export { adminPlugin, rewriteAdminUrl } from './plugin.ts';
export { adminPrefix, adminRoutes } from './routes.ts';
