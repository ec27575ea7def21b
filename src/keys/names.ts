/**
 * Names of keys. KES's rule (wire/names): 1 to 80 characters of `[0-9A-Za-z_-]`, not `_` alone, and
 * `-` neither first nor last. One rule on every face, because a name becomes a file name and a Vault path.
 */
import { SelloError } from '../errors.ts';

declare const keyName: unique symbol;

/** A key name that {@link parseKeyName} accepted. */
export type KeyName = string & { readonly [keyName]: true };

/** KES: names end at 80 characters. */
export const maxNameLength = 80;

const namePattern = /^[0-9A-Za-z_](?:[0-9A-Za-z_-]{0,78}[0-9A-Za-z_])?$/;

/** True for every legal name of a key, a policy or an identity. */
export function isName(text: string): boolean {
  return text !== '_' && namePattern.test(text);
}

/** @throws SelloError SELLO_KEY_NAME_INVALID */
export function parseKeyName(text: string): KeyName {
  if (!isName(text)) throw new SelloError('SELLO_KEY_NAME_INVALID');
  return text as KeyName;
}
