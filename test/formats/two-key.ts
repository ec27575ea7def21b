/**
 * An AES-GCM ciphertext that is valid under two keys: AES-GCM's tag is a polynomial in the hash key, and one block of ciphertext can
 * be chosen so that two polynomials give the tags wanted. Any format without a commitment opens it under both.
 */
import { createCipheriv, randomBytes } from 'node:crypto';

const reduction = 0xe1n << 120n;

function toNumber(bytes: Buffer): bigint {
  return BigInt(`0x${bytes.toString('hex')}`);
}

function toBytes(value: bigint): Buffer {
  return Buffer.from(value.toString(16).padStart(32, '0'), 'hex');
}

function multiply(x: bigint, y: bigint): bigint {
  let product = 0n;
  let shifted = y;
  for (let i = 127n; i >= 0n; i--) {
    if ((x >> i) & 1n) product ^= shifted;
    shifted = shifted & 1n ? (shifted >> 1n) ^ reduction : shifted >> 1n;
  }
  return product;
}

function power(x: bigint, exponent: bigint): bigint {
  let result = 1n << 127n;
  for (let square = x, rest = exponent; rest > 0n; rest >>= 1n) {
    if (rest & 1n) result = multiply(result, square);
    square = multiply(square, square);
  }
  return result;
}

function block(key: Buffer, input: Buffer): bigint {
  const cipher = createCipheriv('aes-256-ecb', key, null).setAutoPadding(false);
  return toNumber(cipher.update(input));
}

interface KeyAndNonce {
  readonly key: Buffer;
  readonly nonce: Buffer;
}

/** 32 bytes of ciphertext and a tag that both (key, nonce) pairs accept, with the same associated data. */
export function twoKeySegment(a: KeyAndNonce, b: KeyAndNonce, associatedData = Buffer.alloc(0)): Buffer {
  const padded = Buffer.concat([associatedData, Buffer.alloc((16 - (associatedData.length % 16)) % 16)]);
  const blocks: bigint[] = [];
  for (let at = 0; at < padded.length; at += 16) blocks.push(toNumber(padded.subarray(at, at + 16)));
  const first = toNumber(randomBytes(16));
  // Associated data, C0, the block looked for (0 for now), lengths in bits.
  blocks.push(first, 0n, (BigInt(associatedData.length * 8) << 64n) | BigInt(32 * 8));
  const sides = [a, b].map(({ key, nonce }) => {
    const hashKey = block(key, Buffer.alloc(16));
    const mask = block(key, Buffer.concat([nonce, Buffer.of(0, 0, 0, 1)]));
    let tag = mask;
    blocks.forEach((each, i) => (tag ^= multiply(each, power(hashKey, BigInt(blocks.length - i)))));
    return { hashKey, tag };
  }) as [{ hashKey: bigint; tag: bigint }, { hashKey: bigint; tag: bigint }];
  // The block X adds X·H² to either tag; both tags shall be one: X·(H1² + H2²) = tag1 + tag2.
  const [one, two] = sides;
  const squares = power(one.hashKey, 2n) ^ power(two.hashKey, 2n);
  const second = multiply(one.tag ^ two.tag, power(squares, (1n << 128n) - 2n));
  const tag = one.tag ^ multiply(second, power(one.hashKey, 2n));
  return Buffer.concat([toBytes(first), toBytes(second), toBytes(tag)]);
}
