/** The OpenAPI 3.1 document of the operators' API: routes and bodies from what the code uses. */
import { adminPrefix, adminRoutes, type AdminRoute, type AdminRouteName } from './routes.ts';
import {
  acceptedAnswer,
  emptyBody,
  heldAnswer,
  holdsAnswer,
  importBody,
  keyringAnswer,
  receiptAndKeyringAnswer,
  receiptAnswer,
  rewrapAnswer,
  rewrapBody,
  settingsBody,
  tokenBody,
  useAnswer,
  waitBody,
} from './schemas.ts';

const summaries: Readonly<Record<AdminRouteName, string>> = {
  keyring: 'A key with its versions and their states',
  use: 'When each version sealed and opened something last, of all replicas',
  holds: 'What is held of a key, because the keystore could not be reached when it was asked for',
  create: 'A new key of random bytes',
  import: 'A new key of bytes that the caller has',
  delete: 'End a key at once, as KES’s clients do; nothing calls it off',
  rotate: 'A new newest version, which seals from now on',
  enable: 'Take a disabled key into use again',
  disable: 'End all use of a key until it is enabled again',
  settings: 'Minimum version, rewrap only, crossing faces, rotation on schedule',
  rewrap: 'Up to 1,000 ciphertexts under the newest version; no data key leaves',
  'schedule-deletion': 'End a key after a waiting period, and all its use at once',
  'cancel-deletion': 'Call a deletion off; the key stays disabled',
  destroy: 'End a key whose deletion is due',
  'enable-version': 'Take a disabled version into use again',
  'disable-version': 'End all use of a version until it is enabled again',
  'compromise-version':
    'Seal no more with a version, and tell of each use; a new version takes over where none is left',
  'schedule-destruction': 'Ask for the end of a disabled version after a waiting period',
  'cancel-destruction': 'Call that off',
  'destroy-version': 'End a version that is disabled, waited for and quiet',
  'accept-restore': 'Take an older state of the keystore for the right one, after a restore',
  document: 'This document',
};

export const jsonOf = (schema: unknown) => ({ 'application/json': { schema } });

const bodies: Partial<Record<AdminRouteName, unknown>> = {
  import: importBody,
  rewrap: rewrapBody,
  settings: settingsBody,
  enable: tokenBody,
  'enable-version': tokenBody,
  'cancel-deletion': tokenBody,
  'schedule-deletion': waitBody,
  'schedule-destruction': waitBody,
};

/** What a route answers with; most answer with the key as it is then. */
export const answers: Partial<Record<AdminRouteName, unknown>> = {
  use: useAnswer,
  holds: holdsAnswer,
  rewrap: rewrapAnswer,
  delete: receiptAnswer,
  destroy: receiptAnswer,
  'destroy-version': receiptAndKeyringAnswer,
  'accept-restore': acceptedAnswer,
  document: { type: 'object' },
};

/** What restricts, or takes a restriction back, also while the keystore is away. */
const mayBeHeld: ReadonlySet<AdminRouteName> = new Set([
  'disable',
  'enable',
  'disable-version',
  'enable-version',
  'compromise-version',
  'schedule-deletion',
  'cancel-deletion',
]);

const parameters = {
  key: {
    name: 'key',
    in: 'path',
    required: true,
    description: 'Name of a key.',
    schema: { type: 'string', maxLength: 80 },
  },
  version: {
    name: 'version',
    in: 'path',
    required: true,
    description: 'Number of a version.',
    schema: { type: 'integer', minimum: 1 },
  },
};

/** What went wrong, by status: the form is one, the code tells. */
export const errorResponses = {
  '4XX': { $ref: '#/components/responses/Error' },
  '5XX': { $ref: '#/components/responses/Error' },
};

/** One operation of the document. `more`: parameters of the path before it, or headers. */
export function operationOf({ name, method, path }: AdminRoute, more: readonly unknown[] = []): object {
  const named = (['key', 'version'] as const).filter((parameter) => path.includes(`{${parameter}}`));
  const all = [...more, ...named.map((parameter) => parameters[parameter])];
  return {
    [method.toLowerCase()]: {
      operationId: name,
      summary: summaries[name],
      ...(all.length === 0 ? {} : { parameters: all }),
      ...(method === 'POST'
        ? {
            requestBody: {
              required: name === 'import' || name === 'rewrap' || name === 'settings',
              content: jsonOf(bodies[name] ?? emptyBody),
            },
          }
        : {}),
      responses: {
        200: { description: 'Done', content: jsonOf(answers[name] ?? keyringAnswer) },
        ...(mayBeHeld.has(name)
          ? {
              202: {
                description:
                  'In force on replicas; the keystore cannot be reached, and gets it when it is back',
                content: jsonOf(heldAnswer),
              },
            }
          : {}),
        ...errorResponses,
      },
    },
  };
}

export const errorAnswer = {
  type: 'object',
  required: ['message', 'requestId'],
  properties: {
    code: { type: 'string', description: 'Code of docs/errors.md.' },
    message: { type: 'string' },
    requestId: { type: 'string' },
  },
};

/** What both documents say of Sello. */
export function infoOf(title: string, version: string): object {
  return { title, version, license: { name: 'Apache-2.0', identifier: 'Apache-2.0' } };
}

/** The document as bytes. */
export function openApiDocument(version: string): Buffer {
  const document = {
    openapi: '3.1.0',
    info: infoOf('Sello operators’ API, by certificate', version),
    servers: [{ url: '/' }],
    paths: Object.fromEntries(adminRoutes.map((route) => [adminPrefix + route.path, operationOf(route)])),
    components: {
      responses: { Error: { description: 'What went wrong', content: jsonOf(errorAnswer) } },
      securitySchemes: { mutualTLS: { type: 'mutualTLS' } },
    },
    security: [{ mutualTLS: [] }],
  };
  return Buffer.from(`${JSON.stringify(document)}\n`);
}
