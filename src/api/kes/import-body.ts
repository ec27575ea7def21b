/** What an import says, `{"key": BASE64, "cipher": "AES256"}`: read from bytes, so that the key never becomes a string. */
import { SelloError } from '../../errors.ts';
import type { KeyAlgorithm } from '../../keys/index.ts';
import { parseObject } from './json.ts';

/** The names KES's import knows, and the algorithm each means. */
const ciphers = new Map<string, KeyAlgorithm>([
  ['AES256', 'AES256'],
  ['AES256-GCM_SHA256', 'AES256'],
  ['ChaCha20', 'ChaCha20'],
  ['XCHACHA20-POLY1305', 'ChaCha20'],
]);

export interface ImportRequest {
  /** 32 bytes, which the caller wipes. */
  readonly material: Buffer;
  readonly algorithm: KeyAlgorithm;
}

/**
 * @returns undefined for what is no such body
 * @throws SelloError SELLO_KEY_ALGORITHM_UNSUPPORTED, SELLO_KEY_MATERIAL_INVALID, with the cipher that was named as detail
 */
export function importOf(body: Buffer): ImportRequest | undefined {
  const fields = { key: 'secret', cipher: 'text', bytes: 'secret', algorithm: 'text' } as const;
  const request = body.length === 0 ? undefined : parseObject(body, fields);
  if (request === undefined) return undefined;
  const cipher = request.cipher ?? request.algorithm ?? '';
  // Clients of before 2023-10 say `bytes` and `algorithm`, and may leave the choice of the algorithm to the server.
  const material = request.key ?? request.bytes;
  const isLegacyWithout = cipher === '' && request.key === undefined && request.bytes !== undefined;
  const algorithm = isLegacyWithout ? 'AES256' : ciphers.get(cipher);
  if (algorithm !== undefined && material?.length === 32) return { material, algorithm };
  material?.fill(0);
  throw new SelloError(
    algorithm === undefined ? 'SELLO_KEY_ALGORITHM_UNSUPPORTED' : 'SELLO_KEY_MATERIAL_INVALID',
    { detail: cipher },
  );
}
