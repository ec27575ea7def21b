/** Names as bytes that say where each ends, so that no two sequences of names have one encoding. */

/** `length (4, big endian) ‖ UTF-8` of each text, joined. */
export function lengthPrefixed(...texts: readonly string[]): Buffer {
  const parts: Buffer[] = [];
  for (const text of texts) {
    /* Precondition: lone surrogates all become U+FFFD in UTF-8, and different names would be the same bytes. */
    if (!text.isWellFormed()) throw new TypeError('name is not well-formed Unicode');
    const bytes = Buffer.from(text, 'utf8');
    const length = Buffer.alloc(4);
    length.writeUInt32BE(bytes.length);
    parts.push(length, bytes);
  }
  return Buffer.concat(parts);
}
