/** The encryption context of a KES request as policy conditions see it. */
import type { KesRoute } from './routes.ts';
import { parseObject, parseObjects } from './json.ts';

/**
 * Entries of the context in a request body: MinIO sends a JSON object of strings, base64-coded. Empty when there is none; undefined when it
 * is something else, so that a rule that asks for entries cannot be judged.
 */
export function contextOfBody(route: KesRoute, body: Buffer): Readonly<Record<string, string>> | undefined {
  if (!bound.has(route.name)) return undefined;
  if (body.length === 0) return {};
  if (route.name === 'key-bulk-decrypt') {
    // One decision covers the batch, so the items must agree on their context.
    const items = parseObjects(body, { context: 'bytes' }, 1000);
    if (items === undefined || items === 'too many') return undefined;
    const [first, ...rest] = items;
    const same = rest.every((item) => (item.context ?? none).equals(first?.context ?? none));
    return same ? entries(first?.context) : undefined;
  }
  const request = parseObject(body, { context: 'bytes' });
  return request === undefined ? undefined : entries(request.context);
}

/** Routes that bind their answer to the context: elsewhere a field of that name says nothing, and no rule may believe it. */
const bound: ReadonlySet<string> = new Set([
  'key-generate',
  'key-encrypt',
  'key-decrypt',
  'key-bulk-decrypt',
]);

const none = Buffer.alloc(0);

function entries(context: Buffer | undefined): Readonly<Record<string, string>> | undefined {
  if (context === undefined || context.length === 0) return {};
  let value: unknown;
  try {
    value = JSON.parse(context.toString('utf8'));
  } catch {
    return undefined;
  }
  if (value === null || typeof value !== 'object' || Array.isArray(value)) return undefined;
  const map: Record<string, string> = Object.create(null) as Record<string, string>;
  for (const [name, entry] of Object.entries(value)) {
    if (typeof entry !== 'string') return undefined;
    map[name] = entry;
  }
  return map;
}
