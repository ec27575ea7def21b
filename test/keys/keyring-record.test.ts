/** A keyring record that was damaged, or written by somebody else, is never taken for a key's state. */
import t from 'tap';
import { formatKeyring, parseKeyring, type KeyringRecord } from '../../src/keys/keyring-record.ts';

const record: KeyringRecord = {
  id: '0123456789abcdef0123456789abcdef',
  generation: 7,
  state: 'enabled',
  createdAt: 1_795_000_000,
  createdBy: 'alice',
  changedAt: 1_795_000_001,
  changedBy: 'bob',
  versions: [
    {
      version: 1,
      state: 'disabled',
      custody: 'kes',
      algorithm: 'AES256',
      createdAt: 1,
      changedAt: 2,
      fingerprint: 'a'.repeat(32),
      destroyAfter: 9,
      destroyBy: 'bob',
      wasCompromised: true,
    },
    {
      version: 2,
      state: 'enabled',
      custody: 'stored',
      algorithm: 'ChaCha20',
      createdAt: 1,
      changedAt: 2,
      place: '2.0123456789abcdef',
      fingerprint: 'b'.repeat(32),
    },
    {
      version: 3,
      state: 'compromised',
      custody: 'transit',
      algorithm: 'AES256',
      createdAt: 1,
      changedAt: 2,
      place: '1',
    },
  ],
  minDecryptionVersion: 2,
  rewrapOnly: true,
  crossFace: false,
  rotateEvery: 3600,
  rotateAt: 1_795_003_600,
};
const plain = (): Record<string, unknown> =>
  JSON.parse(formatKeyring(record).toString()) as Record<string, unknown>;

t.test('what is written is read again, in every state', async (t) => {
  t.same(parseKeyring(formatKeyring(record)), record);
  const deletion = { requestedAt: 1, after: 2, by: 'alice' };
  for (const state of ['enabled', 'disabled', 'creating', 'deleting'] as const)
    t.same(parseKeyring(formatKeyring({ ...record, state })), { ...record, state }, state);
  t.same(parseKeyring(formatKeyring({ ...record, state: 'pending-deletion', deletion })).deletion, deletion);
  t.same(parseKeyring(formatKeyring({ ...record, state: 'deleted', versions: [] })).versions, []);
});

t.test('every field that is missing or of another kind makes it unreadable', async (t) => {
  const refused = (value: unknown, claim: string) =>
    t.throws(
      () => parseKeyring(Buffer.from(JSON.stringify(value))),
      { code: 'SELLO_STORED_KEY_UNREADABLE' },
      claim,
    );
  for (const text of ['', '{', 'null', '[]', '"x"', '7'])
    t.throws(() => parseKeyring(Buffer.from(text)), { code: 'SELLO_STORED_KEY_UNREADABLE' }, text);
  for (const field of Object.keys(plain())) {
    const { [field]: _, ...rest } = plain();
    refused(rest, `without ${field}`);
    for (const wrong of [null, -1, 1.5, '', {}, [], 'x'.repeat(33)]) {
      // An empty or odd text is a maker's name like any other.
      if ((field === 'createdBy' || field === 'changedBy') && typeof wrong === 'string') continue;
      refused({ ...plain(), [field]: wrong }, `${field}: ${JSON.stringify(wrong)}`);
    }
  }
  const withVersion = (at: number, change: object) => ({
    ...plain(),
    versions: record.versions.map((version, i) => (i === at ? { ...version, ...change } : version)),
  });
  for (const [at, change, claim] of [
    [0, { version: 2 }, 'numbers out of order'],
    [0, { state: 'ended' }, 'an unknown state'],
    [0, { place: '1.0' }, 'a place for what has none'],
    [0, { fingerprint: 'A'.repeat(32) }, 'another alphabet'],
    [0, { fingerprint: undefined }, 'no fingerprint'],
    [0, { destroyAfter: -1 }, 'a time before the epoch'],
    [0, { destroyBy: 7 }, 'nobody'],
    [1, { custody: 'kes', place: undefined }, 'a second version at the key’s own place'],
    [1, { place: '../x' }, 'a way out'],
    [1, { place: undefined }, 'no place'],
    [1, { algorithm: 'DES' }, 'an unknown algorithm'],
    [1, { custody: 'elsewhere' }, 'an unknown custody'],
    [2, { fingerprint: 'a'.repeat(32) }, 'a fingerprint of bytes that nobody has'],
    [2, null, ''],
  ] as const)
    if (change !== null) refused(withVersion(at, change), claim);
  refused({ ...plain(), versions: [] }, 'a key without a version');
  refused({ ...plain(), versions: [null] }, 'a version that is none');
  refused({ ...plain(), state: 'deleted' }, 'an ended key with versions');
  refused({ ...plain(), minDecryptionVersion: 4 }, 'a minimum above the newest');
  refused({ ...plain(), minDecryptionVersion: 0 }, 'no minimum');
  refused({ ...plain(), generation: 0 }, 'no generation');
  refused({ ...plain(), format: 2 }, 'a later format');
  refused({ ...plain(), state: 'pending-deletion' }, 'pending, and no deletion');
  for (const deletion of [null, 7, {}, { requestedAt: 1, after: '2', by: 'a' }])
    refused({ ...plain(), state: 'pending-deletion', deletion }, JSON.stringify(deletion));
  refused(
    { ...plain(), deletion: { requestedAt: 1, after: 2, by: 'a' } },
    'a deletion of a key that is in use',
  );
});

t.test('what the Transit face keeps of a key is read again, and older records have none of it', async (t) => {
  const transit = { derived: true, deletionAllowed: false, minEncryptionVersion: 2 };
  const ofTransit: KeyringRecord = {
    ...record,
    versions: [{ ...record.versions[1]!, version: 1 }, record.versions[1]!],
    minDecryptionVersion: 1,
    valueFingerprint: 'c'.repeat(32),
    transit,
  };
  t.same(parseKeyring(formatKeyring(ofTransit)), ofTransit);
  t.same(parseKeyring(formatKeyring({ ...record, transit })), { ...record, transit }, 'of a key of KES');
  const ended = { ...ofTransit, state: 'deleted' as const, versions: [] };
  t.same(parseKeyring(formatKeyring(ended)), ended, 'and what is left of one that ended');
  const refused = (change: object, claim: string) =>
    t.throws(
      () => parseKeyring(Buffer.from(JSON.stringify({ format: 1, ...ofTransit, ...change }))),
      { code: 'SELLO_STORED_KEY_UNREADABLE' },
      claim,
    );
  refused(
    { valueFingerprint: undefined },
    'a first version that is not at the key’s own place, and nothing is said of what is',
  );
  for (const wrong of [null, '', 7, 'C'.repeat(32), 'c'.repeat(31)])
    refused({ valueFingerprint: wrong }, `valueFingerprint: ${JSON.stringify(wrong)}`);
  refused({ versions: [record.versions[0]] }, 'a fingerprint twice');
  for (const wrong of [null, 7, [], 'x', {}])
    refused({ transit: wrong }, `transit: ${JSON.stringify(wrong)}`);
  for (const change of [
    { derived: 1 },
    { derived: undefined },
    { deletionAllowed: 'no' },
    { minEncryptionVersion: -1 },
    { minEncryptionVersion: 3 },
    { minEncryptionVersion: 1.5 },
  ])
    refused({ transit: { ...transit, ...change } }, JSON.stringify(change));
});
