/**
 * What a keystore holds for a key, in every layout KES ever wrote (docs/formats/kes-stored-key.md):
 * base64 of a protobuf message since 2024-02-29, JSON before. What we write, KES reads.
 */
import { decodeBase64, encodeBase64, secretBytes, secretCopy, wipe } from '../crypto/index.ts';
import { SelloError } from '../errors.ts';
import { parseAlgorithm, type KeyAlgorithm } from './algorithm.ts';
import { instant, parseInstant, zeroInstant, type Instant } from './instant.ts';
import { MasterKey, masterKeyBytes } from './material.ts';
import { FieldWriter, ProtobufError, readFields, varintLength } from './protobuf.ts';

const openBrace = 0x7b;

/** KES's numbers for key types and for the hash of the HMAC key. */
const typeNumbers: Readonly<Record<KeyAlgorithm, bigint>> = { AES256: 1n, ChaCha20: 2n };
const sha256Number = 1n;

/**
 * Reads a stored value. `value` stays the caller's, who wipes it.
 * @throws SelloError SELLO_STORED_KEY_UNREADABLE
 */
export function parseStoredKey(value: Buffer): MasterKey {
  return firstByte(value) === openBrace ? parseJson(value) : parseProtobuf(value);
}

/**
 * The value to store for a key: base64 of protobuf, the bytes KES itself would write. The caller wipes it.
 * @throws TypeError for a key without HMAC key, which KES cannot read in this layout
 */
export function formatStoredKey(key: MasterKey): Buffer {
  return key.lend((bytes, macKey) => {
    if (macKey === undefined) throw new TypeError('a stored key needs an HMAC key');
    const createdBy = Buffer.from(key.createdBy);
    const seconds = BigInt(key.createdAt.seconds);
    const nanoseconds = BigInt(key.createdAt.nanoseconds);
    // Every length of a nested message below is under 128, so its header is two bytes.
    const keyMessageBytes = 2 + masterKeyBytes + 2;
    const instantBytes =
      (seconds === 0n ? 0 : 1 + varintLength(seconds)) +
      (nanoseconds === 0n ? 0 : 1 + varintLength(nanoseconds));
    const createdByBytes =
      createdBy.length === 0 ? 0 : 1 + varintLength(BigInt(createdBy.length)) + createdBy.length;
    const message = secretBytes(2 * (2 + keyMessageBytes) + 2 + instantBytes + createdByBytes);
    const writer = new FieldWriter(message);
    writer.header(1, keyMessageBytes).header(1, masterKeyBytes).bytes(bytes);
    writer.varintTag(2).varint(typeNumbers[key.algorithm]);
    writer.header(2, keyMessageBytes).header(1, masterKeyBytes).bytes(macKey);
    writer.varintTag(2).varint(sha256Number);
    writer.header(3, instantBytes);
    if (seconds !== 0n) writer.varintTag(1).varint(seconds);
    if (nanoseconds !== 0n) writer.varintTag(2).varint(nanoseconds);
    if (createdBy.length > 0) writer.header(4, createdBy.length).bytes(createdBy);
    const value = encodeBase64(message);
    wipe(message);
    return value;
  });
}

function parseProtobuf(value: Buffer): MasterKey {
  const message = decodeBase64(value);
  if (message === undefined) throw unreadable('neither JSON nor base64');
  try {
    return readKeyMessage(message);
  } catch (error) {
    throw error instanceof ProtobufError ? unreadable(`not a protobuf key: ${error.message}`) : error;
  } finally {
    wipe(message);
  }
}

/** Nested messages that occur twice are merged, and of scalars the last counts: protobuf's rules. */
function readKeyMessage(message: Buffer): MasterKey {
  let key: Buffer | undefined;
  let type = 0n;
  let macKey: Buffer | undefined;
  let hash = 0n;
  let seconds = 0n;
  let nanoseconds = 0n;
  let createdBy = '';
  for (const { number, bytes } of readFields(message)) {
    if (bytes === undefined) continue;
    if (number === 1) {
      for (const field of readFields(bytes)) {
        if (field.number === 1) key = field.bytes ?? key;
        else if (field.number === 2) type = field.varint ?? type;
      }
    } else if (number === 2) {
      for (const field of readFields(bytes)) {
        if (field.number === 1) macKey = field.bytes ?? macKey;
        else if (field.number === 2) hash = field.varint ?? hash;
      }
    } else if (number === 3) {
      for (const field of readFields(bytes)) {
        if (field.number === 1) seconds = BigInt.asIntN(64, field.varint ?? seconds);
        else if (field.number === 2) nanoseconds = BigInt.asIntN(32, field.varint ?? nanoseconds);
      }
    } else if (number === 4) {
      createdBy = bytes.toString();
    }
  }
  const algorithm =
    type === typeNumbers.AES256 ? 'AES256' : type === typeNumbers.ChaCha20 ? 'ChaCha20' : undefined;
  if (algorithm === undefined) throw unreadable(`key type ${type} is not known`);
  if (key?.length !== masterKeyBytes)
    throw unreadable(`key: expected ${masterKeyBytes} bytes, got ${key?.length ?? 0}`);
  // KES panics on a protobuf key without HMAC key (it always writes one): such a value is damaged.
  if (macKey?.length !== masterKeyBytes || hash !== sha256Number) {
    throw unreadable(
      `HMAC key: expected ${masterKeyBytes} bytes for SHA-256, got ${macKey?.length ?? 0} for hash ${hash}`,
    );
  }
  // A damaged date must not cost the key.
  const createdAt = instant(Number(seconds), Number(nanoseconds)) ?? zeroInstant;
  return new MasterKey(key, macKey, { algorithm, createdAt, createdBy });
}

function parseJson(value: Buffer): MasterKey {
  const copy = secretCopy(value);
  let key: Buffer | undefined;
  try {
    const place = placeOfKey(copy);
    if (place === undefined) throw unreadable('JSON without "bytes"');
    key = decodeBase64(copy, place.start, place.end);
    // The rest may become strings; the key's own characters are blanked before.
    copy.fill(0x41, place.start, place.end);
    const facts = readJsonFacts(copy.toString());
    if (key?.length !== masterKeyBytes) {
      throw unreadable(
        `key: expected base64 of ${masterKeyBytes} bytes, got ${key?.length ?? 'something else'}`,
      );
    }
    return new MasterKey(key, undefined, facts);
  } finally {
    wipe(copy, key);
  }
}

/** Go matches names of JSON fields in any case; the last of equal names counts. */
function readJsonFacts(text: string): { algorithm: KeyAlgorithm; createdAt: Instant; createdBy: string } {
  let parsed: unknown;
  try {
    parsed = JSON.parse(text);
  } catch {
    throw unreadable('not valid JSON'); // no cause: its message would quote the value
  }
  let algorithm: KeyAlgorithm = 'AES256'; // what KES assumes where none is named
  let createdAt: Instant = zeroInstant;
  let createdBy = '';
  for (const [name, field] of Object.entries(parsed as Record<string, unknown>)) {
    if (field === null) continue;
    switch (name.toLowerCase()) {
      case 'version':
        if (typeof field !== 'string') throw unreadable('"version" is not a text');
        break;
      case 'algorithm': {
        const known = field === '' ? 'AES256' : typeof field === 'string' ? parseAlgorithm(field) : undefined;
        if (known === undefined) throw unreadable('"algorithm" is not known');
        algorithm = known;
        break;
      }
      case 'created_at': {
        const date = typeof field === 'string' ? parseInstant(field) : undefined;
        if (date === undefined) throw unreadable('"created_at" is not an RFC 3339 date');
        createdAt = date;
        break;
      }
      case 'created_by':
        if (typeof field !== 'string') throw unreadable('"created_by" is not a text');
        createdBy = field;
        break;
    }
  }
  return { algorithm, createdAt, createdBy };
}

const quote = 0x22;
const backslash = 0x5c;
const keyFieldName = Buffer.from('bytes');

/**
 * Where the value of the top-level member "bytes" stands, found without making a string of it. Assumes valid
 * JSON, which the caller checks afterwards; anything else yields no place or a wrong one, and is refused then.
 */
function placeOfKey(json: Buffer): { start: number; end: number } | undefined {
  let depth = 0;
  let nameIsKey = false;
  let place: { start: number; end: number } | undefined;
  for (let at = 0; at < json.length; at++) {
    const byte = json[at]!;
    if (byte === 0x7b || byte === 0x5b) depth++;
    else if (byte === 0x7d || byte === 0x5d) depth--;
    else if (byte === 0x2c) nameIsKey = false;
    if (byte !== quote) continue;
    const start = at + 1;
    at = endOfString(json, start);
    if (depth !== 1) continue;
    if (nameIsKey) place = { start, end: at };
    else nameIsKey = isKeyFieldName(json.subarray(start, at)) && nextVisible(json, at + 1) === 0x3a;
  }
  return place;
}

function endOfString(json: Buffer, start: number): number {
  let at = start;
  while (at < json.length && json[at] !== quote) at += json[at] === backslash ? 2 : 1;
  return Math.min(at, json.length);
}

function isKeyFieldName(name: Buffer): boolean {
  return name.length === keyFieldName.length && name.every((byte, i) => (byte | 0x20) === keyFieldName[i]);
}

function nextVisible(bytes: Buffer, from: number): number | undefined {
  for (let at = from; at < bytes.length; at++) {
    const byte = bytes[at]!;
    if (byte !== 0x20 && byte !== 0x09 && byte !== 0x0a && byte !== 0x0d) return byte;
  }
  return undefined;
}

function firstByte(bytes: Buffer): number | undefined {
  return nextVisible(bytes, 0);
}

/** `detail` says what is wrong without quoting the value. */
function unreadable(detail: string): SelloError {
  return new SelloError('SELLO_STORED_KEY_UNREADABLE', { detail });
}
