/** Names as bytes that say where each ends, so that no two sequences of names have one encoding. */
import { framed } from '../crypto/index.ts';

/** `length (4, big endian) ‖ UTF-8` of each text, joined. */
export function lengthPrefixed(...texts: readonly string[]): Buffer {
  /* Precondition: lone surrogates all become U+FFFD in UTF-8, and different names would be the same bytes. */
  if (!texts.every((text) => text.isWellFormed())) throw new TypeError('name is not well-formed Unicode');
  return framed(...texts.map((text) => Buffer.from(text)));
}
