/** What a person is told when a configuration cannot be read or a server cannot start. */
import { SelloError } from '../errors.ts';
import { Failure, fileFailure } from './failure.ts';

export function toConfigFailure(error: unknown, file: string): unknown {
  if (error instanceof Failure) return error;
  if (error instanceof SelloError) {
    // The detail names line and field; it is about a file of the person who reads it.
    return new Failure(error.detail ?? error.message, {
      hint: `Correct ${file} and try again.`,
      cause: error,
    });
  }
  if (error instanceof Error && 'syscall' in error && error.syscall === 'open')
    return fileFailure(error, file);
  return error;
}

export function toStartFailure(error: unknown, file: string, program: string): unknown {
  if (error instanceof Error && 'code' in error) {
    const port = 'port' in error ? ` ${String(error.port)}` : '';
    if (error.code === 'EADDRINUSE') {
      return new Failure(`port${port} is in use`, {
        hint: 'Stop the other program, or listen elsewhere (--addr, for dev --port).',
        cause: error,
      });
    }
    if (error.code === 'EACCES' && 'port' in error) {
      return new Failure(`port${port} may not be opened`, { hint: 'Use a port above 1023.', cause: error });
    }
  }
  if (error instanceof SelloError && error.code !== 'SELLO_CONFIG_INVALID') {
    return new Failure(error.detail === undefined ? error.message : `${error.message}: ${error.detail}`, {
      hint: `'${program} config check ${file}' looks at everything the file names.`,
      cause: error,
    });
  }
  return toConfigFailure(error, file);
}
