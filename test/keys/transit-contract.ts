/** What keys of the Transit face promise on every store with records, with two replicas on one store. */
import { type Test } from 'tap';
import t from 'tap';
import { hasCode, type ErrorCode } from '../../src/errors.ts';
import { parseStoredKey, TenantKeys, versionOfCiphertext } from '../../src/keys/index.ts';
import {
  context,
  name,
  noLimits,
  openReplicas,
  refuses,
  type OpenTwo,
  type Replicas,
} from './keyring-contract.ts';

const plain = { algorithm: 'AES256', derived: false } as const;
const message = Buffer.from('a data key of 32 bytes, or not..');

/** @param isInCustody the bytes of versions are with a custodian */
export function testTransitKeys(kind: string, openTwo: OpenTwo, isInCustody = false): void {
  const test = (claim: string, work: (t: Test, replicas: Replicas) => Promise<void>): void => {
    void t.test(`${kind}, Transit: ${claim}`, async (t) => work(t, await openReplicas(t, openTwo)));
  };
  const notAuthentic = (t: Test, work: () => unknown, claim: string) =>
    refuses(t, work, 'SELLO_CIPHERTEXT_NOT_AUTHENTIC', claim);

  test('a key made here says its face, and opens on another one only where it says so', async (t, {
    one,
    two,
    store,
  }) => {
    await one.createForTransit(name, plain, 'alice');
    await refuses(t, () => two.createForTransit(name, plain, 'bob'), 'SELLO_KEY_EXISTS', 'it is there');
    await refuses(t, () => two.create(name, 'bob'), 'SELLO_KEY_EXISTS', 'for the KES face too');
    const record = await one.keyring(name);
    t.match(record, {
      state: 'enabled',
      isImplicit: false,
      transit: { derived: false, deletionAllowed: false, minEncryptionVersion: 0 },
      versions: [{ custody: isInCustody ? 'transit' : 'stored' }],
    });
    const value = await store.read(name);
    t.throws(() => parseStoredKey(value), 'what stands at its place is no key to KES');
    const sealed = await one.encrypt(name, message, context, 'transit');
    t.equal(sealed.toString('latin1', 0, 8), 'SELLOWRP');
    t.ok((await two.unwrap(name, sealed, context, 'transit')).equals(message), 'another replica opens it');
    await notAuthentic(t, () => one.unwrap(name, sealed, context), 'not on the KES face');
    const kes = await one.encrypt(name, message, context);
    t.equal(kes.toString('latin1', 0, 8), 'SELLOWRP', 'nor is KES’s layout made with it');
    await notAuthentic(t, () => one.unwrap(name, kes, context, 'transit'), 'and the other way round');
    await one.change(name, { kind: 'set-cross-face', on: true }, 'alice');
    t.ok((await one.unwrap(name, sealed, context)).equals(message));
    t.ok((await one.unwrap(name, kes, context, 'transit')).equals(message));
    await notAuthentic(
      t,
      () => one.unwrap(name, sealed, Buffer.from('{}')),
      'crossing faces keeps the context',
    );
    for (const at of [8, 9, 10, 11, 12, 28, 31, 32, 64, 96, sealed.length - 1]) {
      const changed = Buffer.from(sealed);
      changed[at]! ^= 1;
      await notAuthentic(
        t,
        () => one.unwrap(name, changed, context, 'transit'),
        `byte ${String(at)} changed`,
      );
    }
  });

  test('a key of the KES face serves this one with envelopes, and keeps what it sealed before to itself', async (t, {
    one,
    two,
  }) => {
    await one.create(name, 'alice');
    const before = await one.encrypt(name, message, context);
    t.same(await two.transitSettings(name, false), {
      derived: false,
      deletionAllowed: false,
      minEncryptionVersion: 0,
    });
    await notAuthentic(t, () => two.unwrap(name, before, context, 'transit'), 'of the KES face');
    if (!isInCustody)
      t.equal((await one.keyring(name)).isImplicit, true, 'a look alone leaves it without a keyring');
    // Both at once: one of them makes the keyring.
    await Promise.all([one.transitSettings(name, true), two.transitSettings(name, true)]);
    const sealed = await Promise.all(
      [one, two].map(async (keys) => keys.encrypt(name, message, context, 'transit')),
    );
    for (const ciphertext of sealed) {
      t.equal(ciphertext.toString('latin1', 0, 8), 'SELLOWRP');
      for (const keys of [one, two])
        t.ok((await keys.unwrap(name, ciphertext, context, 'transit')).equals(message));
    }
    t.ok((await one.unwrap(name, before, context)).equals(message), 'its own face still opens it');
    await one.change(name, { kind: 'set-cross-face', on: true }, 'alice');
    t.ok((await one.unwrap(name, before, context, 'transit')).equals(message), 'and this one, once it may');
  });

  test('a version that is named seals, within the bounds of the key', async (t, { one }) => {
    const bounds = (work: () => unknown, code: ErrorCode, claim: string) => refuses(t, work, code, claim);
    await one.createForTransit(name, plain, 'alice');
    await one.rotate(name, 'alice');
    await one.rotate(name, 'alice');
    const seal = async (version?: number) => one.encrypt(name, message, context, 'transit', version);
    t.equal(versionOfCiphertext(await seal()), 3);
    for (const version of [1, 2, 3]) {
      const ciphertext = await seal(version);
      t.equal(versionOfCiphertext(ciphertext), version);
      t.ok((await one.unwrap(name, ciphertext, context, 'transit')).equals(message));
    }
    t.equal((await one.issue(name, context, 'transit', 2)).version, 2);
    const first = await seal(1);
    const rewrap = async (version?: number) =>
      (await one.rewrap(name, [{ ciphertext: first, context, face: 'transit', version }]))[0]!;
    t.match(await rewrap(), { from: 1, version: 3 });
    t.match(await rewrap(2), { from: 1, version: 2 });
    t.match(await rewrap(1), { ciphertext: first, from: 1, version: 1 });
    await bounds(() => seal(4), 'SELLO_KEY_VERSION_NOT_FOUND', 'one that is not there');
    await one.change(name, { kind: 'set-min-encryption-version', version: 2 }, 'alice');
    t.same(await one.versionRange(name), { least: 1, latest: 3, leastSealing: 2, algorithm: 'AES256' });
    await bounds(() => seal(1), 'SELLO_KEY_VERSION_TOO_OLD', 'below the minimum for sealing');
    t.match(
      await rewrap(1),
      { error: { code: 'SELLO_KEY_VERSION_TOO_OLD' } },
      'and nothing is rewrapped with it',
    );
    t.ok((await one.unwrap(name, first, context, 'transit')).equals(message), 'which still opens');
    await one.change(name, { kind: 'set-version', version: 2, state: 'disabled' }, 'alice');
    await bounds(() => seal(2), 'SELLO_KEY_DISABLED', 'a disabled one');
    await one.change(name, { kind: 'set-min-decryption-version', version: 2 }, 'alice');
    await bounds(
      () => one.unwrap(name, first, context, 'transit'),
      'SELLO_KEY_VERSION_TOO_OLD',
      'opened no more',
    );
    t.equal(versionOfCiphertext(await seal()), 3, 'the newest seals on');
  });

  test('settings are the store’s: another replica has them, and a new key of the name has none', async (t, {
    one,
    two,
  }) => {
    await one.createForTransit(name, { ...plain, derived: true, rotateEvery: 7200 }, 'alice');
    t.match(await two.keyring(name), { rotateEvery: 7200, transit: { derived: true } });
    t.not((await two.keyring(name)).rotateAt, 0);
    t.match(await two.transitSettings(name, true), { derived: true, deletionAllowed: false });
    await one.change(name, { kind: 'set-deletion-allowed', on: true }, 'alice');
    two.forget(name);
    t.match(await two.transitSettings(name, true), { derived: true, deletionAllowed: true });
    const sealed = await one.encrypt(name, message, context, 'transit');
    const mac = await one.mac(name, message);
    await one.rotate(name, 'alice');
    t.ok((await one.mac(name, message)).equals(mac), 'rotation leaves the HMAC key');
    await one.delete(name, 'alice');
    await refuses(t, () => one.transitSettings(name, true), 'SELLO_KEY_NOT_FOUND', 'it is gone');
    await one.createForTransit(name, plain, 'bob');
    t.match(await one.transitSettings(name, true), { derived: false, deletionAllowed: false });
    await notAuthentic(t, () => one.unwrap(name, sealed, context, 'transit'), 'of the key before');
    t.notOk((await one.mac(name, message)).equals(mac));
  });

  test('of many who make a key of one name at once all have the same', async (t, { one, two, store }) => {
    const three = new TenantKeys(store, noLimits, { tenant: 'acme' });
    const makers = [one, two, three];
    const outcomes = await Promise.allSettled(
      makers.flatMap((keys) => [0, 1].map(() => keys.createForTransit(name, plain, 'alice'))),
    );
    for (const outcome of outcomes)
      if (outcome.status === 'rejected')
        t.ok(
          hasCode(outcome.reason, 'SELLO_KEY_EXISTS'),
          `${String(outcome.reason)} ${String((outcome.reason as { detail?: string }).detail)}`,
        );
    const sealed = await Promise.all(
      makers.map(async (keys) => keys.encrypt(name, message, context, 'transit')),
    );
    for (const ciphertext of sealed)
      for (const keys of makers)
        t.ok((await keys.unwrap(name, ciphertext, context, 'transit')).equals(message));
    t.equal((await one.keyring(name)).versions.length, 1);
  });

  test('a value that was put in the place of the key’s own is found out', async (t, { one, two, store }) => {
    await one.createForTransit(name, plain, 'alice');
    await one.encrypt(name, message, context, 'transit');
    await store.delete(name);
    two.forget(name);
    await refuses(t, () => two.mac(name, message), 'SELLO_STORED_KEY_UNREADABLE', 'none');
    // Another key's, of a tenant's own making.
    const elsewhere = await openReplicas(t, openTwo);
    if (isInCustody) await elsewhere.one.createForTransit(name, plain, 'mallory');
    else await elsewhere.one.create(name, 'mallory');
    const foreign = await elsewhere.store.read(name);
    await store.create(name, Buffer.from(foreign));
    two.forget(name);
    await refuses(
      t,
      () => two.encrypt(name, message, context, 'transit'),
      'SELLO_STORED_KEY_UNREADABLE',
      'another',
    );
    await refuses(t, () => two.mac(name, message), 'SELLO_STORED_KEY_UNREADABLE', 'and its HMAC key');
  });

  if (isInCustody)
    test('ChaCha20 is not what a custodian’s versions are', async (t, { one }) => {
      await refuses(
        t,
        () => one.createForTransit(name, { algorithm: 'ChaCha20', derived: false }, 'alice'),
        'SELLO_KEYRING_UNSUPPORTED',
        'refused',
      );
      await refuses(t, () => one.keyring(name), 'SELLO_KEY_NOT_FOUND', 'and nothing was begun');
    });
  else
    test('ChaCha20 stays ChaCha20 over a rotation', async (t, { one }) => {
      await one.createForTransit(name, { algorithm: 'ChaCha20', derived: false }, 'alice');
      await one.rotate(name, 'alice');
      t.strictSame(
        (await one.keyring(name)).versions.map(({ algorithm }) => algorithm),
        ['ChaCha20', 'ChaCha20'],
      );
      const sealed = await one.encrypt(name, message, context, 'transit');
      t.equal(sealed[9], 2);
      t.ok((await one.unwrap(name, sealed, context, 'transit')).equals(message));
    });
}
