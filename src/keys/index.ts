/** Master keys: their material, their stored form, what is sealed under them, and a tenant's keys as faces use them. */
export { parseAlgorithm, type KeyAlgorithm } from './algorithm.ts';
export { KeyCache } from './cache.ts';
export { keyChecker } from './check-key.ts';
export {
  ciphertextOverheadBytes,
  dataKeyBytes,
  issueDataKey,
  mac,
  open,
  seal,
  type DataKey,
} from './ciphertext.ts';
export { formatInstant, instantFromDate, parseInstant, zeroInstant, type Instant } from './instant.ts';
export { MasterKey, masterKeyBytes, type KeyFacts } from './material.ts';
export { moveKeyring, refuseCustody } from './move-keyring.ts';
export { isName, maxNameLength, parseKeyName, type KeyName } from './names.ts';
export { formatStoredKey, parseStoredKey } from './stored-key.ts';
export type { KeyDescription } from './keyring.ts';
export {
  defaultTransitSettings,
  maxVersions,
  type KeyringRecord,
  type TransitSettings,
  type VersionRecord,
  type VersionState,
} from './keyring-record.ts';
export {
  TenantKeys,
  versionOfCiphertext,
  type ChangeOutcome,
  type SpreadCount,
  type KeyAlarm,
  type RewrapItem,
  type Rewrapped,
  type TenantKeysOptions,
} from './tenant-keys.ts';
export { leastRotationSeconds, sealingVersion, type KeyChange } from './transitions.ts';
export { HoldFiles } from './hold-files.ts';
export { parsePeerItem, type PeerItem } from './peer-item.ts';
export { strictest, type Hold, type HoldChange, type ToldState } from './restraint.ts';
export { mostHolds, type ItemToTell, type Taken } from './restraints.ts';
export type { DueWork } from './keyring-schedule.ts';
export type { KeyUse, VersionUse } from './use-log.ts';
export { MessageSeries } from './series.ts';
