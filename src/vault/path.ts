/**
 * Paths of Vault, built from checked parts alone. node-vault neither encodes nor checks them, and URL parsing folds `..` away: a
 * name with dots in it would be another path.
 */
import { SelloError } from '../errors.ts';

declare const vaultPath: unique symbol;

/** Segments joined by `/`, percent-encoded, none of them empty, `.` or `..`. Without `/v1/`. */
export type VaultPath = string & { readonly [vaultPath]: true };

/** Printable, and nothing that a URL, a policy or a proxy reads in its own way. */
const segmentPattern = /^[^\p{C}\p{Z}/\\?#%*+;&]{1,128}$/u;

/** True for a mount or prefix such as `kv` or `team/kv`, slashes at its ends aside. */
export function isVaultFolder(text: string): boolean {
  return segmentsOf(text).every(isSegment);
}

/** As KES and Vault take them: slashes at the ends and doubled ones say nothing. */
export function segmentsOf(text: string): string[] {
  return text.split('/').filter((segment) => segment !== '');
}

/** `parts` may hold several segments each. @throws SelloError SELLO_STORE_FAILED, a mistake in Sello: parts are checked before */
export function pathOf(...parts: readonly string[]): VaultPath {
  const segments = parts.flatMap(segmentsOf);
  for (const segment of segments) {
    if (!isSegment(segment)) throw new SelloError('SELLO_STORE_FAILED', { detail: 'not a path of Vault' });
  }
  return segments.map(encodeURIComponent).join('/') as VaultPath;
}

function isSegment(segment: string): boolean {
  return segment !== '.' && segment !== '..' && segmentPattern.test(segment);
}
