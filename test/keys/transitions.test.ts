/** Every change in every state of a key and of a version: what comes of it, as a table. */
import t from 'tap';
import type { KeyringRecord, KeyState, VersionState } from '../../src/keys/keyring-record.ts';
import {
  addVersion,
  applyChange,
  beginDeletion,
  destroyVersion,
  type KeyChange,
} from '../../src/keys/transitions.ts';

const by = { by: 'alice', at: 1000 };
const version = (number: number, state: VersionState, more: object = {}) =>
  ({
    version: number,
    state,
    custody: 'stored',
    algorithm: 'AES256',
    createdAt: 1,
    changedAt: 1,
    place: `${String(number)}.0`,
    fingerprint: 'a'.repeat(32),
    ...more,
  }) as const;
const keyOf = (
  state: KeyState,
  first: VersionState = 'enabled',
  more: Partial<KeyringRecord> = {},
): KeyringRecord => ({
  id: '0'.repeat(32),
  generation: 5,
  state,
  createdAt: 1,
  createdBy: '',
  changedAt: 1,
  changedBy: '',
  versions: [version(1, first), version(2, 'enabled')],
  minDecryptionVersion: 1,
  rewrapOnly: false,
  crossFace: false,
  rotateEvery: 0,
  rotateAt: 0,
  ...(state === 'pending-deletion' ? { deletion: { requestedAt: 1, after: 2000, by: 'alice' } } : {}),
  ...more,
});

/** The state after it, or the code of the refusal without `SELLO_KEY_`. */
const outcome = (work: () => KeyringRecord): string => {
  try {
    const after = work();
    t.equal(after.generation, 6, 'one generation more');
    t.match(after, { changedAt: 1000, changedBy: 'alice' });
    return after.state;
  } catch (error) {
    return (error as { code: string }).code.replace('SELLO_KEY_', '');
  }
};

const states: readonly KeyState[] = [
  'enabled',
  'disabled',
  'pending-deletion',
  'creating',
  'deleting',
  'deleted',
];
const no = 'CHANGE_REFUSED';
const pending = 'DELETION_PENDING';
const gone = 'NOT_FOUND';
// `creating` is told apart where a change begins (keyring-store.ts), and is `enabled` here.
const table: readonly [claim: string, change: KeyChange, ...expected: string[]][] = [
  ['enable', { kind: 'enable' }, no, 'enabled', pending, no, pending, gone],
  ['disable', { kind: 'disable' }, 'disabled', no, pending, no, pending, gone],
  [
    'schedule',
    { kind: 'schedule-deletion', wait: 10 },
    'pending-deletion',
    'pending-deletion',
    pending,
    'pending-deletion',
    pending,
    gone,
  ],
  ['cancel', { kind: 'cancel-deletion' }, no, no, 'disabled', no, pending, gone],
  [
    'version',
    { kind: 'set-version', version: 1, state: 'disabled' },
    'enabled',
    'disabled',
    pending,
    'creating',
    pending,
    gone,
  ],
  [
    'minimum',
    { kind: 'set-min-decryption-version', version: 2 },
    'enabled',
    'disabled',
    pending,
    'creating',
    pending,
    gone,
  ],
  [
    'rewrap only',
    { kind: 'set-rewrap-only', on: true },
    'enabled',
    'disabled',
    pending,
    'creating',
    pending,
    gone,
  ],
  [
    'cross face',
    { kind: 'set-cross-face', on: true },
    'enabled',
    'disabled',
    pending,
    'creating',
    pending,
    gone,
  ],
  [
    'the Transit face may delete it',
    { kind: 'set-deletion-allowed', on: true },
    'enabled',
    'disabled',
    pending,
    'creating',
    pending,
    gone,
  ],
  [
    'a minimum for sealing',
    { kind: 'set-min-encryption-version', version: 2 },
    'enabled',
    'disabled',
    pending,
    'creating',
    pending,
    gone,
  ],
  [
    'rotation',
    { kind: 'set-rotation', every: 3600 },
    'enabled',
    'disabled',
    pending,
    'creating',
    pending,
    gone,
  ],
];

t.test('changes of a key', async (t) => {
  for (const [claim, change, ...expected] of table)
    t.same(
      states.map((state) => outcome(() => applyChange(keyOf(state), change, by))),
      expected,
      claim,
    );
  t.same(
    states.map((state) => outcome(() => addVersion(keyOf(state), version(3, 'enabled'), by))),
    ['enabled', 'disabled', pending, 'creating', pending, gone],
    'rotate',
  );
});

t.test('changes of a version', async (t) => {
  const from: readonly VersionState[] = ['enabled', 'disabled', 'compromised', 'destroyed'];
  const to = (state: 'enabled' | 'disabled' | 'compromised') =>
    from.map((before) => {
      try {
        return applyChange(keyOf('enabled', before), { kind: 'set-version', version: 1, state }, by)
          .versions[0]!.state;
      } catch (error) {
        return (error as { code: string }).code.replace('SELLO_KEY_', '');
      }
    });
  t.same(to('enabled'), [no, 'enabled', no, no]);
  t.same(to('disabled'), ['disabled', no, 'disabled', no]);
  t.same(to('compromised'), ['compromised', 'compromised', no, no]);
  const set = (record: KeyringRecord, state: 'enabled' | 'disabled' | 'compromised') =>
    applyChange(record, { kind: 'set-version', version: 1, state }, by);
  const put = set(keyOf('enabled', 'compromised'), 'disabled');
  t.throws(() => set(put, 'enabled'), { code: 'SELLO_KEY_CHANGE_REFUSED' }, 'no way round over disabling it');
  const again = set(put, 'compromised');
  t.equal(again.versions[0]!.state, 'compromised', 'it opens again as what it is');
  t.throws(() => set(again, 'enabled'), { code: 'SELLO_KEY_CHANGE_REFUSED' });
  const planned = keyOf('enabled', 'disabled', {
    versions: [version(1, 'disabled', { destroyAfter: 900 }), version(2, 'enabled')],
  });
  t.equal(destroyVersion(planned, 1, by).versions[0]!.state, 'destroyed');
  t.equal(
    applyChange(planned, { kind: 'set-version', version: 1, state: 'enabled' }, by).versions[0]!.destroyAfter,
    undefined,
    'who enables it takes the plan back',
  );
  for (const [claim, work] of [
    [
      'too early',
      () =>
        destroyVersion(
          { ...planned, versions: [version(1, 'disabled', { destroyAfter: 1001 }), version(2, 'enabled')] },
          1,
          by,
        ),
    ],
    [
      'one in KES’s layout, whose place has the HMAC key too: when it is asked for',
      () =>
        applyChange(
          keyOf('enabled', 'disabled', {
            versions: [version(1, 'disabled', { custody: 'kes', place: undefined }), version(2, 'enabled')],
          }),
          { kind: 'schedule-destruction', version: 1, wait: 1 },
          by,
        ),
    ],
    ['not asked for', () => destroyVersion(keyOf('enabled', 'disabled'), 1, by)],
    ['in use', () => destroyVersion(keyOf('enabled', 'enabled'), 1, by)],
    [
      'the end of one in use',
      () => applyChange(keyOf('enabled'), { kind: 'schedule-destruction', version: 1, wait: 1 }, by),
    ],
    [
      'the only one that seals',
      () =>
        applyChange(keyOf('enabled', 'disabled'), { kind: 'set-version', version: 2, state: 'disabled' }, by),
    ],
    [
      'sealing below the minimum',
      () =>
        applyChange(
          keyOf('enabled', 'enabled', { minDecryptionVersion: 2 }),
          { kind: 'set-version', version: 2, state: 'compromised' },
          by,
        ),
    ],
    [
      'a minimum above what seals',
      () =>
        applyChange(
          keyOf('enabled', 'enabled', { versions: [version(1, 'enabled'), version(2, 'disabled')] }),
          { kind: 'set-min-decryption-version', version: 2 },
          by,
        ),
    ],
    [
      'a minimum for sealing above what seals',
      () =>
        applyChange(
          keyOf('enabled', 'enabled', { versions: [version(1, 'enabled'), version(2, 'disabled')] }),
          { kind: 'set-min-encryption-version', version: 2 },
          by,
        ),
    ],
    [
      'sealing below the minimum for sealing',
      () =>
        applyChange(
          keyOf('enabled', 'enabled', {
            transit: { derived: false, deletionAllowed: false, minEncryptionVersion: 2 },
          }),
          { kind: 'set-version', version: 2, state: 'compromised' },
          by,
        ),
    ],
    ['a rotation every second', () => applyChange(keyOf('enabled'), { kind: 'set-rotation', every: 1 }, by)],
    [
      'a span that is none',
      () => applyChange(keyOf('enabled'), { kind: 'schedule-deletion', wait: Number.NaN }, by),
    ],
    ['deleting before the end of the wait', () => beginDeletion(keyOf('pending-deletion'), by)],
    ['deleting without being asked', () => beginDeletion(keyOf('enabled'), by)],
  ] as const)
    t.throws(work, { code: 'SELLO_KEY_CHANGE_REFUSED' }, claim);
  t.throws(() => applyChange(keyOf('enabled'), { kind: 'set-version', version: 3, state: 'disabled' }, by), {
    code: 'SELLO_KEY_VERSION_NOT_FOUND',
  });
  t.equal(beginDeletion(keyOf('pending-deletion'), { by: 'alice', at: 2000 }).state, 'deleting');
  for (const number of [-1, 3, 1.5])
    t.throws(
      () => applyChange(keyOf('enabled'), { kind: 'set-min-encryption-version', version: number }, by),
      { code: 'SELLO_KEY_VERSION_NOT_FOUND' },
      `no version ${String(number)}`,
    );
  const allowed = applyChange(keyOf('enabled'), { kind: 'set-deletion-allowed', on: true }, by);
  t.same(allowed.transit, { derived: false, deletionAllowed: true, minEncryptionVersion: 0 });
  t.same(
    applyChange(allowed, { kind: 'set-min-encryption-version', version: 2 }, by).transit,
    { derived: false, deletionAllowed: true, minEncryptionVersion: 2 },
    'one setting leaves the others',
  );
});
