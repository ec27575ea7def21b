/** The door of configuration: reading it, checking it against the world, watching its files. */
export type * from './model.ts';
export { loadConfig, parseConfig } from './load.ts';
export type { LoadOptions, ParseOptions } from './load.ts';
export { ConfigError, formatProblems } from './problem.ts';
export type { ConfigProblem } from './problem.ts';
export { describeSecret, readSecret } from './secret.ts';
export { authorityFiles, parseCertificates, sharedInTheWorld } from './authorities.ts';
export { checkConfig } from './check.ts';
export { watchedFiles, watchFiles } from './watch.ts';
export type { FileWatch, WatchOptions } from './watch.ts';
export { harmlessRoutes, kesRoutes } from './kes-routes.ts';
export { parseDuration } from './duration.ts';
