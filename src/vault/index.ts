/** Everything that speaks to Vault. Knows addresses, tokens and answers; nothing of keys. */
export { VaultAnswer } from './answer.ts';
export { VaultConnection, type VaultCall, type VaultLog, type VaultOptions } from './connection.ts';
export { isVaultProblem, VaultError, type VaultProblem } from './errors.ts';
export { serviceAccountTokenFile } from './login-defaults.ts';
export { isVaultFolder, pathOf, segmentsOf, type VaultPath } from './path.ts';
export {
  elementAt,
  elementsAt,
  escapedLength,
  numberAt,
  secretJson,
  secretStringAt,
  type JsonPart,
} from './secret-json.ts';
