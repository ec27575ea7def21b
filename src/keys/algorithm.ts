/** The two ciphers a master key can be for, and the names KES has given them over the years. */

/** KES's names since 2024-02, which `describe` shows. */
export type KeyAlgorithm = 'AES256' | 'ChaCha20';

const names: ReadonlyMap<string, KeyAlgorithm> = new Map([
  ['AES256', 'AES256'],
  ['AES256-GCM_SHA256', 'AES256'],
  ['ChaCha20', 'ChaCha20'],
  ['XCHACHA20-POLY1305', 'ChaCha20'],
]);

/** Names in version 1 ciphertexts only. */
const firstNames: ReadonlyMap<string, KeyAlgorithm> = new Map([
  ['AES-256-GCM-HMAC-SHA-256', 'AES256'],
  ['ChaCha20Poly1305', 'ChaCha20'],
]);

/** An algorithm by any name that import requests, stored keys and version 2 ciphertexts use. */
export function parseAlgorithm(name: string): KeyAlgorithm | undefined {
  return names.get(name);
}

/** An algorithm by the names of version 1 ciphertexts. */
export function parseFirstAlgorithm(name: string): KeyAlgorithm | undefined {
  return firstNames.get(name);
}
