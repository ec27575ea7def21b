/** The door of the object API. */
export { objectsPlugin, rewriteObjectsUrl } from './plugin.ts';
export { openApiDocument } from './openapi.ts';
export { objectRoutes, objectsPrefix } from './routes.ts';
