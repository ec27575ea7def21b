/** How a command ends when it cannot do its work: one line what is wrong, one line what to do. */
import { ClientError, ConnectionError } from '../client/index.ts';

/** Exit codes (docs/cli.md). `unattested`: an audit trail is in order, and nothing kept elsewhere says that it is complete. `usage` is for a command line that asks for nothing, as KES: the usage is printed. */
export const exitCodes = { ok: 0, failure: 1, usage: 2, unattested: 3 } as const;

/** A failure as a person reads it, after `Error: `. */
export class Failure extends Error {
  /** What to do about it; undefined where the message says so itself. */
  readonly hint: string | undefined;
  /** A refusal in KES's words: scripts compare that one line, so its hint is for terminals alone. */
  readonly hintOnTerminalOnly: boolean;

  constructor(
    message: string,
    options: { hint?: string | undefined; hintOnTerminalOnly?: boolean; cause?: unknown } = {},
  ) {
    super(message, { cause: options.cause });
    this.name = 'Failure';
    this.hint = options.hint;
    this.hintOnTerminalOnly = options.hintOnTerminalOnly ?? false;
  }
}

/** The output said it all; only the exit code is left to set. */
export class SaidAlready extends Error {
  readonly exitCode: number;

  constructor(why = 'said already', exitCode: number = exitCodes.failure) {
    super(why);
    this.exitCode = exitCode;
  }
}

/** Runs `work`; a failure of the server or of the way to it becomes a {@link Failure} that begins with `prefix`. */
export async function failingWith<T>(prefix: string, work: Promise<T>): Promise<T> {
  try {
    return await work;
  } catch (error) {
    throw toFailure(error, prefix);
  }
}

/** {@link failingWith} for something that is read bit by bit. */
export async function* failingEachWith<T>(
  prefix: string,
  items: AsyncIterable<T>,
): AsyncGenerator<T, void, void> {
  try {
    yield* items;
  } catch (error) {
    throw toFailure(error, prefix);
  }
}

/** What a person is told about `error`; `prefix` names what was being done. */
export function toFailure(error: unknown, prefix = ''): Failure {
  const lead = prefix === '' ? '' : `${prefix}: `;
  if (error instanceof Failure) return error;
  if (error instanceof ClientError) {
    return new Failure(lead + error.message, {
      hint: hintOfRefusal(error),
      hintOnTerminalOnly: true,
      cause: error,
    });
  }
  if (error instanceof ConnectionError) {
    return new Failure(lead + error.message, { hint: hintOfConnection(error), cause: error });
  }
  return new Failure(lead + (error instanceof Error ? error.message : String(error)), { cause: error });
}

function hintOfRefusal(error: ClientError): string | undefined {
  switch (error.status) {
    case 403:
      return "Ask an administrator for a policy that allows this. 'sello identity info' shows who you are to the server.";
    case 404:
      return error.message.startsWith('key') ? "'sello key ls' shows the keys there are." : undefined;
    case 502:
    case 504:
      return "The server cannot use its key store; its log says why. 'sello status' shows whether that has passed.";
    case 503:
      return 'The server is busy or shutting down. Try again in a moment.';
    default:
      return error.message === 'key already exists'
        ? "'sello key info NAME' shows the key that is there."
        : undefined;
  }
}

function hintOfConnection(error: ConnectionError): string {
  if (error.untrusted) {
    return 'Name its CA with --ca FILE (SELLO_CA_FILE), or skip the check with --insecure to try things out.';
  }
  if (error.code === 'ERR_SSL_TLSV13_ALERT_CERTIFICATE_REQUIRED') {
    return 'Set SELLO_API_KEY, or SELLO_CERT_FILE and SELLO_KEY_FILE.';
  }
  return 'Is the server running? Name another with --server HOST:PORT (SELLO_SERVER).';
}

const systemReasons: Readonly<Record<string, string>> = {
  ENOENT: 'no such file or directory',
  EACCES: 'permission denied',
  EISDIR: 'is a directory',
  ENOTDIR: 'not a directory',
  EROFS: 'read-only file system',
  ENOSPC: 'no space left on device',
  EEXIST: 'file exists',
};

/** A failed file operation as KES words it: `open nope.crt: no such file or directory`. */
export function fileFailure(error: unknown, file: string, prefix = ''): Failure {
  const code = error instanceof Error && 'code' in error ? String(error.code) : '';
  const reason = systemReasons[code] ?? (error instanceof Error ? error.message : String(error));
  return new Failure(`${prefix === '' ? '' : `${prefix}: `}open ${file}: ${reason}`, { cause: error });
}
