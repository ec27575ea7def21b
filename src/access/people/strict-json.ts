/**
 * JSON of tokens and providers, in which no name may stand twice: with two `aud` or `sub` one reader takes the first, another the
 * last (RFC 7519 §4 lets a reader refuse such claims; RFC 8725 §2.4 tells why it should).
 */

/** Claims nest two or three deep. */
const maxDepth = 32;

/** @throws SyntaxError for anything that is no JSON text, repeats a name, or nests too deep */
export function parseStrictJson(text: string): unknown {
  const value: unknown = JSON.parse(text);
  refuseRepeatedNames(text);
  return value;
}

/** `text` is JSON already: only strings, braces and brackets matter. */
function refuseRepeatedNames(text: string): void {
  const open: (Set<string> | undefined)[] = [];
  const token = /"[^"\\]*(?:\\.[^"\\]*)*"|[{}[\]:]/gy;
  const gap = /[^"{}[\]:]*/y;
  let last: string | undefined;
  let at = 0;
  while (at < text.length) {
    gap.lastIndex = at;
    gap.exec(text);
    token.lastIndex = gap.lastIndex;
    const found = token.exec(text)?.[0];
    if (found === undefined) return;
    at = token.lastIndex;
    if (found === '{' || found === '[') {
      if (open.push(found === '{' ? new Set() : undefined) > maxDepth)
        throw new SyntaxError('nested too deep');
    } else if (found === '}' || found === ']') {
      open.pop();
    } else if (found === ':') {
      // Escapes spell one name in many ways.
      const name = JSON.parse(last!) as string;
      const names = open.at(-1)!;
      if (name === '__proto__') throw new SyntaxError('name __proto__');
      if (names.has(name)) throw new SyntaxError('a name stands twice');
      names.add(name);
    } else {
      last = found;
    }
  }
}

/** True for what `{…}` makes. */
export function isObject(value: unknown): value is Record<string, unknown> {
  return typeof value === 'object' && value !== null && !Array.isArray(value);
}
