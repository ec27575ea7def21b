/** HPACK's static table (RFC 7541 Appendix A): index 1 is the first. */
import { field, type Field } from './field.ts';

// prettier-ignore
const entries: readonly (readonly [string, string?])[] = [
  [':authority'], [':method', 'GET'], [':method', 'POST'], [':path', '/'], [':path', '/index.html'], [':scheme', 'http'],
  [':scheme', 'https'], [':status', '200'], [':status', '204'], [':status', '206'], [':status', '304'], [':status', '400'],
  [':status', '404'], [':status', '500'], ['accept-charset'], ['accept-encoding', 'gzip, deflate'], ['accept-language'],
  ['accept-ranges'], ['accept'], ['access-control-allow-origin'], ['age'], ['allow'], ['authorization'], ['cache-control'],
  ['content-disposition'], ['content-encoding'], ['content-language'], ['content-length'], ['content-location'],
  ['content-range'], ['content-type'], ['cookie'], ['date'], ['etag'], ['expect'], ['expires'], ['from'], ['host'],
  ['if-match'], ['if-modified-since'], ['if-none-match'], ['if-range'], ['if-unmodified-since'], ['last-modified'], ['link'],
  ['location'], ['max-forwards'], ['proxy-authenticate'], ['proxy-authorization'], ['range'], ['referer'], ['refresh'],
  ['retry-after'], ['server'], ['set-cookie'], ['strict-transport-security'], ['transfer-encoding'], ['user-agent'],
  ['vary'], ['via'], ['www-authenticate'],
];

export const staticFields: readonly Field[] = entries.map(([name, value]) => field(name, value ?? ''));

/** Index of a name; the first where there are several. */
export const staticIndexOfName: ReadonlyMap<string, number> = new Map(
  entries.map(([name], i) => [name, i + 1] as const).reverse(),
);

/** Index of a status that the table has whole. */
export const staticIndexOfStatus: ReadonlyMap<number, number> = new Map(
  entries.flatMap(([name, value], i) => (name === ':status' ? [[Number(value), i + 1] as const] : [])),
);
