/** Restraints only ever restrict, and holds outlive a restart. */
import fc from 'fast-check';
import { readdirSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import t from 'tap';
import { HoldFiles, parseKeyName, TenantKeys, type Hold, type ToldState } from '../../src/keys/index.ts';
import { parseHold, parsePeerItem } from '../../src/keys/peer-item.ts';
import type { KeyringRecord, KeyState, VersionState } from '../../src/keys/keyring-record.ts';
import {
  leavesNothingToSeal,
  restrained,
  restrictsMore,
  strictest,
  toldStateOf,
} from '../../src/keys/restraint.ts';
import { sealingVersion } from '../../src/keys/transitions.ts';
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
const holdOf = (change: Hold['change']): Hold => ({ id: '0'.repeat(64), key: name, change, by: '', at: 1 });

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
        const after = restrained(before, () => before, changes.map(holdOf), states)!;
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
      const hold = { ...holdOf(asked), keyId: '0'.repeat(32), createdAt: 7 };
      t.same(parseHold(JSON.parse(JSON.stringify(hold))), hold);
    }),
    { numRuns: 50 },
  );
  t.end();
});

async function open(folder: string): Promise<TenantKeys> {
  const cache = { maxEntries: 10, expiryMs: 0, unusedMs: 0, offlineMs: 0, negativeMs: 0 };
  const keys = new TenantKeys(new MemoryKeystore(), cache, { holdFiles: new HoldFiles(folder) });
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
    await third.restraints.take({ kind: 'hold', hold }, 'peer'),
    'known',
    'a peer that missed it brings nothing back',
  );
  t.strictSame(
    [...third.restraints.items()],
    [{ item: { kind: 'withdrawn', id: hold.id, token } }],
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
