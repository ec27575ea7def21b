/** Keystores: where master keys live. */
import path from 'node:path';
import type { Environment } from '../config/environment.ts';
import type { KeystoreConfig } from '../config/model.ts';
import { wipe } from '../crypto/index.ts';
import type { VaultLog } from '../vault/index.ts';
import type { Keystore } from './contract.ts';
import { FileKeystore } from './file.ts';
import { rotateRootKey as rotateHeader } from './file-header.ts';
import { FsKeystore } from './fs.ts';
import { MemoryKeystore } from './memory.ts';
import { readRootKey } from './root-key.ts';
import { VaultKvKeystore } from './vault-kv.ts';

export {
  maxRecordBytes,
  type CustodyMode,
  type KeyCustody,
  type Keystore,
  type ListOptions,
  type NamePage,
  type RecordPage,
  type RecordStore,
  type RemoteSigner,
  type SignerKey,
  type StoredRecord,
} from './contract.ts';
export { recordNames, recordsAtOnce, removeRecord, removeRecords } from './records.ts';
export {
  backupFileKeystore,
  checkFileBackup,
  restoreFileKeystore,
  type BackupSummary,
} from './file-backup.ts';
export { migrateKeys, type MigrateOptions, type MigrateResult } from './migrate.ts';
export { formatIdentity, identifyProcess, livenessOf, parseIdentity } from './process-identity.ts';
export { readRootKey } from './root-key.ts';

export interface OpenKeystoreOptions {
  /**
   * Process that owns a file keystore as long as it lives; this process unless given. The workers of one server give
   * their supervisor's pid, and so share the store.
   */
  readonly ownerPid?: number;
  /** How long a file keystore's lock from another host or container is watched before it is taken for abandoned. */
  readonly lockWatchMs?: number;
  /** Where a root key in a variable is looked for. */
  readonly env?: Environment;
  /** Where a connection to Vault tells of outages and logins. */
  readonly log?: VaultLog;
}

/** @throws SelloError when the store cannot be opened; `detail` says why, without secrets */
export async function openKeystore(
  config: KeystoreConfig,
  options: OpenKeystoreOptions = {},
): Promise<Keystore> {
  switch (config.kind) {
    case 'memory':
      return new MemoryKeystore();
    case 'fs':
      return FsKeystore.open(path.resolve(config.path));
    case 'vault-kv':
      return VaultKvKeystore.open(config, { env: options.env, log: options.log });
    case 'file': {
      const { env, log: _, ...rest } = options;
      const rootKey = await readRootKey(config.rootKey, env);
      try {
        return await FileKeystore.open({ path: config.path, rootKey, ...rest });
      } finally {
        wipe(rootKey);
      }
    }
  }
}

type SecretSource = Extract<KeystoreConfig, { kind: 'file' }>['rootKey'];

/**
 * Puts a file keystore under a new root key, also while a server has it open. Safe to kill and to run again.
 * @returns `already` when it was under the new one
 */
export async function rotateRootKey(
  folder: string,
  from: SecretSource,
  to: SecretSource,
  env: Environment = process.env,
): Promise<'rotated' | 'already'> {
  const newRootKey = await readRootKey(to, env);
  try {
    const rootKey = await readRootKey(from, env);
    try {
      return await rotateHeader(path.resolve(folder), rootKey, newRootKey);
    } finally {
      wipe(rootKey);
    }
  } finally {
    wipe(newRootKey);
  }
}
