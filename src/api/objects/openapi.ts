/** The OpenAPI 3.1 document of the object API: routes, parameters, headers and bodies from what the code uses. */
import { s3Errors } from '../../sse/s3-error.ts';
import { objectRoutes, objectsPrefix, type ObjectRoute, type ObjectRouteName } from './routes.ts';
import { completeBody, issueBody, issueItem, unwrapBody, unwrapItem } from './schemas.ts';

const summaries: Readonly<Record<ObjectRouteName, string>> = {
  seal: 'Seal an object, or a part of one: plaintext in, sealed stream out',
  open: 'Open an object, a part, or a range: sealed stream in, plaintext out',
  begin: 'Begin an object in parts: its envelope',
  complete: 'Complete an object in parts: its manifest',
  reseal: 'A new envelope for a copy, a rename, another key, or the newest version of the same key',
  plan: 'Which sealed bytes hold a range of plaintext',
  issue: 'Issue data keys, one or up to 1,000',
  unwrap: 'Unwrap data keys, one or up to 1,000',
  encryption: 'What a bucket does with requests that name no encryption',
  document: 'This document',
};

const stream = { 'application/octet-stream': { schema: { type: 'string', format: 'binary' } } };
const jsonOf = (schema: unknown) => ({ 'application/json': { schema } });

const customer = ['customer-algorithm', 'customer-key', 'customer-key-md5'];
const sse = 'x-amz-server-side-encryption';
const writeHeaders = [
  sse,
  `${sse}-aws-kms-key-id`,
  `${sse}-context`,
  `${sse}-bucket-key-enabled`,
  ...customer.map((name) => `${sse}-${name}`),
];
const readHeaders = customer.map((name) => `${sse}-${name}`);
const sourceHeaders = customer.map((name) => `x-amz-copy-source-server-side-encryption-${name}`);

const headers: Partial<Record<ObjectRouteName, readonly string[]>> = {
  seal: [...writeHeaders, 'x-sello-envelope'],
  open: [...readHeaders, 'range', 'x-sello-envelope', 'x-sello-sealed-length', 'x-sello-manifest-length'],
  begin: writeHeaders,
  complete: [...readHeaders, 'x-sello-envelope'],
  reseal: [...writeHeaders, ...sourceHeaders, 'x-sello-envelope'],
  plan: ['range'],
};

const bodies: Partial<Record<ObjectRouteName, unknown>> = {
  seal: stream,
  open: stream,
  plan: stream,
  complete: jsonOf(completeBody),
  issue: jsonOf({ oneOf: [issueItem, issueBody] }),
  unwrap: jsonOf({ oneOf: [unwrapItem, unwrapBody] }),
};

const binaryAnswers: readonly ObjectRouteName[] = ['seal', 'open', 'complete'];

function operationOf({ name, method, parameters }: ObjectRoute): unknown {
  const body = bodies[name];
  const content = binaryAnswers.includes(name) ? stream : jsonOf({ type: 'object' });
  return {
    [method.toLowerCase()]: {
      operationId: name,
      summary: summaries[name],
      parameters: [
        ...parameters.map((parameter) => ({
          name: parameter,
          in: 'query',
          required: parameter === 'bucket' || parameter === 'object',
          schema: { type: 'string' },
        })),
        ...(headers[name] ?? []).map((header) => ({
          name: header,
          in: 'header',
          required: false,
          schema: { type: 'string' },
        })),
      ],
      ...(body === undefined ? {} : { requestBody: { required: name !== 'plan', content: body } }),
      responses: {
        200: { description: 'Done', content },
        ...(name === 'open' ? { 206: { description: 'The range', content } } : {}),
        default: { $ref: '#/components/responses/Error' },
      },
    },
  };
}

/** The document as bytes. */
export function openApiDocument(version: string): Buffer {
  const error = {
    type: 'object',
    required: ['code', 'message', 'error', 'requestId'],
    properties: {
      code: {
        type: 'string',
        enum: Object.keys(s3Errors),
        description: 'S3’s code: hand it on to the client.',
      },
      message: { type: 'string' },
      error: { type: 'string', description: 'Code of docs/errors.md.' },
      requestId: { type: 'string' },
    },
  };
  const document = {
    openapi: '3.1.0',
    info: { title: 'Sello object API', version, license: { name: 'Apache-2.0', identifier: 'Apache-2.0' } },
    paths: Object.fromEntries(objectRoutes.map((route) => [objectsPrefix + route.path, operationOf(route)])),
    components: {
      responses: {
        Error: {
          description: 'An S3 error, as JSON, or as XML to those who accept that',
          content: { ...jsonOf(error), 'application/xml': { schema: { type: 'string' } } },
        },
      },
      securitySchemes: { mutualTLS: { type: 'mutualTLS' } },
    },
    security: [{ mutualTLS: [] }],
  };
  return Buffer.from(`${JSON.stringify(document)}\n`);
}
