/**
 * From a request target to a route, as Go's ServeMux does it (recordings wire/paths): the path is cleaned with a 301, each
 * segment is matched after percent-decoding, a missing final slash is a 301, and what follows the route is the name.
 */
import { kesRoutes, type KesRoute } from './routes.ts';

export interface RouteTarget {
  readonly kind: 'route';
  readonly route: KesRoute;
  readonly name: string;
  readonly path: string;
  readonly query: string;
}

export type KesTarget =
  | RouteTarget
  | { readonly kind: 'redirect'; readonly location: string }
  | { readonly kind: 'unknown' }
  | { readonly kind: 'malformed' };

const exact = new Map<string, KesRoute>();
const named = new Map<string, KesRoute>();
/** Routes with a name, without their final slash: a request for these is sent on to the slash. */
const unslashed = new Set<string>();
for (const route of kesRoutes) {
  if (route.path.endsWith('/')) {
    named.set(route.path, route);
    unslashed.add(route.path.slice(0, -1));
  } else exact.set(route.path, route);
}

const unknown: KesTarget = { kind: 'unknown' };
const malformed: KesTarget = { kind: 'malformed' };

/** Percent-decodes bytes; undefined for `%` without two hex digits. Invalid UTF-8 becomes U+FFFD, as Go prints it. */
function decode(text: string): string | undefined {
  if (!text.includes('%') && /^[\x20-\x7e]*$/.test(text)) return text;
  const source = Buffer.from(text, 'latin1');
  const out = Buffer.alloc(source.length);
  let length = 0;
  for (let i = 0; i < source.length; i++) {
    let byte = source[i]!;
    if (byte === 0x25) {
      const hex = source.toString('latin1', i + 1, i + 3);
      if (!/^[0-9a-fA-F]{2}$/.test(hex)) return undefined;
      byte = Number.parseInt(hex, 16);
      i += 2;
    }
    out[length++] = byte;
  }
  return out.toString('utf8', 0, length);
}

/** Go's path.Clean with the final slash kept, as ServeMux uses it. */
function clean(path: string): string {
  const out: string[] = [];
  for (const segment of path.split('/')) {
    if (segment === '' || segment === '.') continue;
    if (segment === '..') out.pop();
    else out.push(segment);
  }
  const last = path.slice(path.lastIndexOf('/') + 1);
  const slash = out.length > 0 && (last === '' || last === '.');
  return `/${out.join('/')}${slash ? '/' : ''}`;
}

/** True for paths that cleaning may change: an empty, `.` or `..` segment. */
function isUnclean(path: string): boolean {
  return path.includes('//') || path.includes('/.');
}

function redirect(path: string, query: string): KesTarget {
  return { kind: 'redirect', location: query === '' ? path : `${path}?${query}` };
}

function match(path: string, query: string): KesTarget {
  const whole = exact.get(path);
  if (whole !== undefined) return { kind: 'route', route: whole, name: '', path, query };
  // Named routes have three or four segments: /v1/key/generate/NAME, /v1/key/bulk/decrypt/NAME.
  let slash = path.indexOf('/', 4);
  for (let i = 0; i < 2 && slash !== -1; i++) {
    slash = path.indexOf('/', slash + 1);
    const route = slash === -1 ? undefined : named.get(path.slice(0, slash + 1));
    if (route !== undefined) return { kind: 'route', route, name: path.slice(slash + 1), path, query };
  }
  return unslashed.has(path) ? redirect(`${path}/`, query) : unknown;
}

/**
 * Targets of routes as they were resolved. Storage nodes ask for few keys again and again; a flood of different targets empties
 * the table instead of growing it.
 */
const resolved = new Map<string, KesTarget>();
const maxResolved = 1024;

/** Finds what a request target means. `url` is the raw target, such as `/v1/key/describe/app%2Dkey?x=1`. */
export function kesTarget(url: string): KesTarget {
  const known = resolved.get(url);
  if (known !== undefined) return known;
  const target = resolve(url);
  if (target.kind === 'route' && url.length <= 256) {
    if (resolved.size >= maxResolved) resolved.clear();
    resolved.set(url, target);
  }
  return target;
}

function resolve(url: string): KesTarget {
  const mark = url.indexOf('?');
  const rawPath = mark === -1 ? url : url.slice(0, mark);
  const query = mark === -1 ? '' : url.slice(mark + 1);
  if (!rawPath.startsWith('/')) return rawPath === '*' ? unknown : malformed;
  if (isUnclean(rawPath)) {
    const cleaned = clean(rawPath);
    if (cleaned !== rawPath) return decode(rawPath) === undefined ? malformed : redirect(cleaned, query);
  }
  if (!rawPath.includes('%') && /^[\x21-\x7e]*$/.test(rawPath)) return match(rawPath, query);
  const decoded = decode(rawPath);
  if (decoded === undefined) return malformed;
  // An encoded slash separates no segments: the route is matched on the raw path's own slashes.
  const segments = rawPath.split('/').map((segment) => decode(segment) ?? '');
  for (let depth = 4; depth <= 5 && depth < segments.length + 1; depth++) {
    const prefix = segments.slice(0, depth).join('/') + '/';
    const route = named.get(prefix);
    if (
      route !== undefined &&
      segments.length > depth &&
      !segments.slice(0, depth).some((s) => s.includes('/'))
    ) {
      return { kind: 'route', route, name: segments.slice(depth).join('/'), path: decoded, query };
    }
  }
  if (segments.some((segment) => segment.includes('/'))) return unknown;
  return match(decoded, query);
}
