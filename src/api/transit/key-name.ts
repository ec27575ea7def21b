/** Names of keys as clients of this face may have them. */
import { isName, parseKeyName, type KeyName } from '../../keys/index.ts';
import { fault } from './answers.ts';
import { reservedKey } from './kv-seal.ts';

/** @throws VaultFault 400 for what Vault allows and Sello does not (dots, more than 80 characters), and for the KV engine's own key */
export function keyNamed(text: string): KeyName {
  if (!isName(text) || text === reservedKey)
    throw fault(400, `key name ${JSON.stringify(text)} is not allowed`, 'SELLO_KEY_NAME_INVALID');
  return parseKeyName(text);
}
