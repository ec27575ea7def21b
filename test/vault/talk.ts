/** A process that uses a keystore on Vault in every way, for silence.test.ts: what it prints is what is looked at. */
import { openKeystore } from '../../src/keystores/index.ts';
import { parseKeyName } from '../../src/keys/index.ts';
import { inline, vaultConfig } from './configs.ts';

const [, , address = '', token = '', secret = ''] = process.argv;
const base = vaultConfig({ address, rootToken: token });
const log = (fields: object, message: string): void => {
  process.stdout.write(`${JSON.stringify(fields)} ${message}\n`);
};
for (const transit of [undefined, { engine: 'transit', key: 'wrap' }]) {
  const store = await openKeystore(
    {
      kind: 'vault-kv',
      vault: { ...base, login: { method: 'token', namespace: '', token: inline(token) } },
      engine: 'kv',
      version: 2,
      prefix: transit === undefined ? 'plain' : 'wrapped',
      transit,
      recordsPrefix: 'records.sello',
    },
    { log: { info: log, warn: log, error: log } },
  );
  const name = parseKeyName('k');
  await store.create(name, Buffer.from(secret));
  await store
    .create(name, Buffer.from(secret))
    .catch((error: unknown) => process.stdout.write(`${String(error)}\n`));
  if ((await store.read(name)).toString() !== secret) throw new Error('another value');
  await store.list({ prefix: '', limit: 5 });
  const path = transit === undefined ? 'a/b' : 'a/c';
  await store.records!.write(path, Buffer.from(secret), 0);
  await store.records!.read(path);
  await store.delete(name);
  await store.health();
  await store.close();
}
process.stdout.write('did it all\n');
