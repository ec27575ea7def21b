/** Restraints only ever restrict, and holds outlive a restart. */
import fc from 'fast-check';
import { randomBytes } from 'node:crypto';
import { readdirSync, rmSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { setTimeout as delay } from 'node:timers/promises';
import t from 'tap';
import { HoldFiles, parseKeyName, TenantKeys, type Hold, type ToldState } from '../../src/keys/index.ts';
import { parseHold, parsePeerItem } from '../../src/keys/peer-item.ts';
import type { KeyringRecord, KeyState, VersionState } from '../../src/keys/keyring-record.ts';
import {
  holdIdOf,
  leavesNothingToSeal,
  lockOf,
  restrained,
  restrictsMore,
  strictest,
  toldStateOf,
} from '../../src/keys/restraint.ts';
import { sealingVersion } from '../../src/keys/transitions.ts';
import { EndedHolds } from '../../src/keys/ended-holds.ts';
import { MemoryKeystore } from '../../src/keystores/memory.ts';

const name = parseKeyName('key');
const versionStates: VersionState[] = ['enabled', 'disabled', 'compromised', 'destroyed'];
const keyStates: KeyState[] = ['enabled', 'disabled', 'pending-deletion', 'creating', 'deleting', 'deleted'];

const record = fc
  .record({
    state: fc.constantFrom<KeyState>('enabled', 'disabled', 'pending-deletion'),
    versions: fc.array(fc.constantFrom(...versionStates), { minLength: 1, maxLength: 5 }),
    min: fc.integer({ min: 1, max: 5 }),
    rewrapOnly: fc.boolean(),
    crossFace: fc.boolean(),
    generation: fc.integer({ min: 1, max: 9 }),
  })
  .map(({ state, versions, min, rewrapOnly, crossFace, generation }): KeyringRecord => ({
    id: '0'.repeat(32),
    generation,
    state,
    createdAt: 1,
    createdBy: '',
    changedAt: 1,
    changedBy: '',
    versions: versions.map((each, i) => ({
      version: i + 1,
      state: each,
      custody: 'stored',
      algorithm: 'AES256',
      createdAt: 1,
      changedAt: 1,
      place: 'x',
      fingerprint: '0'.repeat(32),
    })),
    minDecryptionVersion: Math.min(min, versions.length),
    rewrapOnly,
    crossFace,
    rotateEvery: 0,
    rotateAt: 0,
  }))
  .filter((of) => isPossible(of));
/** Of versions that seal none may be below the minimum: no change leads there. */
function isPossible(of: KeyringRecord): boolean {
  return (sealingVersion(of)?.version ?? 99) >= of.minDecryptionVersion;
}
const told: fc.Arbitrary<ToldState> = fc.record({
  createdAt: fc.constant(1),
  generation: fc.integer({ min: 0, max: 20 }),
  state: fc.constantFrom(...keyStates),
  versions: fc.array(fc.constantFrom(...versionStates), { maxLength: 6 }),
  minDecryptionVersion: fc.integer({ min: 0, max: 6 }),
  rewrapOnly: fc.boolean(),
  crossFace: fc.boolean(),
});
const change: fc.Arbitrary<Hold['change']> = fc.oneof(
  fc.constant({ kind: 'disable' } as const),
  fc.record({ kind: fc.constant('schedule-deletion' as const), wait: fc.nat() }),
  fc.record({
    kind: fc.constant('set-version' as const),
    version: fc.integer({ min: 1, max: 6 }),
    state: fc.constantFrom('disabled' as const, 'compromised' as const),
  }),
);
/** As another replica asks for it. */
function holdOf(change: Hold['change'], over: Partial<Hold> = {}): Hold {
  const said = { lock: lockOf(randomBytes(32).toString('hex')), key: name, change, by: '', at: 1, ...over };
  return { id: holdIdOf(said), ...said };
}
const peer = { kind: 'peer', teller: 'a peer' } as const;

/** What may be done with each version of a key. */
function allowed(of: KeyringRecord): Set<string> {
  const can = new Set<string>();
  if (of.crossFace) can.add('cross faces');
  if (of.state !== 'enabled') return can;
  const sealing = sealingVersion(of);
  if (sealing !== undefined) can.add('seal');
  for (const { state, version } of of.versions) {
    if (version < of.minDecryptionVersion || state === 'disabled' || state === 'destroyed') continue;
    can.add(`rewrap ${String(version)}`);
    if (state === 'enabled' || !of.rewrapOnly) can.add(`open ${String(version)}`);
    if (state === 'enabled') can.add(`seal and open ${String(version)}`);
  }
  return can;
}

t.test('whatever is held or told, nothing is allowed that was not', (t) => {
  fc.assert(
    fc.property(
      record,
      fc.array(change, { maxLength: 4 }),
      fc.array(told, { maxLength: 3 }),
      (before, changes, states) => {
        const after = restrained(
          before,
          () => before,
          changes.map((each) => holdOf(each)),
          states,
        )!;
        const [could, can] = [allowed(before), allowed(after)];
        for (const each of can) if (!could.has(each)) return false;
        const sealing = sealingVersion(after);
        // What seals can be opened.
        return sealing === undefined || sealing.version >= after.minDecryptionVersion || !can.has('seal');
      },
    ),
    { numRuns: 3000 },
  );
  fc.assert(
    fc.property(record, told, told, (before, one, other) => {
      const both = allowed(restrained(before, () => before, [], [strictest(one, other)])!);
      return [one, other].every((each) => {
        const alone = allowed(restrained(before, () => before, [], [each])!);
        return [...both].every((can) => alone.has(can));
      });
    }),
    { numRuns: 3000 },
  );
  fc.assert(
    fc.property(record, change, (before, asked) => {
      const after = restrained(before, () => before, [holdOf(asked)], [])!;
      if (restrictsMore(before, asked))
        return !leavesNothingToSeal(before, asked) || sealingVersion(after) === undefined;
      return [...allowed(before)].join() === [...allowed(after)].join();
    }),
    { numRuns: 3000 },
  );
  t.end();
});

t.test('what is written for a peer is read again', (t) => {
  fc.assert(
    fc.property(record, change, (of, asked) => {
      const item = { kind: 'state', key: 'key', state: toldStateOf(of) };
      t.same(parsePeerItem(JSON.parse(JSON.stringify(item))), item);
      const hold = holdOf(asked, { keyId: '0'.repeat(32), createdAt: 7 });
      t.same(parseHold(JSON.parse(JSON.stringify(hold))), hold);
      for (const other of [
        { key: 'another' },
        { by: 'somebody' },
        { at: 2 },
        { createdAt: 8 },
        { keyId: undefined },
        { change: { kind: 'set-version', version: 7, state: 'compromised' } },
        { lock: '0'.repeat(64) },
      ])
        t.equal(
          parseHold({ ...hold, ...other }),
          undefined,
          'its id is of what it says, and of nothing else',
        );
    }),
    { numRuns: 50 },
  );
  t.end();
});

const troubles: unknown[] = [];

async function open(folder: string, now: () => number = Date.now): Promise<TenantKeys> {
  const cache = { maxEntries: 10, expiryMs: 0, unusedMs: 0, offlineMs: 0, negativeMs: 0 };
  const keys = new TenantKeys(new MemoryKeystore(), cache, {
    holdFiles: new HoldFiles(folder, (error) => troubles.push(error)),
    now,
  });
  await keys.create(name, '');
  await keys.restraints.load();
  return keys;
}

t.test('a hold outlives a restart, and so does its end', async (t) => {
  const folder = join(t.testdir({}), 'holds');
  const context = Buffer.from('{}');
  const first = await open(folder);
  const { hold, token } = await first.restraints.hold(name, { kind: 'disable' }, 'somebody');
  await first.close();

  const second = await open(folder);
  t.match(second.restraints.holds, [{ id: hold.id, by: 'somebody', change: { kind: 'disable' } }]);
  await t.rejects(async () => second.issue(name, context), { code: 'SELLO_KEY_DISABLED' });
  t.equal(
    (await second.restraints.withdraw(name, () => true)).ended.length,
    1,
    'with the token that it kept',
  );
  t.ok(await second.issue(name, context), 'at once');
  await second.close();

  const third = await open(folder);
  t.strictSame(third.restraints.holds, []);
  t.equal(
    await third.restraints.take({ kind: 'hold', hold }, peer),
    'known',
    'a peer that missed it brings nothing back',
  );
  t.same(
    [...third.restraints.items()],
    [{ item: { kind: 'withdrawn', hold, token }, origin: 'here' }],
    'and is told',
  );
  const settled = await third.restraints.hold(name, { kind: 'disable' }, 'somebody');
  await third.settle(name, '');
  t.strictSame(third.restraints.holds, []);
  t.match(await third.keyring(name), { state: 'disabled', changedBy: 'somebody', holds: [settled.hold.id] });
  t.equal(await third.settle(name, ''), undefined, 'once');
  await third.close();
  t.strictSame(readdirSync(folder), [`${hold.id}.json`], 'what the store has is not kept here');

  writeFileSync(join(folder, `${'0'.repeat(64)}.json`), '{}');
  await t.rejects(open(folder), /is no hold/, 'a file that is none stops the start: it may have been one');
});

t.test('one that ends while it is written leaves no file', async (t) => {
  const folder = join(t.testdir({}), 'holds');
  const keys = await open(folder);
  const { id } = (await keys.restraints.hold(name, { kind: 'disable' }, '')).hold;
  const hold = holdOf({ kind: 'disable' });
  const taken = keys.restraints.take({ kind: 'hold', hold }, peer);
  keys.restraints.settled(hold.id);
  keys.restraints.settled(id);
  await taken;
  await keys.restraints.hold(name, { kind: 'disable' }, '');
  const files = (): string[] => readdirSync(folder);
  for (let i = 0; i < 500 && files().length > 1; i++) await delay(10);
  t.strictSame(files(), [`${keys.restraints.holds[0]!.id}.json`]);
  await keys.close();
});

t.test('a peer’s deletion is disabled once, and is over when somebody enables the key', async (t) => {
  const keys = await open(join(t.testdir({}), 'holds'));
  const hold = holdOf({ kind: 'schedule-deletion', wait: 0 });
  await keys.restraints.take({ kind: 'hold', hold }, peer);
  await keys.settle(name, '');
  t.match(await keys.keyring(name), { state: 'disabled', changedBy: 'a peer, for ' });
  t.equal(keys.restraints.holds.length, 1, 'it waits for who was asked');
  t.notOk(keys.hasToSettle(name, await keys.keyring(name)));
  t.match(await keys.changeOrHold(name, { kind: 'enable' }, 'alice'), { record: { state: 'enabled' } });
  await keys.settle(name, '');
  t.match(await keys.keyring(name), { state: 'enabled', changedBy: 'alice' }, 'not disabled once more');
  t.strictSame(keys.restraints.holds, [], 'and nothing is held');
  await keys.close();
});

t.test('an old hold that is told again after its end restricts nothing', async (t) => {
  const store = new MemoryKeystore();
  const replica = (): TenantKeys =>
    new TenantKeys(store, { maxEntries: 10, expiryMs: 0, unusedMs: 0, offlineMs: 0, negativeMs: 0 });
  const first = replica();
  await first.create(name, '');
  const own = (await first.restraints.hold(name, { kind: 'disable' }, 'alice')).hold;
  const told = holdOf({ kind: 'schedule-deletion', wait: 0 });
  await first.restraints.take({ kind: 'hold', hold: told }, peer);
  await first.settle(name, '');
  await first.change(name, { kind: 'enable' }, 'alice');
  await first.settle(name, '');
  const before = await first.keyring(name);
  t.equal(before.state, 'enabled');
  // One that has begun since remembers no end of them.
  const fresh = replica();
  for (const hold of [own, told])
    for (const keys of [first, fresh]) {
      await keys.issue(name, Buffer.from('{}'));
      t.equal(await keys.restraints.take({ kind: 'hold', hold }, peer), 'known');
      t.ok(await keys.issue(name, Buffer.from('{}')), 'not even until the store is read');
      await keys.settle(name, '');
    }
  // Also where the key is not in memory when it is told.
  const empty = replica();
  await empty.restraints.take({ kind: 'hold', hold: told }, peer);
  t.ok(await empty.issue(name, Buffer.from('{}')));
  t.same(empty.restraints.holds, []);
  t.same(await first.keyring(name), before);
});

t.test('a peer’s word makes no row of versions', async (t) => {
  let nowMs = 1_800_000_000_000;
  const keys = await open(join(t.testdir({}), 'holds'), () => nowMs);
  const compromise = (version: number): Hold =>
    holdOf({ kind: 'set-version', version, state: 'compromised' });
  const states = async () => (await keys.keyring(name)).versions.map(({ state }) => state);
  for (let version = 1; version <= 20; version++)
    await keys.restraints.take({ kind: 'hold', hold: compromise(version) }, peer);
  for (let i = 0; i < 5; i++) await keys.settle(name, '');
  t.same(await states(), ['compromised', 'enabled'], 'version 1 has a successor');
  await keys.restraints.take({ kind: 'hold', hold: compromise(2) }, peer);
  for (let i = 0; i < 5; i++) await keys.settle(name, '');
  t.same(await states(), ['compromised', 'enabled'], 'which a peer’s word does not end at once');
  await t.rejects(async () => keys.issue(name, Buffer.from('{}')), 'in force it is');
  nowMs += 3_600_000;
  await keys.settle(name, '');
  t.same(await states(), ['compromised', 'compromised', 'enabled'], 'but an hour later');
  await keys.close();
});

t.test('a hold that the key refuses keeps no other one from being written', async (t) => {
  const keys = await open(join(t.testdir({}), 'holds'));
  for (let i = 1; i < 256; i++) await keys.rotate(name, '');
  const versions = Array.from({ length: 255 }, (_, i) => i + 1);
  for (const version of versions)
    await keys.change(name, { kind: 'set-version', version, state: 'disabled' }, '');
  // No version could take over any more.
  const refused = await keys.restraints.hold(
    name,
    { kind: 'set-version', version: 256, state: 'compromised' },
    'alice',
  );
  await keys.restraints.hold(name, { kind: 'disable' }, 'alice');
  await keys.settle(name, '');
  t.match(await keys.keyring(name), { state: 'disabled', changedBy: 'alice' });
  t.match(keys.restraints.holds, [{ id: refused.hold.id }], 'and it stays in force');
  await keys.close();
});

t.test('what a peer tells for nothing is written nowhere', async (t) => {
  const keys = await open(join(t.testdir({}), 'holds'));
  const { hold } = await keys.restraints.hold(name, { kind: 'disable' }, 'alice');
  await keys.settle(name, '');
  const before = await keys.keyring(name);
  t.same(before.holds, [hold.id]);
  for (let version = 1; version <= 100; version++)
    await keys.restraints.take(
      { kind: 'hold', hold: holdOf({ kind: 'set-version', version: version + 1, state: 'disabled' }) },
      peer,
    );
  await keys.settle(name, '');
  t.strictSame(keys.restraints.holds, []);
  t.same(await keys.keyring(name), before, 'and makes the keyring forget no hold that it has');
  await keys.close();
});

t.test('each teller has a share of its own, of holds and of ends', async (t) => {
  const folder = join(t.testdir({}), 'holds');
  const keys = await open(folder);
  const { restraints } = keys;
  const liar = { kind: 'peer', teller: 'liar' } as const;
  const outcomes = new Map<string, number>();
  const note = (outcome: string): void => void outcomes.set(outcome, (outcomes.get(outcome) ?? 0) + 1);
  for (let i = 0; i < 1010; i++)
    note(await restraints.take({ kind: 'hold', hold: holdOf({ kind: 'disable' }, { at: i }) }, liar));
  t.same(Object.fromEntries(outcomes), { taken: 1000, refused: 10 });
  const hold = holdOf({ kind: 'disable' }, { key: parseKeyName('more') });
  t.equal(await restraints.take({ kind: 'hold', hold }, peer), 'taken', 'another peer is heard');
  t.ok((await restraints.hold(name, { kind: 'disable' }, '')).hold, 'and so is who asks here');

  outcomes.clear();
  for (let i = 0; i < 3010; i++) {
    const token = randomBytes(32).toString('hex');
    const ended = holdOf({ kind: 'disable' }, { lock: lockOf(token), at: i });
    note(await restraints.take({ kind: 'withdrawn', hold: ended, token }, liar));
  }
  t.same(Object.fromEntries(outcomes), { taken: 3000, refused: 10 }, 'each is a record: 4,000 in an hour');
  t.equal(readdirSync(folder).length, 1002, 'a file for each that is held, and for none that was not known');
  await keys.close();
});

t.test('a disk that takes nothing keeps nobody from stopping a key', async (t) => {
  const folder = join(t.testdir({}), 'holds');
  const keys = await open(folder);
  t.ok((await keys.restraints.hold(parseKeyName('more'), { kind: 'disable' }, '')).isOnDisk);
  rmSync(folder, { recursive: true });
  const { isOnDisk } = await keys.restraints.hold(name, { kind: 'disable' }, '');
  t.equal(isOnDisk, false, 'who asks is told');
  t.equal((await keys.restraints.hold(name, { kind: 'disable' }, '')).isOnDisk, false, 'each time');
  const told = holdOf({ kind: 'disable' }, { key: parseKeyName('more') });
  t.equal(
    await keys.restraints.take({ kind: 'hold', hold: told }, peer),
    'taken',
    'what peers tell counts too',
  );
  await t.rejects(async () => keys.issue(name, Buffer.from('{}')), { code: 'SELLO_KEY_DISABLED' });
  t.equal(troubles.length, 3, 'and the log says so');
  await keys.close();
});

t.test('a disk that hangs holds up no telling', async (t) => {
  // As a server's sockets do.
  const alive = setInterval(() => undefined, 1_000);
  t.teardown(() => clearInterval(alive));
  let isHanging = true;
  const said: unknown[] = [];
  const files = new HoldFiles(
    join(t.testdir({}), 'holds'),
    (error) => said.push(error),
    () => (isHanging ? new Promise(() => undefined) : Promise.resolve()),
  );
  const kept = () => ({ hold: holdOf({ kind: 'disable' }), isOurs: false });
  t.equal(await files.write(kept()), false, 'given up in time');
  isHanging = false;
  const startMs = performance.now();
  for (let i = 0; i < 100; i++) t.equal(await files.write(kept()), false);
  t.ok(performance.now() - startMs < 1_500, 'and not waited for again');
  t.equal(said.length, 101);
});

t.test('ends that are not remembered any more leave no file', (t) => {
  const forgotten: string[] = [];
  const ended = new EndedHolds((id) => forgotten.push(id));
  const mine = holdOf({ kind: 'disable' });
  ended.add(mine.id, { hold: mine, token: '' }, 1, false);
  for (let i = 0; i < 5001; i++) {
    const hold = holdOf({ kind: 'disable' }, { at: i });
    ended.add(String(i), { hold, token: '' }, 1, true);
  }
  t.same(forgotten, ['0'], 'the oldest that peers ended');
  t.ok(ended.has(mine.id), 'and none that ended here');
  t.end();
});
