/** KES path patterns: which of them do not mean what they seem to. */

/**
 * Why a pattern does not match what its author thought, or undefined. With prefix rules (KES since 2023-10) a `*`
 * before the end, `?` and `[` are literal characters, which no path that KES serves contains: the rule never matches,
 * and a deny rule never denies.
 */
export function patternFault(pattern: string, matching: 'prefix' | 'glob'): string | undefined {
  if (pattern.includes('${')) return 'variables are not replaced in patterns, so it matches nothing';
  if (matching === 'glob') {
    return isBadGlob(pattern) ? 'it is not a valid glob pattern, so it matches nothing' : undefined;
  }
  const body = pattern.endsWith('*') ? pattern.slice(0, -1) : pattern;
  const literal = /[*?[]/.exec(body)?.[0];
  if (literal === undefined) return undefined;
  const what = literal === '*' ? "'*' is special only as the last character" : `'${literal}' is not special`;
  return `${what} (KES since 2023-10), so it matches nothing`;
}

/** Go's path.Match answers ErrBadPattern for these: a class that is empty or never ends, a last backslash. */
function isBadGlob(pattern: string): boolean {
  for (let i = 0; i < pattern.length; i++) {
    if (pattern[i] === '\\') {
      if (++i >= pattern.length) return true;
    } else if (pattern[i] === '[') {
      const end = classEnd(pattern, i + 1);
      if (end === undefined) return true;
      i = end;
    }
  }
  return false;
}

function classEnd(pattern: string, start: number): number | undefined {
  let i = pattern[start] === '^' ? start + 1 : start;
  let members = 0;
  for (;;) {
    if (i >= pattern.length) return undefined;
    if (pattern[i] === ']') return members > 0 ? i : undefined;
    const low = member(pattern, i);
    if (low === undefined) return undefined;
    i = low;
    if (pattern[i] === '-') {
      const high = member(pattern, i + 1);
      if (high === undefined) return undefined;
      i = high;
    }
    members++;
  }
}

/** The position after one member of a class. */
function member(pattern: string, at: number): number | undefined {
  const character = pattern[at];
  if (character === undefined || character === '-' || character === ']') return undefined;
  if (character === '\\') return at + 1 < pattern.length ? at + 2 : undefined;
  return at + 1;
}
