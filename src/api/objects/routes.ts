/** The routes of the object API as data: what the listener matches, what the OpenAPI document lists. */
import type { Operation } from '../../access/index.ts';

export type ObjectRouteName =
  | 'seal' | 'open' | 'begin' | 'complete' | 'reseal' | 'plan' | 'issue' | 'unwrap' | 'encryption' | 'document'; // prettier-ignore

export interface ObjectRoute {
  readonly name: ObjectRouteName;
  readonly method: 'GET' | 'POST';
  readonly path: string;
  /** What policies and records call it; routes without one tell nothing secret, to every identity the tenant knows. */
  readonly operation: Operation | undefined;
  /** Query parameters. Others are refused. */
  readonly parameters: readonly string[];
  /** Bytes of body, where it is not a stream. */
  readonly maxBody: number;
}

export const objectsPrefix = '/objects/v1/';

const place = ['bucket', 'object', 'version-id'] as const;
const mebibyte = 1_048_576;

export const objectRoutes: readonly ObjectRoute[] = [
  {
    name: 'seal',
    method: 'POST',
    path: 'seal',
    operation: 'seal',
    parameters: [...place, 'part', 'envelope'],
    maxBody: 0,
  },
  {
    name: 'open',
    method: 'POST',
    path: 'open',
    operation: 'open',
    parameters: [...place, 'part', 'envelope'],
    maxBody: 0,
  },
  {
    name: 'begin',
    method: 'POST',
    path: 'multipart/begin',
    operation: 'seal',
    parameters: place,
    maxBody: 0,
  },
  {
    name: 'complete',
    method: 'POST',
    path: 'multipart/complete',
    operation: 'seal',
    parameters: place,
    maxBody: 4 * mebibyte,
  },
  {
    name: 'reseal',
    method: 'POST',
    path: 'reseal',
    operation: 'seal',
    parameters: [...place, 'source-bucket', 'source-object', 'source-version-id', 'rewrap'],
    maxBody: 0,
  },
  {
    name: 'plan',
    method: 'POST',
    path: 'plan',
    operation: undefined,
    parameters: ['sealed-length', 'segment-bytes', 'part'],
    maxBody: mebibyte,
  },
  {
    name: 'issue',
    method: 'POST',
    path: 'keys/issue',
    operation: 'issue',
    parameters: [],
    maxBody: 2 * mebibyte,
  },
  {
    name: 'unwrap',
    method: 'POST',
    path: 'keys/unwrap',
    operation: 'unwrap',
    parameters: [],
    maxBody: 2 * mebibyte,
  },
  {
    name: 'encryption',
    method: 'GET',
    path: 'encryption',
    operation: undefined,
    parameters: ['bucket'],
    maxBody: 0,
  },
  { name: 'document', method: 'GET', path: 'openapi.json', operation: undefined, parameters: [], maxBody: 0 },
];
