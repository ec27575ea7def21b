/** Keys with versions move with all of them, or not at all. */
import t from 'tap';
import { moveKeyring, parseKeyName, refuseCustody, TenantKeys } from '../../src/keys/index.ts';
import { FsKeystore } from '../../src/keystores/fs.ts';
import { migrateKeys, openKeystore, type Keystore } from '../../src/keystores/index.ts';
import { MemoryKeystore } from '../../src/keystores/memory.ts';
import { fileConfig, temporaryFolder } from '../keystores/folders.ts';
import { context, name, noLimits, refuses } from './keyring-contract.ts';

const move = (from: Keystore, to: Keystore, more: object = {}) =>
  migrateKeys({
    from,
    to,
    before: async (moved, value) => {
      refuseCustody(value);
      await moveKeyring(from, to, moved);
    },
    ...more,
  });

async function source(t: {
  teardown(end: () => unknown): void;
}): Promise<{ from: MemoryKeystore; keys: TenantKeys }> {
  const from = new MemoryKeystore();
  const keys = new TenantKeys(from, noLimits, { tenant: 'acme' });
  t.teardown(() => keys.close());
  await keys.create(name, 'alice');
  await keys.create(parseKeyName('plain'), 'alice');
  return { from, keys };
}

void t.test('every version, every state and the HMAC key arrive; run again, nothing changes', async (t) => {
  const { from, keys } = await source(t);
  const sealed = [await keys.issue(name, context)];
  for (let i = 0; i < 3; i++) {
    await keys.rotate(name, 'alice');
    sealed.push(await keys.issue(name, context));
  }
  const mac = Buffer.from(await keys.mac(name, context));
  await keys.change(name, { kind: 'set-version', version: 2, state: 'disabled' }, 'alice');
  await keys.change(name, { kind: 'set-rotation', every: 86_400 }, 'alice');
  const to = await openKeystore(await fileConfig(t));
  t.match(await move(from, to), { total: 2, copied: 2, failed: [] });
  t.match(await move(from, to), { total: 2, alreadyThere: 2, failed: [] });
  const moved = new TenantKeys(to, noLimits, { tenant: 'acme' });
  t.teardown(() => moved.close());
  for (const { ciphertext, plaintext, version } of sealed) {
    if (version === 2)
      await refuses(
        t,
        () => moved.unwrap(name, ciphertext, context),
        'SELLO_KEY_DISABLED',
        'disabled there too',
      );
    else t.ok((await moved.unwrap(name, ciphertext, context)).equals(plaintext), `version ${version}`);
  }
  t.equal((await moved.issue(name, context)).version, 4);
  t.ok((await moved.mac(name, context)).equals(mac));
  t.match(await moved.keyring(name), { rotateEvery: 86_400 });
  t.match((await to.records!.list('scheduled', { limit: 10 })).names, ['app-key']);
  await keys.rotate(name, 'alice');
  t.match(await move(from, to), { failed: [] }, 'what changed since is brought up to date');
  moved.forget(name);
  t.equal((await moved.issue(name, context)).version, 5);
});

void t.test('a target without a place for versions gets none of such a key, and is told why', async (t) => {
  const { from, keys } = await source(t);
  await keys.rotate(name, 'alice');
  const to = await FsKeystore.open(await temporaryFolder(t));
  t.match(await move(from, to), { copied: 1, failed: [{ name, code: 'SELLO_KEYRING_UNSUPPORTED' }] });
  await refuses(t, () => to.read(name), 'SELLO_KEY_NOT_FOUND', 'not its first version alone');
});

void t.test('the keyring of another key of that name is left alone', async (t) => {
  const { from, keys } = await source(t);
  await keys.rotate(name, 'alice');
  const other = await source(t);
  await other.keys.rotate(name, 'bob');
  const before = await other.keys.keyring(name);
  t.match(await move(from, other.from), {
    failed: [{ name, code: 'SELLO_KEY_EXISTS' }, { code: 'SELLO_KEY_EXISTS' }],
  });
  t.match(await move(from, other.from, { merge: true }), { failed: [], skipped: [{ name }, {}] });
  t.same(await other.keys.keyring(name), before);
});

void t.test('a key whose bytes are with a custodian is refused', async (t) => {
  const { from } = await source(t);
  await from.create(parseKeyName('in-transit'), Buffer.from('{"sello":"custody","format":1}'));
  t.match(await move(from, new MemoryKeystore()), {
    copied: 2,
    failed: [{ name: 'in-transit', code: 'SELLO_KEYRING_UNSUPPORTED' }],
  });
});

void t.test('a move that is stopped before its keyring is written forgets no schedule', async (t) => {
  const { from, keys } = await source(t);
  await keys.change(name, { kind: 'set-rotation', every: 86_400 }, 'alice');
  const to = new MemoryKeystore();
  const { records } = to;
  let isStopped = true;
  const write = records.write.bind(records);
  records.write = async (path, value, expected) => {
    if (isStopped && path.startsWith('scheduled/')) throw new Error('stopped');
    return write(path, value, expected);
  };
  await t.rejects(moveKeyring(from, to, name), /stopped/);
  isStopped = false;
  await moveKeyring(from, to, name);
  t.same((await records.list('scheduled', { limit: 10 })).names, ['app-key']);
  t.ok(await records.read('keyrings/app-key'));
});
