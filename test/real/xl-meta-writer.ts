/**
 * `xl.meta` written again with changes, to put objects of our own making in front of a MinIO server. The file's end (inline data) stays; the
 * checksum of the versions is the low half of xxHash64 (github.com/Cyan4973/xxHash/blob/dev/doc/xxhash_spec.md).
 */
import { PackReader, type Packed } from '../../src/sse/msgpack.ts';

/** Calls `change` with the newest version's object, and gives the file with what it changed. */
export function rewritten(bytes: Buffer, change: (object: Map<string, Packed>) => void): Buffer {
  const outer = new PackReader(bytes, 8);
  const body = outer.value();
  if (!Buffer.isBuffer(body)) throw new Error('not an xl.meta of today');
  outer.value(); // the old checksum
  const tail = bytes.subarray(outer.at);
  const reader = new PackReader(body);
  const head = [reader.value(), reader.value(), reader.value()];
  const summary = reader.value();
  const packed = reader.value();
  const rest = body.subarray(reader.at);
  const version = Buffer.isBuffer(packed) ? new PackReader(packed).value() : undefined;
  const object = version instanceof Map ? version.get('V2Obj') : undefined;
  if (!(version instanceof Map) || !(object instanceof Map)) throw new Error('newest version is no object');
  change(object);
  const again = Buffer.concat([...[...head, summary, pack(version)].map(pack), rest]);
  const checksum = Buffer.alloc(5, 0xce);
  checksum.writeUInt32BE(Number(xxHash64(again) & 0xffffffffn), 1);
  return Buffer.concat([bytes.subarray(0, 8), pack(again), checksum, tail]);
}

function sized(type: number, length: number): Buffer {
  const bytes = Buffer.alloc(5, type);
  bytes.writeUInt32BE(length, 1);
  return bytes;
}

/** Every length in four bytes: longer than need be, and legal. */
function pack(value: Packed): Buffer {
  if (value === null) return Buffer.of(0xc0);
  if (typeof value === 'boolean') return Buffer.of(value ? 0xc3 : 0xc2);
  if (typeof value === 'number' || typeof value === 'bigint') {
    const bytes = Buffer.alloc(9, 0xd3);
    bytes.writeBigInt64BE(BigInt.asIntN(64, BigInt(value)), 1);
    return bytes;
  }
  if (typeof value === 'string') {
    const text = Buffer.from(value);
    return Buffer.concat([sized(0xdb, text.length), text]);
  }
  if (Buffer.isBuffer(value)) return Buffer.concat([sized(0xc6, value.length), value]);
  if (Array.isArray(value)) return Buffer.concat([sized(0xdd, value.length), ...value.map(pack)]);
  const entries = [...value].flatMap(([name, entry]) => [pack(name), pack(entry)]);
  return Buffer.concat([sized(0xdf, value.size), ...entries]);
}

const [p1, p2, p3, p4, p5] = [
  0x9e3779b185ebca87n,
  0xc2b2ae3d27d4eb4fn,
  0x165667b19e3779f9n,
  0x85ebca77c2b2ae63n,
  0x27d4eb2f165667c5n,
] as const;
const word = (value: bigint): bigint => BigInt.asUintN(64, value);
const rotated = (value: bigint, bits: bigint): bigint => word((value << bits) | (value >> (64n - bits)));
const round = (sum: bigint, lane: bigint): bigint => word(rotated(word(sum + lane * p2), 31n) * p1);

export function xxHash64(bytes: Buffer): bigint {
  let at = 0;
  let sum: bigint = p5;
  if (bytes.length >= 32) {
    const lanes = [word(p1 + p2), p2, 0n, word(-p1)];
    for (; at + 32 <= bytes.length; at += 32)
      for (const i of lanes.keys()) lanes[i] = round(lanes[i]!, bytes.readBigUInt64LE(at + 8 * i));
    sum = word([1n, 7n, 12n, 18n].reduce((all, bits, i) => all + rotated(lanes[i]!, bits), 0n));
    for (const lane of lanes) sum = word((sum ^ round(0n, lane)) * p1 + p4);
  }
  sum = word(sum + BigInt(bytes.length));
  for (; at + 8 <= bytes.length; at += 8)
    sum = word(rotated(sum ^ round(0n, bytes.readBigUInt64LE(at)), 27n) * p1 + p4);
  for (; at + 4 <= bytes.length; at += 4)
    sum = word(rotated(sum ^ word(BigInt(bytes.readUInt32LE(at)) * p1), 23n) * p2 + p3);
  for (; at < bytes.length; at++) sum = word(rotated(sum ^ word(BigInt(bytes[at]!) * p5), 11n) * p1);
  sum = word((sum ^ (sum >> 33n)) * p2);
  sum = word((sum ^ (sum >> 29n)) * p3);
  return sum ^ (sum >> 32n);
}
