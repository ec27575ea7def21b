/** The key server. */
export { dev, type DevOptions } from './dev.ts';
export { serve, type ServeOptions } from './serve.ts';
export { Server, startServer, type StartOptions } from './server.ts';
