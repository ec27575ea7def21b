/**
 * Which requests are this face's, and what they name. A path is decoded once and taken as it is: no segment is cleaned away, and what an
 * escape hides (`%2F`, `%3F`) belongs to the segment it stands in, so that a key's name can never lead to another route.
 */
import type { RawRequest } from '../kes/body.ts';

export interface TransitTarget {
  /** As the client wrote it; `LIST` also for `GET` with `list=true`. */
  readonly method: string;
  /** Decoded segments after `/v1/`. */
  readonly segments: readonly string[];
  /** Undefined when an escape is malformed. */
  readonly query: URLSearchParams;
  readonly isMalformed: boolean;
}

const prefix = '/v1/';

/** Long enough for every name there is; Go's servers take a megabyte. */
const maxTargetLength = 8192;

export function transitTarget(method: string, url: string): TransitTarget {
  const mark = url.indexOf('?');
  const path = mark === -1 ? url : url.slice(0, mark);
  const query = new URLSearchParams(mark === -1 ? '' : url.slice(mark + 1));
  const isList = method === 'LIST' || (method === 'GET' && isTrue(query.get('list')));
  let segments: string[] = [];
  let isMalformed = url.length > maxTargetLength || !path.startsWith(prefix);
  try {
    segments = path.slice(prefix.length).split('/').map(decodeURIComponent);
  } catch {
    isMalformed = true;
  }
  return { method: isList ? 'LIST' : method === 'PUT' ? 'POST' : method, segments, query, isMalformed };
}

/** As Go's strconv.ParseBool. */
export function isTrue(text: string | null): boolean {
  return text !== null && ['1', 't', 'T', 'true', 'TRUE', 'True'].includes(text);
}

/** First segments that only this face has. */
const ownRoots = new Set(['sys', 'auth']);

/** A client of Vault says so by its headers, also where it asks for what is not there. */
export function looksLikeVault({ headers }: RawRequest): boolean {
  return headers['x-vault-token'] !== undefined || headers['x-vault-request'] !== undefined;
}

/** @param mounts first segments of the engines' mounts, of all tenants */
export function isTransitPath(url: string, mounts: ReadonlySet<string>): boolean {
  if (!url.startsWith(prefix)) return false;
  const end = url.slice(prefix.length).search(/[/?]/);
  const root = end === -1 ? url.slice(prefix.length) : url.slice(prefix.length, prefix.length + end);
  return ownRoots.has(root) || mounts.has(root);
}
