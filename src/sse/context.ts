/**
 * What a data key is bound to when a master key issues it: the client's own encryption context and the object's place, written as
 * MinIO writes it (canonical JSON: names sorted as bytes, `<`, `>` and `&` escaped). The envelope binds the
 * place a second time, in an encoding without doubt; this one makes data keys of other servers' objects open.
 */
import { SelloError } from '../errors.ts';
import type { ObjectBinding } from '../formats/index.ts';
import { goJson } from '../go-json.ts';

export type EncryptionContext = Readonly<Record<string, string>>;

/** AWS allows 8 KiB in a header; a key server's context should stay a label. */
export const maxContextBytes = 2048;

/** One text for one map, whatever the order it was written in. An empty map is no bytes at all. */
export function canonicalContext(context: EncryptionContext): Buffer {
  const entries = Object.entries(context).map(([name, value]) => ({
    name: Buffer.from(name),
    text: `${goJson(name)}:${goJson(value)}`,
  }));
  if (entries.length === 0) return Buffer.alloc(0);
  entries.sort((a, b) => Buffer.compare(a.name, b.name));
  return Buffer.from(`{${entries.map(({ text }) => text).join(',')}}`);
}

/**
 * A client's context, from the JSON it sent.
 * @returns undefined when it is not an object of strings
 */
export function parseContext(json: Buffer): EncryptionContext | undefined {
  if (json.length === 0) return {};
  let value: unknown;
  try {
    value = JSON.parse(new TextDecoder('utf-8', { fatal: true }).decode(json));
  } catch {
    return undefined;
  }
  if (value === null || typeof value !== 'object' || Array.isArray(value)) return undefined;
  const context = Object.create(null) as Record<string, string>;
  for (const [name, entry] of Object.entries(value)) {
    if (typeof entry !== 'string' || !entry.isWellFormed() || !name.isWellFormed()) return undefined;
    context[name] = entry;
  }
  return context;
}

/**
 * The whole context of a data key: the client's entries, and `BUCKET: BUCKET/OBJECT` (`BUCKET: BUCKET` for a key that serves a bucket).
 * @throws SelloError SELLO_OBJECT_NOT_AUTHENTIC when the client's own context claims another place
 */
export function dataKeyContext(
  { bucket, object }: Pick<ObjectBinding, 'bucket' | 'object'>,
  context: EncryptionContext,
  isBucketKey: boolean,
): Record<string, string> {
  const place = isBucketKey ? bucket : `${bucket}/${object}`;
  /* Precondition: a context that names another place would let a data key move there. */
  if (Object.hasOwn(context, bucket) && context[bucket] !== place)
    throw new SelloError('SELLO_OBJECT_NOT_AUTHENTIC', { detail: 'context names another place' });
  return Object.assign(Object.create(null) as Record<string, string>, context, { [bucket]: place });
}
