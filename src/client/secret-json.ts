/**
 * JSON bodies that carry secrets, as bytes: base64 fields are written and read without ever being a string, so that
 * they can be wiped (style: keys are bytes).
 */
import { base64Length, decodeBase64, encodeBase64Into } from '../crypto/index.ts';

/** `{"name":"base64", …}` from the fields that are not undefined. */
export function writeBase64Fields(fields: Readonly<Record<string, Uint8Array | string | undefined>>): Buffer {
  const parts: (Buffer | { readonly secret: Uint8Array })[] = [];
  for (const [name, value] of Object.entries(fields)) {
    if (value === undefined) continue;
    const lead = `${parts.length === 0 ? '{' : ','}${JSON.stringify(name)}:`;
    if (typeof value === 'string') {
      parts.push(Buffer.from(lead + JSON.stringify(value)));
    } else {
      parts.push(Buffer.from(`${lead}"`), { secret: value }, Buffer.from('"'));
    }
  }
  parts.push(Buffer.from(parts.length === 0 ? '{}' : '}'));
  const length = parts.reduce(
    (sum, part) => sum + (Buffer.isBuffer(part) ? part.length : base64Length(part.secret.length)),
    0,
  );
  const body = Buffer.allocUnsafeSlow(length);
  let at = 0;
  for (const part of parts) {
    at = Buffer.isBuffer(part) ? at + part.copy(body, at) : encodeBase64Into(body, at, part.secret);
  }
  return body;
}

/**
 * The bytes of the base64 field `name` of a flat JSON object, read where they stand. `undefined` when there is none.
 * KES writes such fields without escapes or space before the value; space is tolerated.
 */
export function readBase64Field(body: Buffer, name: string): Buffer | undefined {
  const key = body.indexOf(`"${name}"`);
  if (key < 0) return undefined;
  let at = key + name.length + 2;
  const skipSpace = () => {
    while (at < body.length && body[at]! <= 0x20) at++;
  };
  skipSpace();
  if (body[at++] !== 0x3a) return undefined;
  skipSpace();
  if (body[at++] !== 0x22) return undefined;
  const end = body.indexOf(0x22, at);
  return end < 0 ? undefined : decodeBase64(body, at, end);
}
