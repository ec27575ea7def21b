/**
 * A replica with master keys in Transit, as a process that can be killed: makes the key, seals, says what it made, and stays. Test keys
 * alone pass through its output. Arguments: address of Vault, token, configuration without the connection as JSON.
 */
import type { VaultKvConfig } from '../../src/config/model.ts';
import { TenantKeys } from '../../src/keys/index.ts';
import { openKeystore } from '../../src/keystores/index.ts';
import { name, noLimits } from '../keys/keyring-contract.ts';
import { vaultConfig } from './configs.ts';

const [address, rootToken, rest] = process.argv.slice(2) as [string, string, string];
const config = {
  ...(JSON.parse(rest) as Omit<VaultKvConfig, 'vault'>),
  vault: vaultConfig({ address, rootToken }),
};
const keys = new TenantKeys(await openKeystore(config, { env: {} }), noLimits, { tenant: 'acme' });
await keys.create(name, 'alice');
const sealed: string[][] = [];
for (let i = 0; i < 100; i++) {
  const { ciphertext, plaintext } = await keys.issue(name, Buffer.from(String(i)));
  sealed.push([ciphertext.toString('base64'), plaintext.toString('base64')]);
}
process.stdout.write(`${JSON.stringify(sealed)}\n`);
setInterval(() => undefined, 1_000);
