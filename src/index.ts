/**
 * Sello as a library: the server, its configuration, and the care of an embedded keystore. The client is `sello/client`.
 *
 * ```ts
 * import { loadConfig, startServer } from 'sello';
 *
 * const server = await startServer(await loadConfig('/etc/sello/sello.yaml'));
 * await server.stop(); // no request that has arrived is lost
 * ```
 */
export { checkConfig, ConfigError, formatProblems, loadConfig, parseConfig } from './config/index.ts';
export type { ConfigProblem, LoadOptions, ParseOptions } from './config/index.ts';
export type * from './config/model.ts';
export { errorKinds, hasCode, SelloError } from './errors.ts';
export type { ErrorCode, ErrorKind } from './errors.ts';
export {
  backupFileKeystore,
  checkFileBackup,
  restoreFileKeystore,
  rotateRootKey,
} from './keystores/index.ts';
export type { BackupSummary } from './keystores/index.ts';
export { serve, startServer } from './server/index.ts';
export type { Server, ServeOptions, StartOptions } from './server/index.ts';
