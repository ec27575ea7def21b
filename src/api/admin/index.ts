/** The operators' API: key versions, states, rotation, rewrapping (docs/admin-api.md). */
export { adminPlugin, rewriteAdminUrl } from './plugin.ts';
export { adminPrefix, adminRoutes, needsTwoPeople } from './routes.ts';
export { actions, keyringView, type AdminCall } from './actions.ts';
export { AdminError, failure, json, type Answer } from './answers.ts';
export type { AdminRoute, AdminRouteName, AdminTarget } from './routes.ts';
