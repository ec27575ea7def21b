/** What a person is told when a configuration cannot be read or a server cannot start. */
import type { ConfigError } from '../config/index.ts';
import { SelloError } from '../errors.ts';
import { Failure, fileFailure } from './failure.ts';

export function toConfigFailure(error: unknown, file: string): unknown {
  if (error instanceof Failure) return error;
  if (isConfigError(error)) {
    const [only] = error.problems;
    if (isAbsent(error))
      return new Failure(`open ${file}: no such file or directory`, { hint: notThere, cause: error });
    // The person's own name of the file, one problem per line, each with its place.
    const message =
      error.problems.length === 1 && only !== undefined
        ? placed(file, only)
        : `${file} cannot be used\n${error.problems.map((problem) => `  ${placed(file, problem)}`).join('\n')}`;
    return new Failure(message, { hint: `Correct ${file} and try again.`, cause: error });
  }
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

/** By name: the class itself would load all of configuration into commands that never read one. */
export function isConfigError(error: unknown): error is ConfigError {
  return error instanceof SelloError && error.name === 'ConfigError';
}

/** `file:line: message`, which terminals make a link of. */
export function placed(
  file: string,
  at: { readonly message: string; readonly line: number | undefined },
): string {
  return at.line === undefined ? `${file}: ${at.message}` : `${file}:${String(at.line)}: ${at.message}`;
}

const notThere = 'Name a configuration file of Sello or KES.';

function isAbsent(error: ConfigError): boolean {
  return error.cause instanceof Error && 'code' in error.cause && error.cause.code === 'ENOENT';
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
