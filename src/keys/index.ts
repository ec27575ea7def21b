/** Master keys: what faces and tenants may use of this folder. */
export { KeyCache } from './cache.ts';
export { issueDataKey, type DataKey } from './ciphertext.ts';
export { generateMasterKey, importMasterKey, MasterKey, type KeyAlgorithm } from './material.ts';
export { isName, maxNameLength, parseKeyName, type KeyName } from './names.ts';
export { parseStoredKey, serializeStoredKey } from './stored-key.ts';
export { TenantKeys, type KeyDescription } from './tenant-keys.ts';
