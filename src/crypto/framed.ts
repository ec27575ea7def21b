/** One run of bytes for several, each with its length before it: no two lists of parts give the same. */
export function framed(...parts: readonly Uint8Array[]): Buffer {
  let length = 0;
  for (const part of parts) length += 4 + part.length;
  const bytes = Buffer.allocUnsafe(length);
  let at = 0;
  for (const part of parts) {
    at = bytes.writeUInt32BE(part.length, at);
    bytes.set(part, at);
    at += part.length;
  }
  return bytes;
}
