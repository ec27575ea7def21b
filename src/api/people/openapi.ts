/** The OpenAPI 3.1 document of the operators' listener: logins, tenants, keys, audit, approvals, console aside. */
import { adminRoutes, needsTwoPeople, type AdminRoute } from '../admin/index.ts';
import { errorAnswer, errorResponses, infoOf, jsonOf, operationOf } from '../admin/openapi.ts';
import { maxNewest, maxOldest } from './audit-query.ts';
import {
  approvalAnswer,
  approvalBody,
  approvalsAnswer,
  certificatesAnswer,
  keysAnswer,
  passwordBody,
  tenantAnswer,
  tenantsAnswer,
  verificationAnswer,
  waysAnswer,
  whoamiAnswer,
} from './schemas.ts';
import { maxKeysOfPage } from './tenant-reads.ts';

const prefix = '/v1/operators';
const ofTenant = `${prefix}/tenants/{tenant}`;

const tenant = {
  name: 'tenant',
  in: 'path',
  required: true,
  description: 'Name of a tenant.',
  schema: { type: 'string', maxLength: 63 },
};
const approvalId = {
  name: 'id',
  in: 'path',
  required: true,
  description: 'Of an approval.',
  schema: { type: 'string', pattern: '^[0-9a-f]{12}-[0-9a-f]{32}$' },
};
const approvalOfTwo = {
  name: 'x-sello-approval',
  in: 'header',
  description: 'What a second person has approved.',
  schema: { type: 'string' },
};
/** With the cookie of a session; tokens need none. */
const csrf = {
  name: 'x-sello-csrf',
  in: 'header',
  description: 'With a session: `csrf` of whoami.',
  schema: { type: 'string' },
};

const query = (name: string, description: string, schema: object) => ({
  name,
  in: 'query',
  description,
  schema,
});

const search = [
  query('since', 'From this time on.', { type: 'string', format: 'date-time' }),
  query('until', 'Before this time; not with `follow`.', { type: 'string', format: 'date-time' }),
  query('key', 'With this key.', { type: 'string', maxLength: 80 }),
  query('object', 'BUCKET or BUCKET/OBJECT, with * at the end for all that begin so.', {
    type: 'string',
    maxLength: 1300,
  }),
  query('identity', 'By this identity, or one that begins so.', { type: 'string', maxLength: 64 }),
  query('outcome', 'How it ended.', { type: 'string', enum: ['success', 'failure', 'unknown'] }),
  query('order', 'The newest first, or as they are found: of each stream in order.', {
    type: 'string',
    enum: ['newest', 'oldest'],
    default: 'newest',
  }),
  query(
    'limit',
    `Records at most: with \`newest\` 100 unless given and ${String(maxNewest)} at most, with \`oldest\` ${String(maxOldest)}.`,
    { type: 'integer', minimum: 1, maximum: maxOldest },
  ),
  query('follow', 'Goes on with what is written from now on, for ten minutes at most.', {
    type: 'boolean',
    default: false,
  }),
];

const page = [
  query('prefix', 'Names that begin so.', { type: 'string', maxLength: 80 }),
  query('after', '`next` of the page before.', { type: 'string', maxLength: 80 }),
  query('limit', 'Keys of a page.', { type: 'integer', minimum: 1, maximum: maxKeysOfPage, default: 25 }),
];

interface Described {
  readonly id: string;
  readonly summary: string;
  readonly parameters?: readonly object[];
  readonly body?: unknown;
  readonly status?: number;
  readonly answer?: unknown;
  readonly content?: object;
  readonly isOpen?: boolean;
}

/** An operation: method, and what it takes and gives. */
function one(method: 'get' | 'post', described: Described): object {
  const { id, summary, parameters = [], body, status = 200, answer, content, isOpen = false } = described;
  const all = method === 'post' && !isOpen ? [...parameters, csrf] : parameters;
  const given = content ?? (answer === undefined ? undefined : jsonOf(answer));
  return {
    [method]: {
      operationId: id,
      summary,
      ...(all.length === 0 ? {} : { parameters: all }),
      ...(body === undefined ? {} : { requestBody: { required: true, content: jsonOf(body) } }),
      ...(isOpen ? { security: [] } : {}),
      responses: {
        [status]: { description: 'Done', ...(given === undefined ? {} : { content: given }) },
        ...errorResponses,
      },
    },
  };
}

const html = { 'text/html': { schema: { type: 'string' } } };

const logins = {
  whoami: one('get', { id: 'whoami', summary: 'Who is asking', answer: whoamiAnswer }),
  ways: one('get', { id: 'ways', summary: 'The ways to log in', answer: waysAnswer, isOpen: true }),
  login: {
    ...one('get', {
      id: 'login-by-browser',
      summary: 'Go to the provider',
      parameters: [
        query('provider', 'One of `ways`.', { type: 'string' }),
        query('return', 'A path of this listener to go on at.', { type: 'string', default: '/' }),
      ],
      status: 302,
      isOpen: true,
    }),
    ...one('post', {
      id: 'login-by-password',
      summary: 'Log in at a directory; begins a session',
      body: passwordBody,
      answer: whoamiAnswer,
      isOpen: true,
    }),
  },
  callback: one('get', {
    id: 'callback',
    summary: 'Where the provider sends the browser back to',
    content: html,
    isOpen: true,
  }),
  logout: one('post', { id: 'logout', summary: 'End the session', status: 204 }),
  tenants: one('get', { id: 'tenants', summary: 'Where the person has a role', answer: tenantsAnswer }),
  'openapi.json': one('get', { id: 'document', summary: 'This document', answer: { type: 'object' } }),
};

const ofTenants: Readonly<Record<string, object>> = {
  '': one('get', {
    id: 'tenant',
    summary: 'How a tenant does',
    parameters: [tenant],
    answer: tenantAnswer,
  }),
  keys: one('get', {
    id: 'keys',
    summary: 'Keys by name, each with its versions',
    parameters: [tenant, ...page],
    answer: keysAnswer,
  }),
  certificates: one('get', {
    id: 'certificates',
    summary: 'Certificates that the tenant depends on, and when they end',
    parameters: [tenant],
    answer: certificatesAnswer,
  }),
  'audit/records': one('get', {
    id: 'audit-records',
    summary:
      'Records of the tenant’s trail as JSON lines, and a last line `{"search": …}` that says how it ended; empty lines mean nothing',
    parameters: [tenant, ...search],
    content: { 'application/x-ndjson': { schema: { type: 'string' } } },
  }),
  'audit/verification': {
    ...one('get', {
      id: 'verification',
      summary: 'What the latest verification of the trail found',
      parameters: [tenant],
      answer: verificationAnswer,
    }),
    ...one('post', {
      id: 'verify',
      summary: 'Verify the trail against its anchors, or go on with what is under way',
      parameters: [tenant],
      status: 202,
      answer: verificationAnswer,
    }),
  },
  approvals: {
    ...one('get', {
      id: 'approvals',
      summary: 'Requests that wait for a second person, and what became of others',
      parameters: [tenant],
      answer: approvalsAnswer,
    }),
    ...one('post', {
      id: 'request-approval',
      summary: 'Ask for a second person’s approval of the end of a key or a version',
      parameters: [tenant],
      body: approvalBody,
      status: 201,
      answer: approvalAnswer,
    }),
  },
  'approvals/{id}/approve': one('post', {
    id: 'approve',
    summary: 'Approve what another person asked for',
    parameters: [tenant, approvalId],
    answer: approvalAnswer,
  }),
  'approvals/{id}/withdraw': one('post', {
    id: 'withdraw',
    summary: 'End a request',
    parameters: [tenant, approvalId],
    answer: approvalAnswer,
  }),
};

function ofKeys(route: AdminRoute): [string, object] {
  const headers = [
    ...(route.method === 'POST' ? [csrf] : []),
    ...(needsTwoPeople(route) ? [{ ...approvalOfTwo, required: true }] : []),
  ];
  return [`${ofTenant}/${route.path}`, operationOf(route, [tenant, ...headers])];
}

/** The document as bytes. */
export function openApiOfPeople(version: string): Buffer {
  const document = {
    openapi: '3.1.0',
    info: infoOf('Sello operators’ API, for people', version),
    servers: [{ url: '/' }],
    paths: Object.fromEntries([
      ...Object.entries(logins).map(([path, each]) => [`${prefix}/${path}`, each]),
      ...Object.entries(ofTenants).map(([path, each]) => [
        path === '' ? ofTenant : `${ofTenant}/${path}`,
        each,
      ]),
      ...adminRoutes.filter(({ operation }) => operation !== undefined).map(ofKeys),
    ]),
    components: {
      responses: {
        Error: {
          description: 'What went wrong',
          content: jsonOf({
            anyOf: [
              errorAnswer,
              {
                type: 'object',
                description: 'Of logins.',
                required: ['error'],
                properties: { code: { type: 'string' }, error: { type: 'string' } },
              },
            ],
          }),
        },
      },
      securitySchemes: {
        token: { type: 'http', scheme: 'bearer', description: 'An access or ID token of a provider.' },
        session: { type: 'apiKey', in: 'cookie', name: '__Host-sello-session' },
      },
    },
    security: [{ token: [] }, { session: [] }],
  };
  return Buffer.from(`${JSON.stringify(document)}\n`);
}
