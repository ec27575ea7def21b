/**
 * Bodies of Vault's API: one JSON object, whatever its content type says. Fields nobody knows are left alone; numbers, booleans and
 * durations may be text. Secret values are looked for as bytes where a route has them (see secretField).
 */
import { decodeBase64Into, secretBytes } from '../../crypto/index.ts';
import { fault, type VaultFault } from './answers.ts';

export type Fields = Readonly<Record<string, unknown>>;

const none: Fields = Object.freeze(Object.create(null) as Record<string, unknown>);

/** @throws VaultFault */
export function parseFields(body: Buffer): Fields {
  if (body.length === 0) return none;
  let value: unknown;
  try {
    value = JSON.parse(new TextDecoder('utf-8', { fatal: true }).decode(body), keepNumbers);
  } catch {
    throw fault(400, 'error parsing JSON');
  }
  if (value === null) return none;
  if (typeof value !== 'object' || Array.isArray(value) || JSON.isRawJSON(value))
    throw fault(400, 'error parsing JSON: expected an object');
  return value as Fields;
}

declare global {
  interface JSON {
    rawJSON(text: string): { readonly rawJSON: string };
    isRawJSON(value: unknown): value is { readonly rawJSON: string };
  }
}

/** A number that JavaScript would change stays as it was written. */
function keepNumbers(this: unknown, _name: string, value: unknown, context?: { source?: string }): unknown {
  if (typeof value !== 'number' || context?.source === undefined || String(value) === context.source)
    return value;
  return JSON.rawJSON(context.source);
}

/** @throws VaultFault where it is there and is no text */
export function textField(fields: Fields, name: string): string | undefined {
  const value = fields[name];
  if (value === undefined || value === null) return undefined;
  if (typeof value === 'string') return value;
  if (typeof value === 'number' || typeof value === 'boolean') return String(value);
  throw wrongType(name, 'a string');
}

/** @throws VaultFault */
export function numberField(fields: Fields, name: string): number | undefined {
  const value = fields[name];
  if (value === undefined || value === null || value === '') return undefined;
  const number = typeof value === 'string' && /^-?\d{1,15}$/.test(value) ? Number(value) : value;
  if (typeof number !== 'number' || !Number.isSafeInteger(number)) {
    const text = typeof value === 'string' ? value : JSON.stringify(value);
    throw fault(
      400,
      `error converting input for field "${name}": cannot parse '' as int: strconv.ParseInt: parsing ${JSON.stringify(text)}: invalid syntax`,
    );
  }
  return number;
}

/** @throws VaultFault */
export function booleanField(fields: Fields, name: string): boolean | undefined {
  const value = fields[name];
  if (value === undefined || value === null || value === '') return undefined;
  if (typeof value === 'boolean') return value;
  if (value === 1 || value === 0) return value === 1;
  if (typeof value === 'string') {
    if (['1', 't', 'T', 'true', 'TRUE', 'True'].includes(value)) return true;
    if (['0', 'f', 'F', 'false', 'FALSE', 'False'].includes(value)) return false;
  }
  throw wrongType(name, 'a boolean');
}

const units: Readonly<Record<string, number>> = { s: 1, m: 60, h: 3600, d: 86_400 };

/** Seconds, from a number or Go's form of a duration (`1h30m`, and Vault's `d`). @throws VaultFault */
export function secondsField(fields: Fields, name: string): number | undefined {
  const value = fields[name];
  if (value === undefined || value === null || value === '') return undefined;
  if (typeof value === 'number' && Number.isSafeInteger(value)) return value;
  if (typeof value === 'string') {
    if (/^-?\d{1,12}$/.test(value)) return Number(value);
    if (/^(?:\d{1,9}[smhd])+$/.test(value))
      return [...value.matchAll(/(\d+)([smhd])/g)].reduce(
        (sum, [, count, unit]) => sum + Number(count) * units[unit!]!,
        0,
      );
  }
  throw wrongType(name, 'a duration');
}

function wrongType(name: string, wanted: string): VaultFault {
  return fault(
    400,
    `Field validation failed: error converting input for field "${name}": expected ${wanted}`,
  );
}

/** What Go's decoder says of text that is not base64; the bytes otherwise, in memory of their own. */
export function decoded(text: string): Buffer | string {
  const source = Buffer.from(text, 'latin1');
  const target = secretBytes(Math.floor(source.length / 4) * 3);
  const isLatin = Buffer.byteLength(text) === text.length;
  const length = isLatin ? decodeBase64Into(target, source, 0, source.length) : -1;
  source.fill(0);
  if (length >= 0) return target.subarray(0, length);
  target.fill(0);
  return `illegal base64 data at input byte ${String(-1 - length)}`;
}

const marker = 0x23;

/** A request's fields, and the plaintexts in it as bytes. Its owner wipes them. */
export interface SecretFields {
  readonly fields: Fields;
  /** The bytes of a field's text, or what Go's decoder says of it. */
  bytesOf(text: string): Buffer | string;
  wipe(): void;
}

/**
 * Takes the values of `"plaintext"` out of a body before they become strings, which nothing can wipe: each gives way to `#NUMBER#…` of
 * its own length. `#` is in no base64, so a body that has one is read the plain way. `"plaintext"` between bare quotation marks and
 * before a colon is a name wherever it stands in JSON, because a quotation mark inside of a text has a backslash before it.
 * Overwrites `body`.
 * @throws VaultFault
 */
export function parseSecretFields(body: Buffer): SecretFields {
  const secrets: (Buffer | string)[] = [];
  const ends = (): void => {
    for (const secret of secrets) if (typeof secret !== 'string') secret.fill(0);
  };
  try {
    if (!body.includes(marker)) takeSecrets(body, secrets);
    const fields = parseFields(body);
    return {
      fields,
      bytesOf: (text) => (text.charCodeAt(0) === marker ? secretAt(secrets, text) : decoded(text)),
      wipe: ends,
    };
  } catch (error) {
    ends();
    throw error;
  } finally {
    body.fill(0);
  }
}

function secretAt(secrets: readonly (Buffer | string)[], text: string): Buffer | string {
  const number = Number(/^#(\d+)/.exec(text)?.[1] ?? NaN);
  return secrets[number] ?? 'illegal base64 data at input byte 0';
}

const namePattern = Buffer.from('"plaintext"');

function takeSecrets(body: Buffer, secrets: (Buffer | string)[]): void {
  let from = 0;
  for (;;) {
    const name = body.indexOf(namePattern, from);
    if (name === -1) return;
    let at = skipSpace(body, name + namePattern.length);
    from = at;
    if (body[at] !== 0x3a) continue;
    at = skipSpace(body, at + 1);
    if (body[at] !== 0x22) continue;
    const start = at + 1;
    const end = body.indexOf(0x22, start);
    from = end;
    const label = `#${String(secrets.length)}#`;
    // What is shorter, or has an escape in it, is no key.
    if (end === -1 || end - start < Math.max(4, label.length) || body.subarray(start, end).includes(0x5c)) {
      if (end === -1) return;
      continue;
    }
    const target = secretBytes(Math.floor((end - start) / 4) * 3);
    const length = decodeBase64Into(target, body, start, end);
    secrets.push(
      length >= 0 ? target.subarray(0, length) : `illegal base64 data at input byte ${String(-1 - length)}`,
    );
    if (length < 0) target.fill(0);
    body.fill(marker, start, end);
    body.write(label, start, 'latin1');
  }
}

function skipSpace(body: Buffer, from: number): number {
  let at = from;
  while (body[at] === 0x20 || body[at] === 0x0a || body[at] === 0x0d || body[at] === 0x09) at++;
  return at;
}
