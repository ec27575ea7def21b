/**
 * The path patterns of KES before 2023-10: Go's path.Match (https://pkg.go.dev/path#Match). `*` and `?` stop at
 * `/`, `[a-z]` and `[^a-z]` are classes (which may match `/`, as in Go), `\` takes the next character as it is.
 * A malformed pattern never matches, as KES ignored the error path.Match reports for it.
 */
type Token =
  | { readonly kind: 'literal'; readonly code: number }
  | { readonly kind: 'any' }
  | { readonly kind: 'star' }
  | {
      readonly kind: 'class';
      readonly negated: boolean;
      readonly ranges: readonly (readonly [number, number])[];
    };

const slash = 0x2f;

export interface Glob {
  matches(path: string): boolean;
  /** True when some path that begins with `start` matches. */
  reaches(start: string): boolean;
}

/** Compiles a pattern once. Returns undefined when it is malformed. */
export function compileGlob(pattern: string): Glob | undefined {
  const tokens = parse(codePoints(pattern));
  if (tokens === undefined) return undefined;
  return {
    matches: (path) => matches(tokens, codePoints(path)),
    reaches: (start) => reaches(tokens, codePoints(start)),
  };
}

function codePoints(text: string): number[] {
  return Array.from(text, (character) => character.codePointAt(0)!);
}

function parse(codes: readonly number[]): readonly Token[] | undefined {
  const tokens: Token[] = [];
  let at = 0;

  /** One end of a class range: neither `-` nor `]` unless escaped, and never the last character of a pattern. */
  const rangeEnd = (): number | undefined => {
    let code = codes[at];
    if (code === undefined || code === 0x2d || code === 0x5d) return undefined;
    if (code === 0x5c) code = codes[++at];
    if (code === undefined) return undefined;
    at += 1;
    return at < codes.length ? code : undefined;
  };

  while (at < codes.length) {
    const code = codes[at]!;
    at += 1;
    if (code === 0x2a) {
      if (tokens.at(-1)?.kind !== 'star') tokens.push({ kind: 'star' });
    } else if (code === 0x3f) {
      tokens.push({ kind: 'any' });
    } else if (code === 0x5c) {
      const escaped = codes[at];
      if (escaped === undefined) return undefined;
      at += 1;
      tokens.push({ kind: 'literal', code: escaped });
    } else if (code === 0x5b) {
      const negated = codes[at] === 0x5e;
      if (negated) at += 1;
      const ranges: [number, number][] = [];
      while (!(codes[at] === 0x5d && ranges.length > 0)) {
        const low = rangeEnd();
        if (low === undefined) return undefined;
        let high: number | undefined = low;
        if (codes[at] === 0x2d) {
          at += 1;
          high = rangeEnd();
          if (high === undefined) return undefined;
        }
        ranges.push([low, high]);
      }
      at += 1;
      tokens.push({ kind: 'class', negated, ranges });
    } else {
      tokens.push({ kind: 'literal', code });
    }
  }
  return tokens;
}

function tokenMatches(token: Token, code: number): boolean {
  switch (token.kind) {
    case 'literal':
      return token.code === code;
    case 'any':
      return code !== slash;
    case 'class':
      return token.ranges.some(([low, high]) => low <= code && code <= high) !== token.negated;
    case 'star':
      return false;
  }
}

/**
 * Leftmost placement of what lies between two stars is enough: a star crosses no `/`, so a later placement
 * leaves the next star less room, never more. Hence no exponential backtracking.
 */
function matches(tokens: readonly Token[], text: readonly number[]): boolean {
  let token = 0;
  let at = 0;
  let starToken = -1;
  let starAt = -1;
  while (at < text.length || token < tokens.length) {
    const current = tokens[token];
    if (current?.kind === 'star') {
      starToken = token;
      starAt = at;
      token += 1;
      continue;
    }
    if (current !== undefined && at < text.length && tokenMatches(current, text[at]!)) {
      token += 1;
      at += 1;
      continue;
    }
    if (starToken < 0 || starAt >= text.length || text[starAt] === slash) return false;
    starAt += 1;
    token = starToken + 1;
    at = starAt;
  }
  return true;
}

/** Follows every place in the pattern at once; a place that is left when `start` ends can be completed. */
function reaches(tokens: readonly Token[], start: readonly number[]): boolean {
  const enter = (places: Set<number>, place: number) => {
    places.add(place);
    if (tokens[place]?.kind === 'star') places.add(place + 1);
  };
  let places = new Set<number>();
  enter(places, 0);
  for (const code of start) {
    const next = new Set<number>();
    for (const place of places) {
      const token = tokens[place];
      if (token === undefined) continue;
      if (token.kind !== 'star') {
        if (tokenMatches(token, code)) enter(next, place + 1);
      } else if (code !== slash) {
        enter(next, place);
      }
    }
    places = next;
  }
  return places.size > 0;
}
