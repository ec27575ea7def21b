/**
 * From a request target to a route and the place of an object. Bucket and object are query parameters, percent-encoded: names of
 * objects have slashes, dots and empty segments that a path would lose on its way through a proxy or a cleaner.
 */
import { invalidArgument } from '../../sse/s3-error.ts';
import { objectRoutes, objectsPrefix, type ObjectRoute } from './routes.ts';

const byPath = new Map(objectRoutes.map((route) => [objectsPrefix + route.path, route]));

export interface ObjectTarget {
  readonly route: ObjectRoute;
  /** As it came; empty when there is none. */
  readonly query: string;
}

/** undefined: not a route of this face. */
export function objectTarget(url: string): ObjectTarget | undefined {
  if (!url.startsWith(objectsPrefix)) return undefined;
  const mark = url.indexOf('?');
  const route = byPath.get(mark === -1 ? url : url.slice(0, mark));
  return route === undefined ? undefined : { route, query: mark === -1 ? '' : url.slice(mark + 1) };
}

/** Decodes a query strictly: every name once, nothing unknown, valid UTF-8. @throws S3Error InvalidArgument */
export function parametersOf({ route, query }: ObjectTarget): ReadonlyMap<string, string> {
  const parameters = new Map<string, string>();
  if (query === '') return parameters;
  for (const pair of query.split('&')) {
    const equals = pair.indexOf('=');
    const name = equals === -1 ? pair : pair.slice(0, equals);
    if (!route.parameters.includes(name)) throw invalidArgument(`Query parameter is not known here.`);
    if (parameters.has(name)) throw invalidArgument(`Query parameter ${name} may be there once.`);
    let value: string;
    try {
      value = decodeURIComponent(equals === -1 ? '' : pair.slice(equals + 1));
    } catch {
      throw invalidArgument(`Query parameter ${name} is not percent-encoded UTF-8.`);
    }
    parameters.set(name, value);
  }
  return parameters;
}

/** S3: keys of at most 1,024 bytes; buckets of 3 to 63 characters, and older ones of up to 255. */
const maxObjectNameBytes = 1024;
const maxBucketNameBytes = 255;

export interface NamedPlace {
  readonly bucket: string;
  readonly object: string;
  readonly versionId: string | undefined;
}

/** @param prefix `source-` for the source of a copy */
export function placeOf(parameters: ReadonlyMap<string, string>, prefix = ''): NamedPlace {
  const bucket = parameters.get(`${prefix}bucket`);
  const object = parameters.get(`${prefix}object`);
  const versionId = parameters.get(`${prefix}version-id`);
  checkName(bucket, `${prefix}bucket`, maxBucketNameBytes);
  checkName(object, `${prefix}object`, maxObjectNameBytes);
  if (versionId !== undefined) checkName(versionId, `${prefix}version-id`, maxObjectNameBytes);
  return { bucket: bucket!, object: object!, versionId };
}

export function checkName(name: string | undefined, what: string, maxBytes: number): void {
  if (name === undefined || name === '') throw invalidArgument(`Query parameter ${what} is missing.`);
  if (!name.isWellFormed() || Buffer.byteLength(name) > maxBytes)
    throw invalidArgument(`${what} is longer than ${String(maxBytes)} bytes or not Unicode.`);
  if (what.endsWith('bucket') && name.includes('/'))
    throw invalidArgument('A bucket has no slash in its name.');
}

export function checkBucketAndObject(bucket: string, object: string): void {
  checkName(bucket, 'bucket', maxBucketNameBytes);
  checkName(object, 'object', maxObjectNameBytes);
}

const wholeNumber = /^(?:0|[1-9]\d{0,15})$/;

/** A whole number, digits alone. @throws S3Error InvalidArgument */
export function wholeNumberOf(text: string | undefined, what: string): number | undefined {
  if (text === undefined) return undefined;
  const value = Number(text);
  if (!wholeNumber.test(text) || !Number.isSafeInteger(value))
    throw invalidArgument(`${what} is not a whole number.`);
  return value;
}
