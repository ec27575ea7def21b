/** What versions and states of keys promise on every store with records, with two replicas on one store. */
import { randomBytes } from 'node:crypto';
import t, { type Test } from 'tap';
import type { CacheConfig } from '../../src/config/model.ts';
import type { ErrorCode } from '../../src/errors.ts';
import {
  parseKeyName,
  TenantKeys,
  versionOfCiphertext,
  type KeyAlarm,
  type TenantKeysOptions,
} from '../../src/keys/index.ts';
import type { Keystore } from '../../src/keystores/index.ts';

export const noLimits: CacheConfig = {
  maxEntries: 1000,
  expiryMs: 0,
  unusedMs: 0,
  offlineMs: 0,
  negativeMs: 0,
};

export const name = parseKeyName('app-key');
export const context = Buffer.from('{"bucket":"photos"}');

export interface Replicas {
  readonly store: Keystore;
  readonly one: TenantKeys;
  readonly two: TenantKeys;
  readonly alarms: KeyAlarm[];
  /** Moves the clock of both. */
  readonly pass: (seconds: number) => void;
}

/** Two stores on the same place, each closed at the end of the test. */
export type OpenTwo = (t: Test) => Promise<readonly [Keystore, Keystore]>;

export async function openReplicas(
  t: Test,
  openTwo: OpenTwo,
  more: TenantKeysOptions = {},
): Promise<Replicas> {
  const [first, second] = await openTwo(t);
  const alarms: KeyAlarm[] = [];
  let nowMs = Date.now();
  const options = {
    tenant: 'acme',
    onAlarm: (alarm: KeyAlarm) => void alarms.push(alarm),
    now: () => nowMs,
    ...more,
  };
  const one = new TenantKeys(first, noLimits, options);
  const two = new TenantKeys(second, noLimits, options);
  return { store: first, one, two, alarms, pass: (seconds) => (nowMs += seconds * 1000) };
}

export async function refuses(t: Test, work: () => unknown, code: ErrorCode, claim: string): Promise<void> {
  await t.rejects((async () => work())(), { code }, claim);
}

/** @param isInCustody the bytes of versions are with a custodian, which ends them in their order */
export function testKeyrings(kind: string, openTwo: OpenTwo, isInCustody = false): void {
  const test = (claim: string, work: (t: Test, replicas: Replicas) => Promise<void>): void => {
    void t.test(`${kind}: ${claim}`, async (t) => work(t, await openReplicas(t, openTwo)));
  };

  test('after a rotation the newest version seals, every older one opens, on replicas that have not heard too', async (t, {
    one,
    two,
  }) => {
    await one.create(name, 'alice');
    const sealed = [await one.issue(name, context)];
    t.ok(
      (await two.unwrap(name, sealed[0]!.ciphertext, context)).equals(sealed[0]!.plaintext),
      'the second replica knows version 1',
    );
    for (const version of [2, 3, 4]) {
      t.equal((await one.rotate(name, 'alice')).versions.length, version);
      const dataKey = await one.issue(name, context);
      t.equal(dataKey.version, version);
      t.equal(versionOfCiphertext(dataKey.ciphertext), version);
      sealed.push(dataKey);
      t.ok(
        (await two.unwrap(name, dataKey.ciphertext, context)).equals(dataKey.plaintext),
        `version ${version} opens where nobody told of it`,
      );
    }
    for (const { ciphertext, plaintext, version } of sealed)
      t.ok((await one.unwrap(name, ciphertext, context)).equals(plaintext), `version ${version} still opens`);
    const late = await two.encrypt(name, Buffer.from('late'), context);
    t.equal(versionOfCiphertext(late), 4, 'who has heard seals with it');
  });

  test('what is sealed is bound to tenant, face and context, and to the key of that name at that time', async (t, {
    one,
    two,
    store,
  }) => {
    await one.create(name, 'alice');
    await one.rotate(name, 'alice');
    const { ciphertext } = await one.issue(name, context);
    const no = (work: () => unknown, claim: string) =>
      refuses(t, work, 'SELLO_CIPHERTEXT_NOT_AUTHENTIC', claim);
    await no(() => one.unwrap(name, ciphertext, Buffer.from('{}')), 'another context');
    await no(() => one.unwrap(name, ciphertext, context, 'objects'), 'another face');
    const stranger = new TenantKeys(store, noLimits, { tenant: 'other' });
    await t.rejects(
      async () => stranger.unwrap(name, ciphertext, context),
      // An intermediate key of another tenant's looks damaged.
      { code: /^SELLO_(CIPHERTEXT_NOT_AUTHENTIC|STORED_KEY_UNREADABLE)$/ },
      'another tenant on the same store',
    );
    for (const at of [0, 8, 9, 10, 11, 12, 28, 32, 64, 96, ciphertext.length - 1]) {
      const changed = Buffer.from(ciphertext);
      changed[at]! ^= 1;
      await no(() => one.unwrap(name, changed, context), `byte ${at} changed`);
    }
    await one.change(name, { kind: 'set-cross-face', on: true }, 'alice');
    t.equal(
      (await one.unwrap(name, ciphertext, context, 'objects')).length,
      32,
      'another face, where the key says so',
    );
    await one.delete(name, 'alice');
    await one.create(name, 'alice');
    await no(() => one.unwrap(name, ciphertext, context), 'the same name, another key');
    two.forget(name);
    await one.rotate(name, 'alice');
    await no(() => two.unwrap(name, ciphertext, context), 'and its second version');
  });

  test('of two administrators at once one wins, the other is told', async (t, { one, two }) => {
    await one.create(name, 'alice');
    await one.rotate(name, 'alice');
    for (let round = 0; round < 5; round++) {
      const before = (await one.keyring(name)).versions.length;
      const outcomes = await Promise.allSettled([one.rotate(name, 'alice'), two.rotate(name, 'bob')]);
      const won = outcomes.filter(({ status }) => status === 'fulfilled').length;
      t.equal((await one.keyring(name)).versions.length, before + won, 'a version for each who was told so');
      for (const outcome of outcomes)
        if (outcome.status === 'rejected') t.match(outcome.reason, { code: 'SELLO_RECORD_CONFLICT' });
      t.ok(won >= 1);
    }
    const { ciphertext, plaintext } = await two.issue(name, context);
    t.ok((await one.unwrap(name, ciphertext, context)).equals(plaintext));
  });

  test('a disabled key does nothing until it is enabled, on every replica', async (t, { one, two }) => {
    await one.create(name, 'alice');
    const { ciphertext, plaintext } = await one.issue(name, context);
    await two.unwrap(name, ciphertext, context);
    await one.change(name, { kind: 'disable' }, 'alice');
    await two.revalidate();
    for (const [who, keys] of [
      ['the one that was asked', one],
      ['the other', two],
    ] as const) {
      await refuses(t, () => keys.issue(name, context), 'SELLO_KEY_DISABLED', `${who}: issue`);
      await refuses(t, () => keys.encrypt(name, plaintext, context), 'SELLO_KEY_DISABLED', `${who}: encrypt`);
      await refuses(t, () => keys.unwrap(name, ciphertext, context), 'SELLO_KEY_DISABLED', `${who}: unwrap`);
      await refuses(t, () => keys.mac(name, plaintext), 'SELLO_KEY_DISABLED', `${who}: mac`);
      await refuses(
        t,
        () => keys.rewrap(name, [{ ciphertext, context }]),
        'SELLO_KEY_DISABLED',
        `${who}: rewrap`,
      );
      t.match(await keys.describe(name), { algorithm: 'AES256' }, `${who}: it exists`);
      await refuses(t, () => keys.create(name, 'bob'), 'SELLO_KEY_EXISTS', `${who}: its name is taken`);
    }
    await refuses(t, () => one.change(name, { kind: 'disable' }, 'bob'), 'SELLO_KEY_CHANGE_REFUSED', 'twice');
    await one.change(name, { kind: 'enable' }, 'alice');
    await two.revalidate();
    t.ok((await two.unwrap(name, ciphertext, context)).equals(plaintext));
  });

  test('a version can be disabled, fall below the minimum, or be compromised', async (t, { one, alarms }) => {
    await one.create(name, 'alice');
    const first = await one.issue(name, context);
    await refuses(
      t,
      () => one.change(name, { kind: 'set-version', version: 1, state: 'disabled' }, 'alice'),
      'SELLO_KEY_CHANGE_REFUSED',
      'the only version that could seal',
    );
    await one.rotate(name, 'alice');
    const second = await one.issue(name, context);
    await one.change(name, { kind: 'set-version', version: 1, state: 'disabled' }, 'alice');
    await refuses(
      t,
      () => one.unwrap(name, first.ciphertext, context),
      'SELLO_KEY_DISABLED',
      'a disabled version opens nothing',
    );
    await one.change(name, { kind: 'set-version', version: 1, state: 'enabled' }, 'alice');
    t.ok((await one.unwrap(name, first.ciphertext, context)).equals(first.plaintext));

    await one.change(name, { kind: 'set-min-decryption-version', version: 2 }, 'alice');
    await refuses(
      t,
      () => one.unwrap(name, first.ciphertext, context),
      'SELLO_KEY_VERSION_TOO_OLD',
      'KES layout is version 1',
    );
    await refuses(
      t,
      () => one.change(name, { kind: 'set-min-decryption-version', version: 3 }, 'alice'),
      'SELLO_KEY_VERSION_NOT_FOUND',
      'a minimum that is no version',
    );
    await one.change(name, { kind: 'set-min-decryption-version', version: 1 }, 'alice');

    const after = await one.change(name, { kind: 'set-version', version: 2, state: 'compromised' }, 'alice');
    t.equal(after.versions.length, 2, 'version 1 can seal in its place');
    t.equal((await one.issue(name, context)).version, 1, 'a compromised version never seals');
    t.same(alarms, []);
    t.ok((await one.unwrap(name, second.ciphertext, context)).equals(second.plaintext), 'it opens');
    t.match(alarms, [{ kind: 'compromised-version-used', key: name }], 'and that is told');
    await one.change(name, { kind: 'set-rewrap-only', on: true }, 'alice');
    await refuses(
      t,
      () => one.unwrap(name, second.ciphertext, context),
      'SELLO_KEY_REWRAP_ONLY',
      'unless the key says no',
    );
    const [rewrapped] = await one.rewrap(name, [{ ciphertext: second.ciphertext, context }]);
    t.match(rewrapped, { from: 2, version: 1 });
    await refuses(
      t,
      () => one.change(name, { kind: 'set-version', version: 2, state: 'enabled' }, 'alice'),
      'SELLO_KEY_CHANGE_REFUSED',
      'compromised for ever',
    );
  });

  test('a key whose only sealing version is compromised gets a new one in the same change', async (t, {
    one,
  }) => {
    await one.create(name, 'alice');
    const record = await one.change(name, { kind: 'set-version', version: 1, state: 'compromised' }, 'alice');
    t.match(record.versions, [{ state: 'compromised' }, { state: 'enabled' }]);
    t.equal(record.generation, 1, 'one change');
    t.equal((await one.issue(name, context)).version, 2);
  });

  test('rewraps each of a batch, says what it could not, and gives no data key out', async (t, {
    one,
    two,
  }) => {
    await one.create(name, 'alice');
    const old = await Promise.all(Array.from({ length: 50 }, () => one.issue(name, context)));
    await one.rotate(name, 'alice');
    const newest = await one.issue(name, context);
    const damaged = Buffer.from(old[0]!.ciphertext);
    damaged[3]! ^= 1;
    const outcomes = await two.rewrap(name, [
      ...old.map(({ ciphertext }) => ({ ciphertext, context })),
      { ciphertext: newest.ciphertext, context },
      { ciphertext: damaged, context },
      { ciphertext: old[1]!.ciphertext, context: Buffer.from('other') },
    ]);
    for (const [i, { plaintext }] of old.entries()) {
      const outcome = outcomes[i]!;
      if ('error' in outcome) throw outcome.error;
      t.match(outcome, { from: 1, version: 2 });
      t.ok((await one.unwrap(name, outcome.ciphertext, context)).equals(plaintext), 'the same data key');
    }
    t.match(outcomes.slice(50), [
      { from: 2, version: 2, ciphertext: newest.ciphertext },
      { error: { code: 'SELLO_CIPHERTEXT_NOT_AUTHENTIC' } },
      { error: { code: 'SELLO_CIPHERTEXT_NOT_AUTHENTIC' } },
    ]);
  });

  test('no rotation changes the HMAC key', async (t, { one, two }) => {
    await one.create(name, 'alice');
    const before = Buffer.from(await one.mac(name, Buffer.from('message')));
    await one.rotate(name, 'alice');
    t.ok((await two.mac(name, Buffer.from('message'))).equals(before));
  });

  test('the end of a key is asked for, waited for, and can be called off', async (t, { one, two, pass }) => {
    await one.create(name, 'alice');
    await refuses(
      t,
      () => one.completeDeletion(name, 'alice'),
      'SELLO_KEY_CHANGE_REFUSED',
      'nobody asked for it',
    );
    await one.rotate(name, 'alice');
    const { ciphertext, plaintext } = await one.issue(name, context);
    await one.change(name, { kind: 'schedule-deletion', wait: 600 }, 'alice');
    await two.revalidate();
    await refuses(
      t,
      () => two.unwrap(name, ciphertext, context),
      'SELLO_KEY_DELETION_PENDING',
      'its use ends at once',
    );
    await refuses(t, () => two.create(name, 'bob'), 'SELLO_KEY_EXISTS', 'its name is taken');
    await refuses(
      t,
      () => two.delete(name, 'bob'),
      'SELLO_KEY_DELETION_PENDING',
      'no short way round the waiting period',
    );
    await refuses(t, () => one.rotate(name, 'alice'), 'SELLO_KEY_DELETION_PENDING', 'nor any other change');
    pass(599);
    await refuses(
      t,
      () => one.completeDeletion(name, 'alice'),
      'SELLO_KEY_CHANGE_REFUSED',
      'a second too early',
    );
    t.same(await two.due(), []);
    await one.change(name, { kind: 'cancel-deletion' }, 'bob');
    await refuses(
      t,
      () => one.unwrap(name, ciphertext, context),
      'SELLO_KEY_DISABLED',
      'called off, and not in use',
    );
    await one.change(name, { kind: 'enable' }, 'bob');
    t.ok((await one.unwrap(name, ciphertext, context)).equals(plaintext), 'nothing is lost');

    await one.change(name, { kind: 'schedule-deletion', wait: 600 }, 'alice');
    pass(600);
    t.match(await two.due(), [{ name, kind: 'delete' }]);
    await two.completeDeletion(name, 'bob');
    one.forget(name);
    await refuses(t, () => one.unwrap(name, ciphertext, context), 'SELLO_KEY_NOT_FOUND', 'gone');
    t.same(await one.due(), []);
    t.same((await one.list({ prefix: '', limit: 10 })).names, []);
    await one.create(name, 'carol');
    t.equal((await one.issue(name, context)).version, 1, 'the name is free for another key');
  });

  test('a version ends when it is disabled, quiet and waited for, and not before', async (t, {
    one,
    two,
    pass,
    store,
  }) => {
    const quiet = 3600;
    const ended = isInCustody ? 1 : 2;
    await one.create(name, 'alice');
    const first = await one.issue(name, context);
    await one.rotate(name, 'alice');
    const sealed = isInCustody ? first : await one.issue(name, context);
    await one.rotate(name, 'alice');
    await two.unwrap(name, sealed.ciphertext, context);
    await two.flushUses();
    const refused = (work: () => unknown, code: ErrorCode, claim: string) => refuses(t, work, code, claim);
    await refused(
      () => one.destroyVersion(name, ended, 'alice', quiet),
      'SELLO_KEY_CHANGE_REFUSED',
      'enabled',
    );
    await refused(
      () => one.change(name, { kind: 'schedule-destruction', version: ended, wait: 60 }, 'alice'),
      'SELLO_KEY_CHANGE_REFUSED',
      'enabled',
    );
    if (!isInCustody) {
      await one.change(name, { kind: 'set-version', version: 1, state: 'disabled' }, 'alice');
      await refused(
        () => one.change(name, { kind: 'schedule-destruction', version: 1, wait: 60 }, 'alice'),
        'SELLO_KEY_CHANGE_REFUSED',
        'the version in KES’s layout ends with the key: said when it is asked for',
      );
    }
    await one.change(name, { kind: 'set-version', version: ended, state: 'disabled' }, 'alice');
    await refused(
      () => one.destroyVersion(name, ended, 'alice', quiet),
      'SELLO_KEY_CHANGE_REFUSED',
      'nobody asked for it',
    );
    await one.change(name, { kind: 'schedule-destruction', version: ended, wait: 60 }, 'alice');
    await refused(
      () => one.destroyVersion(name, ended, 'alice', quiet),
      'SELLO_KEY_CHANGE_REFUSED',
      'not waited for',
    );
    pass(61);
    await refused(
      () => one.destroyVersion(name, ended, 'alice', quiet),
      'SELLO_KEY_IN_USE',
      'another replica used it within the hour',
    );
    t.match((await one.use(name)).get(ended), { opened: 1 });
    pass(quiet);
    const { id, versions } = await one.keyring(name);
    const path = `versions/${id}/${versions[ended - 1]!.place!}`;
    if (!isInCustody) t.ok(await store.records!.read(path));
    t.equal((await one.destroyVersion(name, ended, 'alice', quiet)).versions[ended - 1]!.state, 'destroyed');
    t.equal(await store.records!.read(path), undefined, 'its bytes are gone');
    await refused(
      () => one.unwrap(name, sealed.ciphertext, context),
      'SELLO_KEY_DISABLED',
      'nothing opens it',
    );
    await refused(
      () => one.change(name, { kind: 'set-version', version: ended, state: 'enabled' }, 'alice'),
      'SELLO_KEY_CHANGE_REFUSED',
      'for ever',
    );
  });

  test('rotates on schedule, once however many replicas look', async (t, { one, two, pass }) => {
    await one.create(name, 'alice');
    await one.change(name, { kind: 'set-rotation', every: 86_400 }, 'alice');
    t.same(await one.due(), []);
    pass(86_400);
    t.match(await one.due(), [{ name, kind: 'rotate' }]);
    const outcomes = await Promise.allSettled([
      one.rotateWhenDue(name, 'schedule'),
      two.rotateWhenDue(name, 'schedule'),
    ]);
    t.equal(outcomes.filter((outcome) => outcome.status === 'fulfilled' && outcome.value).length, 1);
    t.equal((await one.keyring(name)).versions.length, 2);
    t.same(await one.due(), []);
    t.notOk(await two.rotateWhenDue(name, 'schedule'), 'done already');
  });

  test('an older keyring put back is refused and told of, until an administrator accepts it', async (t, {
    one,
    two,
    store,
    alarms,
  }) => {
    const records = store.records!;
    await one.create(name, 'alice');
    const first = await one.issue(name, context);
    await one.rotate(name, 'alice');
    const older = await records.read('keyrings/app-key');
    await one.rotate(name, 'alice');
    await one.change(name, { kind: 'set-version', version: 1, state: 'disabled' }, 'alice');
    const newest = await one.issue(name, context);
    await two.unwrap(name, newest.ciphertext, context);

    await records.write('keyrings/app-key', older!.value, (await records.read('keyrings/app-key'))!.revision);
    await Promise.all([one.revalidate(), two.revalidate()]);
    for (const keys of [one, two]) {
      await refuses(
        t,
        () => keys.unwrap(name, first.ciphertext, context),
        'SELLO_KEYRING_ROLLED_BACK',
        'what was disabled stays so',
      );
      await refuses(
        t,
        () => keys.rotate(name, 'mallory'),
        'SELLO_KEYRING_ROLLED_BACK',
        'nothing is built on it',
      );
    }
    t.ok(alarms.some(({ kind }) => kind === 'rolled-back'));

    await records.delete('keyrings/app-key', (await records.read('keyrings/app-key'))!.revision);
    await Promise.all([one.revalidate(), two.revalidate()]);
    await refuses(t, () => two.issue(name, context), 'SELLO_KEYRING_ROLLED_BACK', 'none at all is older too');

    await records.write('keyrings/app-key', older!.value, 0);
    await one.acceptRestore('alice');
    t.ok((await one.unwrap(name, first.ciphertext, context)).equals(first.plaintext), 'accepted');
    t.ok((await two.unwrap(name, first.ciphertext, context)).equals(first.plaintext), 'by every replica');
  });

  test('a value or a version that was exchanged is not used', async (t, { one, two, store }) => {
    const records = store.records!;
    await one.create(name, 'alice');
    await one.rotate(name, 'alice');
    await one.rotate(name, 'alice');
    const third = await one.issue(name, context);
    if (!isInCustody) {
      const { id, versions } = await one.keyring(name);
      const [second, newest] = [versions[1]!, versions[2]!].map(
        ({ place }) => `versions/${id}/${place!}`,
      ) as [string, string];
      const bytes = (await records.read(second))!.value;
      await records.write(newest, bytes, (await records.read(newest))!.revision);
      await refuses(
        t,
        () => two.unwrap(name, third.ciphertext, context),
        'SELLO_STORED_KEY_UNREADABLE',
        'the second in place of the third',
      );
    }
    const value = await store.read(name);
    await store.delete(name);
    await store.create(parseKeyName('other'), value);
    await two.revalidate();
    await refuses(
      t,
      () => two.issue(name, context),
      'SELLO_STORED_KEY_UNREADABLE',
      'without its value the key is not "not there"',
    );
    await refuses(t, () => two.create(name, 'bob'), 'SELLO_KEY_EXISTS', 'nor is its name free');
    await store.create(name, Buffer.from(JSON.stringify({ bytes: randomBytes(32).toString('base64') })));
    await two.revalidate();
    await refuses(
      t,
      () => two.issue(name, context),
      'SELLO_STORED_KEY_UNREADABLE',
      'another value in its place',
    );
  });
}
