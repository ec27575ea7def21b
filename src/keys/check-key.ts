/** Reads a key with all its versions, as far as their bytes are in the keystore, without changing anything. */
import type { Keystore } from '../keystores/contract.ts';
import { SelloError } from '../errors.ts';
import { KeyringReader } from './keyring-reader.ts';
import type { KeyName } from './names.ts';

/** The list of names with a keyring, taken once. */
const indexLifeMs = 60_000;

/**
 * One keystore's checker: each call reads one key.
 * @returns its check, which rejects with the SelloError that a use of the key would meet
 */
export function keyChecker(store: Keystore, tenant: string): (name: KeyName) => Promise<void> {
  const reader = new KeyringReader(store, { tenant, indexLifeMs, onRollback: () => undefined });
  return async (name) => {
    const { first, record } = await reader.find(name);
    first?.wipe();
    if (first === undefined && record?.state !== 'deleting') throw new SelloError('SELLO_KEY_NOT_FOUND');
    for (const version of record?.versions ?? []) {
      if (version.custody !== 'stored' || version.state === 'destroyed') continue;
      (await reader.readVersion(record!, version)).wipe();
    }
  };
}
