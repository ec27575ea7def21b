/**
 * What stands at the own place of a key whose first version lies elsewhere: a name that is taken, and the key's HMAC key. It is a stored
 * key with a mark before it, so that KES, and a reader who has not heard of the key's keyring yet, never take it for a key to seal with.
 */
import { hmacSha256, secretBytes, wipe } from '../crypto/index.ts';
import { SelloError } from '../errors.ts';
import { MasterKey, type KeyFacts } from './material.ts';
import { formatStoredKey, parseStoredKey } from './stored-key.ts';

const mark = Buffer.from('{"sello":"keyring"}');
const label = Buffer.from('sello key placeholder v1');

export class Placeholder extends MasterKey {
  /** That of a version: the same each time, so that several who write it write the same. Its bytes lead nowhere. */
  static of(version: MasterKey, facts: KeyFacts): Placeholder {
    return version.lend((bytes, macKey) => {
      const key = hmacSha256(bytes, label);
      try {
        return new Placeholder(key, macKey, facts);
      } finally {
        wipe(key);
      }
    });
  }

  override messageKey(): never {
    throw noKey();
  }

  override envelopeKeys(): never {
    throw noKey();
  }
}

export function isPlaceholder(value: Buffer): boolean {
  return value.length > mark.length && value.compare(mark, 0, mark.length, 0, mark.length) === 0;
}

/** The caller wipes it. */
export function formatPlaceholder(placeholder: Placeholder): Buffer {
  const stored = formatStoredKey(placeholder);
  try {
    const value = secretBytes(mark.length + stored.length);
    mark.copy(value);
    stored.copy(value, mark.length);
    return value;
  } finally {
    wipe(stored);
  }
}

/** `value` stays the caller's, who wipes it. @throws SelloError SELLO_STORED_KEY_UNREADABLE */
export function parsePlaceholder(value: Buffer): Placeholder {
  const key = parseStoredKey(value.subarray(mark.length));
  try {
    return key.lend((bytes, macKey) => new Placeholder(bytes, macKey, key));
  } finally {
    key.wipe();
  }
}

function noKey(): SelloError {
  return new SelloError('SELLO_INTERNAL', { detail: 'a placeholder was taken for a version' });
}
