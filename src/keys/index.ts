/** Master keys: their material, their stored form, and what is sealed under them. */
export { parseAlgorithm, type KeyAlgorithm } from './algorithm.ts';
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
export { isName, maxNameLength, parseKeyName, type KeyName } from './names.ts';
export { formatStoredKey, parseStoredKey } from './stored-key.ts';
