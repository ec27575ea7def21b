/** Header fields as RFC 9113 §8 wants them, each judged once, when it is first read. */

/** What a field may be used for. */
export const fieldKind = {
  regular: 0,
  method: 1,
  scheme: 2,
  path: 3,
  authority: 4,
  /** Makes its request malformed. */
  malformed: 5,
} as const;
export type FieldKind = (typeof fieldKind)[keyof typeof fieldKind];

export interface Field {
  readonly name: string;
  readonly value: string;
  readonly kind: FieldKind;
  /** As HPACK and SETTINGS_MAX_HEADER_LIST_SIZE count it (RFC 7541 §4.1). */
  readonly bytes: number;
}

export const fieldOverheadBytes = 32;

const pseudo: Readonly<Record<string, FieldKind>> = {
  ':method': fieldKind.method,
  ':scheme': fieldKind.scheme,
  ':path': fieldKind.path,
  ':authority': fieldKind.authority,
};

/** Fields of one hop of HTTP/1.1, which make a request malformed in HTTP/2 (RFC 9113 §8.2.2). */
export const connectionSpecific: ReadonlySet<string> = new Set([
  'connection',
  'keep-alive',
  'proxy-connection',
  'transfer-encoding',
  'upgrade',
]);

/** tchar of RFC 9110 §5.6.2 without capitals (RFC 9113 §8.2.1). */
const namePattern = /^[!#$%&'*+\-.^_`|~0-9a-z]+$/;

/** No control character, which is stricter than RFC 9113 §8.2.1 and what Go's servers want, and no blank at either end. */
function isValue(value: string): boolean {
  for (let i = 0; i < value.length; i++) {
    const code = value.charCodeAt(i);
    if ((code < 32 && code !== 9) || code === 127) return false;
  }
  return !isBlank(value.charCodeAt(0)) && !isBlank(value.charCodeAt(value.length - 1));
}

function isBlank(code: number): boolean {
  return code === 32 || code === 9;
}

function kindOf(name: string, value: string): FieldKind {
  if (!isValue(value)) return fieldKind.malformed;
  if (name.charCodeAt(0) === 58) return pseudo[name] ?? fieldKind.malformed;
  if (!namePattern.test(name) || connectionSpecific.has(name)) return fieldKind.malformed;
  return name === 'te' && value !== 'trailers' ? fieldKind.malformed : fieldKind.regular;
}

/** @param name and value as bytes in latin1 */
export function field(name: string, value: string): Field {
  return { name, value, kind: kindOf(name, value), bytes: name.length + value.length + fieldOverheadBytes };
}
