/**
 * A key's versions and states from one keystore to another, before its value: a key that arrived without them would seal with its first
 * version again, and open nothing that a later one sealed. Safe to stop and to run again.
 */
import { hasCode, SelloError } from '../errors.ts';
import type { Keystore, RecordStore } from '../keystores/contract.ts';
import { recordNames } from '../keystores/records.ts';
import { isCustodyHead } from './custody-head.ts';
import { parseKeyring } from './keyring-record.ts';
import { pathOf } from './keyring-reader.ts';
import { isScheduled, KeyringSchedule } from './keyring-schedule.ts';
import type { KeyName } from './names.ts';

/** @throws SelloError SELLO_KEYRING_UNSUPPORTED, SELLO_KEY_EXISTS when the target has a keyring of another key of this name */
export async function moveKeyring(from: Keystore, to: Keystore, name: KeyName): Promise<void> {
  const path = pathOf(name);
  const found = await from.records?.read(path);
  if (found === undefined) return;
  const record = parseKeyring(found.value);
  if (record.versions.some(({ custody }) => custody === 'transit')) throw inCustody();
  if (to.records === undefined)
    throw new SelloError('SELLO_KEYRING_UNSUPPORTED', {
      detail: `it has versions and states, and the ${to.kind} keystore has no place for them`,
    });
  const there = await to.records.read(path);
  const known = there === undefined ? undefined : parseKeyring(there.value);
  if (known !== undefined && known.id !== record.id && known.state !== 'deleted')
    throw new SelloError('SELLO_KEY_EXISTS', {
      detail: 'the target holds a keyring of another key of this name',
    });
  if (known?.id === record.id && known.generation >= record.generation) return;
  await moveVersions(from.records!, to.records, `versions/${record.id}`);
  // Before the keyring, as everywhere: a run that is stopped here is not taken for done.
  if (isScheduled(record)) await new KeyringSchedule(to.records).mark(name);
  await to.records.write(path, found.value, there?.revision ?? 0);
}

/** A key whose bytes are with a custodian cannot be copied. @throws SelloError SELLO_KEYRING_UNSUPPORTED */
export function refuseCustody(value: Buffer): void {
  if (isCustodyHead(value)) throw inCustody();
}

async function moveVersions(from: RecordStore, to: RecordStore, folder: string): Promise<void> {
  for await (const place of recordNames(from, folder)) {
    const version = await from.read(`${folder}/${place}`);
    if (version === undefined) continue;
    await ensure(to, `${folder}/${place}`, version.value);
    version.value.fill(0);
  }
}

/** What an earlier run wrote is there already. */
async function ensure(to: RecordStore, path: string, value: Buffer): Promise<void> {
  try {
    await to.write(path, value, 0);
  } catch (error) {
    if (!hasCode(error, 'SELLO_RECORD_CONFLICT')) throw error;
  }
}

function inCustody(): SelloError {
  return new SelloError('SELLO_KEYRING_UNSUPPORTED', {
    detail: "its bytes are in Vault's Transit engine, which does not give them out",
  });
}
