/** Lists as KES prints them: a heading and one name per line in a pipe or on a terminal, one JSON array with --json. */
import { type Io, write } from './io.ts';

export interface ListingOptions {
  readonly json?: boolean;
}

/** Lines are handed over in blocks of about this size. */
const blockCharacters = 64 * 1024;

export async function printNames(
  io: Io,
  heading: string,
  names: AsyncIterable<string>,
  options: ListingOptions,
): Promise<void> {
  const json = options.json === true;
  let block = '';
  let count = 0;
  for await (const name of names) {
    if (json) block += (count === 0 ? '[' : ',') + JSON.stringify(name);
    else block += (count === 0 ? `${heading}\n` : '') + `${name}\n`;
    count++;
    if (block.length >= blockCharacters) {
      await write(io.stdout, block);
      block = '';
    }
  }
  if (json) block += count === 0 ? '[]\n' : ']\n';
  if (block !== '') await write(io.stdout, block);
}

/** `app*` and `*` are how people write prefixes. */
export function prefixOf(pattern: string | undefined): string {
  return (pattern ?? '').replace(/\*$/, '');
}
