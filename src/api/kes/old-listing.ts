/**
 * Lists as KES answered them before 2023-10, for its clients of that age (`lists: ndjson`): a line of JSON per entry, the
 * whole list at once, and patterns of Go's path.Match (`*`, `?`, `[…]`) over the whole name (recordings old-2023-09-28).
 */
import { compileGlob } from '../../access/index.ts';
import type { KeyName } from '../../keys/names.ts';
import type { NamePage } from '../../keystores/index.ts';
import type { Answer } from './answers.ts';
import { pageLength } from './listing.ts';

export interface OldListing {
  /** What every name found begins with. */
  readonly prefix: string;
  /** The pattern is a name: nothing else can match. */
  readonly isExact: boolean;
  matches(name: string): boolean;
}

/** Names have 80 characters at most; the rest is room for classes and escapes. */
const maxPatternLength = 256;

/**
 * What a path segment after a list route asks for. Empty is everything, as on servers of today (those of then refused it);
 * undefined when it is no pattern.
 */
export function parseOldListing(segment: string): OldListing | undefined {
  if (segment === '') return { prefix: '', isExact: false, matches: () => true };
  if (segment.length > maxPatternLength) return undefined;
  const glob = compileGlob(segment);
  if (glob === undefined) return undefined;
  const special = segment.search(/[*?[\\]/);
  const prefix = special === -1 ? segment : segment.slice(0, special);
  return { prefix, isExact: special === -1, matches: (name) => glob.matches(name) };
}

const type = 'application/x-ndjson';

/** @param lines JSON texts, without line ends */
export function linesAnswer(lines: readonly string[]): Answer {
  return { status: 200, body: Buffer.from(joined(lines)), type };
}

/** One page of names from the keystore that begin with `prefix`, in ascending order. */
export type NamePages = (options: {
  prefix: string;
  after: string | undefined;
  limit: number;
}) => Promise<NamePage>;

/** The keys of a listing: the first page now, so that a keystore which is away is an error, the others while they are sent. */
export async function keyLines(listing: OldListing, pages: NamePages): Promise<Answer> {
  const { prefix, isExact } = listing;
  const page = (after: string | undefined): Promise<NamePage> => pages({ prefix, after, limit: pageLength });
  const textOf = (names: readonly KeyName[]): string =>
    joined(names.filter((name) => listing.matches(name)).map((name) => `{"name":"${name}"}`));
  const first = await page(undefined);
  const answer = { status: 200, body: Buffer.from(textOf(first.names)), type };
  let after = first.names.at(-1);
  // A name is the first of those that begin with it.
  if (!first.more || after === undefined || isExact) return answer;
  return {
    ...answer,
    next: async () => {
      const { names, more } = await page(after);
      after = names.at(-1);
      return { text: textOf(names), more: more && after !== undefined };
    },
  };
}

/** How a list that cannot go on ends: its readers take this line for a failure of the whole. */
export function failureLine(message: string): string {
  return `${JSON.stringify({ error: message })}\n`;
}

function joined(lines: readonly string[]): string {
  return lines.map((line) => `${line}\n`).join('');
}
