/** What an error of the file system means for a keystore. */
import { SelloError, type ErrorCode } from '../errors.ts';

/** The device, mount or server behind a path is away; everything else that goes wrong is a fault of the store. */
const unreachable = new Set([
  'ESTALE',
  'ENOTCONN',
  'ETIMEDOUT',
  'EHOSTDOWN',
  'EHOSTUNREACH',
  'ENODEV',
  'ENXIO',
  'ENOTDIR',
  'ENOENT',
]);

/** The name is there, and what it names is no file that this process may read. */
const unreadable = new Set(['EISDIR', 'ELOOP', 'EACCES', 'EPERM']);

export function errnoOf(error: unknown): string | undefined {
  return error instanceof Error ? (error as NodeJS.ErrnoException).code : undefined;
}

/** `reading` one value: a file that cannot be opened is that key's fault, not the store's. */
export function storeError(error: unknown, action: string, reading = false): SelloError {
  if (error instanceof SelloError) return error;
  const errno = errnoOf(error) ?? 'unknown';
  let code: ErrorCode = 'SELLO_STORE_FAILED';
  if (unreachable.has(errno)) code = 'SELLO_STORE_UNREACHABLE';
  else if (reading && unreadable.has(errno)) code = 'SELLO_STORED_KEY_UNREADABLE';
  return new SelloError(code, { detail: `${action}: ${errno}`, cause: error });
}
