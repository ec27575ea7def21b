/**
 * IP addresses and CIDR blocks (RFC 4632, RFC 4291). An IPv4-mapped IPv6 address (`::ffff:192.0.2.1`) is the IPv4
 * address it maps, so that a dual-stack listener and an IPv4 one mean the same. IPv6 blocks never hold IPv4 addresses.
 */
import { isIP } from 'node:net';

/** 4 or 16 bytes. */
export type IpAddress = Uint8Array;

/** Returns undefined for anything that is not an IP address. A zone (`fe80::1%eth0`) is dropped. */
export function parseIp(text: string): IpAddress | undefined {
  const zone = text.indexOf('%');
  const address = zone < 0 ? text : text.slice(0, zone);
  const version = isIP(address);
  if (version === 0) return undefined;
  if (version === 4) return Uint8Array.from(address.split('.'), Number);
  const bytes = parseIp6(address);
  return isMapped(bytes) ? bytes.slice(12) : bytes;
}

/** The text is known to be a valid IPv6 address. */
function parseIp6(text: string): Uint8Array {
  let address = text;
  const dotted = /(?<=:)(\d+)\.(\d+)\.(\d+)\.(\d+)$/.exec(address);
  if (dotted !== null) {
    const [a, b, c, d] = dotted.slice(1).map(Number) as [number, number, number, number];
    address = `${address.slice(0, dotted.index)}${((a << 8) | b).toString(16)}:${((c << 8) | d).toString(16)}`;
  }
  const [head = '', tail] = address.split('::');
  const groups = (part: string) =>
    part === '' ? [] : part.split(':').map((group) => Number.parseInt(group, 16));
  const left = groups(head);
  const right = tail === undefined ? [] : groups(tail);
  const bytes = new Uint8Array(16);
  left.forEach((group, index) => writeGroup(bytes, index, group));
  right.forEach((group, index) => writeGroup(bytes, 8 - right.length + index, group));
  return bytes;
}

function writeGroup(bytes: Uint8Array, index: number, group: number): void {
  bytes[2 * index] = group >> 8;
  bytes[2 * index + 1] = group & 0xff;
}

function isMapped(bytes: Uint8Array): boolean {
  return bytes.subarray(0, 10).every((byte) => byte === 0) && bytes[10] === 0xff && bytes[11] === 0xff;
}

export interface CidrBlock {
  readonly text: string;
  readonly address: IpAddress;
  readonly bits: number;
}

/** A block, or a single address. Returns undefined when malformed or when address bits lie outside the mask. */
export function parseCidr(text: string): CidrBlock | undefined {
  const match = /^([0-9A-Fa-f:.]+)(?:\/(\d{1,3}))?$/.exec(text);
  if (match === null) return undefined;
  const written = match[1]!;
  const address = parseIp(written);
  if (address === undefined) return undefined;
  const mapped = isIP(written) === 6 && address.length === 4;
  const writtenBits = match[2] === undefined ? (isIP(written) === 6 ? 128 : 32) : Number(match[2]);
  const bits = mapped ? writtenBits - 96 : writtenBits;
  if (bits < 0 || bits > address.length * 8) return undefined;
  const block = { text, address, bits };
  for (let bit = bits; bit < address.length * 8; bit += 1) {
    if ((address[bit >> 3]! >> (7 - (bit & 7))) & 1) return undefined;
  }
  return block;
}

export function blockHolds(block: CidrBlock, address: IpAddress): boolean {
  if (address.length !== block.address.length) return false;
  const whole = block.bits >> 3;
  for (let index = 0; index < whole; index += 1) {
    if (address[index] !== block.address[index]) return false;
  }
  const rest = block.bits & 7;
  return rest === 0 || (address[whole]! ^ block.address[whole]!) >> (8 - rest) === 0;
}
