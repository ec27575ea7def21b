/** Addresses and names in LDAP: what a person typed, made safe for filters (RFC 4515) and for distinguished names (RFC 4514), and names compared. */

export interface LdapAddress {
  readonly host: string;
  readonly port: number;
  readonly startTls: boolean;
}

/** `ldaps://host[:636]` or `ldap://host[:389]`; undefined for anything more or less. */
export function parseLdapUrl(text: string): LdapAddress | undefined {
  const match = /^(ldaps?):\/\/([0-9A-Za-z.-]+|\[[0-9A-Fa-f:.]+\])(?::([1-9]\d{0,4}))?\/?$/.exec(text);
  if (match === null) return undefined;
  const startTls = match[1] === 'ldap';
  const port = match[3] === undefined ? (startTls ? 389 : 636) : Number(match[3]);
  return port > 65_535 ? undefined : { host: match[2]!.replace(/^\[|\]$/g, ''), port, startTls };
}

/** RFC 4515 §3. Nothing else: ldapts reads the escaped bytes of a character beyond ASCII as so many characters. */
export function escapeFilterValue(value: string): string {
  return value.replace(
    /[*()\\\0]/g,
    (character) => `\\${character.charCodeAt(0).toString(16).padStart(2, '0')}`,
  );
}

/** RFC 4514 §2.4, for one attribute value. */
export function escapeDnValue(value: string): string {
  let escaped = '';
  const characters = [...value];
  characters.forEach((character, i) => {
    const isEdge = i === 0 || i === characters.length - 1;
    if ('"+,;<>\\='.includes(character) || (character === '#' && i === 0) || (character === ' ' && isEdge)) {
      escaped += `\\${character}`;
    } else if (character < ' ' || character === '\x7f') {
      escaped += `\\${character.charCodeAt(0).toString(16).padStart(2, '0')}`;
    } else {
      escaped += character;
    }
  });
  return escaped;
}

/** Longer names are no group of ours. */
const maxDnCharacters = 4096;

/**
 * A distinguished name in the one form that is compared: types and values in lower case, blanks folded, escapes resolved and made
 * anew. Directories compare most attributes so (RFC 4517, caseIgnoreMatch). Undefined when it is no DN (RFC 4514 §3, and the semicolon
 * and quotes of RFC 2253).
 */
export function normalizeDn(text: string): string | undefined {
  if (text === '' || text.length > maxDnCharacters) return undefined;
  const names: string[][] = [[]];
  let at = 0;
  for (;;) {
    const type = /\s*([A-Za-z][\w-]*|\d+(?:\.\d+)*)\s*=\s*/y;
    type.lastIndex = at;
    const found = type.exec(text);
    if (found === null) return undefined;
    const value = readValue(text, type.lastIndex);
    if (value === undefined) return undefined;
    const folded = value.text.normalize('NFKC').toLowerCase().replace(/\s+/g, ' ').trim();
    names.at(-1)!.push(`${found[1]!.toLowerCase()}=${escapeDnValue(folded)}`);
    if (value.end === text.length) break;
    if (text[value.end] !== '+') names.push([]);
    at = value.end + 1;
  }
  // The parts of one relative name have no order (RFC 4514 §2.2).
  return names.map((parts) => parts.sort().join('+')).join(',');
}

/** A value without its escapes, and where it ends: at a separator or at the text's end. */
function readValue(text: string, from: number): { text: string; end: number } | undefined {
  const bytes: Buffer[] = [];
  const isQuoted = text[from] === '"';
  let at = isQuoted ? from + 1 : from;
  for (; at < text.length;) {
    const character = String.fromCodePoint(text.codePointAt(at)!);
    if (isQuoted ? character === '"' : ',;+'.includes(character)) break;
    if (!isQuoted && '"<>'.includes(character)) return undefined;
    if (character !== '\\') {
      bytes.push(Buffer.from(character, 'utf8'));
      at += character.length;
      continue;
    }
    const pair = text.slice(at + 1, at + 3);
    if (/^[0-9A-Fa-f]{2}$/.test(pair)) {
      bytes.push(Buffer.from(pair, 'hex'));
      at += 3;
    } else if (/^[ "#+,;<=>\\]/.test(pair)) {
      bytes.push(Buffer.from(pair[0]!));
      at += 2;
    } else return undefined;
  }
  if (isQuoted) {
    if (text[at] !== '"') return undefined;
    at++;
    while (text[at] === ' ') at++;
    if (at < text.length && !',;+'.includes(text[at]!)) return undefined;
  }
  try {
    const decoded = new TextDecoder('utf-8', { fatal: true, ignoreBOM: true }).decode(Buffer.concat(bytes));
    return { text: decoded, end: at };
  } catch {
    return undefined;
  }
}
