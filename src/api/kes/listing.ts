/**
 * Key listings. KES used its `continue_at` as a prefix and lost every key after the first page; ours is an opaque token that
 * begins with `-`, which no legal prefix does, and carries the prefix, so that policy is judged on what is really listed.
 */
import { isName, maxNameLength } from '../../keys/names.ts';
import { failure, type Answer } from './answers.ts';

export interface Listing {
  readonly prefix: string;
  readonly after: string | undefined;
}

/** KES's page. */
export const pageLength = 1024;

/** What a legal name can begin with. */
function isBeginning(text: string): boolean {
  return /^[0-9A-Za-z_][0-9A-Za-z_-]*$/.test(text) && text.length <= maxNameLength;
}

/** KES: `*` only as the last character, alone or after a legal beginning of a name. */
export function isListPattern(text: string): boolean {
  if (text === '' || text === '*') return true;
  if (text.length > maxNameLength) return false;
  return text.endsWith('*') ? isBeginning(text.slice(0, -1)) : isName(text);
}

export function listingProblem(segment: string): Answer {
  return failure(
    400,
    `listing pattern '${segment}' is empty, too long or is invalid`,
    'SELLO_KEY_NAME_INVALID',
  );
}

export function continueToken(listing: Listing): string {
  return `-${Buffer.from(`${listing.prefix}\n${listing.after ?? ''}`).toString('base64url')}`;
}

/** What a path segment after `/v1/key/list/` asks for; undefined when it is neither a pattern nor one of our tokens. */
export function parseListing(segment: string): Listing | undefined {
  if (isListPattern(segment)) {
    return { prefix: segment.endsWith('*') ? segment.slice(0, -1) : segment, after: undefined };
  }
  if (!segment.startsWith('-') || segment.length > 300 || !/^-[A-Za-z0-9_-]+$/.test(segment))
    return undefined;
  const text = Buffer.from(segment.slice(1), 'base64url').toString('utf8');
  const [prefix, after, ...rest] = text.split('\n');
  if (prefix === undefined || after === undefined || rest.length > 0) return undefined;
  if ((prefix !== '' && !isBeginning(prefix)) || !isName(after)) return undefined;
  return continueToken({ prefix, after }) === segment ? { prefix, after } : undefined;
}
