import { inspect } from 'node:util';
import fc from 'fast-check';
import t from 'tap';
import { hasCode } from '../../src/errors.ts';
import {
  formatInstant,
  formatStoredKey,
  instantFromDate,
  MasterKey,
  open,
  parseStoredKey,
  seal,
  zeroInstant,
} from '../../src/keys/index.ts';
import { ciphertexts, macs, storedKeys } from './kes-vectors.ts';

const keyText = Buffer.alloc(32, 'k').toString('base64');
const nothing = Buffer.alloc(0);

function describe(key: MasterKey) {
  return {
    algorithm: key.algorithm,
    created_at: formatInstant(key.createdAt),
    ...(key.createdBy === '' ? {} : { created_by: key.createdBy }),
  };
}

function isUnreadable(value: string | Buffer): boolean {
  try {
    parseStoredKey(Buffer.from(value));
    return false;
  } catch (error) {
    return hasCode(error, 'SELLO_STORED_KEY_UNREADABLE');
  }
}

t.test('reads every stored key as the last KES describes it', (t) => {
  for (const { stored_key, head_describe } of storedKeys()) {
    t.strictSame(describe(parseStoredKey(Buffer.from(stored_key))), head_describe, stored_key.slice(0, 40));
  }
  t.end();
});

t.test('writes the bytes that KES wrote', (t) => {
  const values = [...storedKeys(), ...ciphertexts(), ...macs()].map(({ stored_key }) => stored_key);
  const current = new Set(values.filter((value) => !value.startsWith('{')));
  t.ok(current.size >= 6, 'several keys of the current layout');
  for (const value of current) t.equal(formatStoredKey(parseStoredKey(Buffer.from(value))).toString(), value);
  t.end();
});

t.test('refuses what KES refuses to read, and what makes it panic', (t) => {
  const refused: Record<string, string> = {
    empty: '',
    'white space': ' \n',
    'plain text': 'not a key',
    'empty object': '{}',
    null: 'null',
    'no key bytes': '{"bytes":""}',
    'key of null': '{"bytes":null}',
    'short key': '{"bytes":"AAAA"}',
    'key of 33 bytes': `{"bytes":"${Buffer.alloc(33, 'k').toString('base64')}"}`,
    'unknown algorithm': `{"bytes":"${keyText}","algorithm":"DES"}`,
    'undefined algorithm': `{"bytes":"${keyText}","algorithm":"undefined"}`,
    'algorithm is a number': `{"bytes":"${keyText}","algorithm":1}`,
    'bad date': `{"bytes":"${keyText}","created_at":"yesterday"}`,
    'truncated JSON': `{"bytes":"${keyText}"`,
    'text after the JSON': `{"bytes":"${keyText}"}x`,
    'key only in a nested object': `{"a":{"bytes":"${keyText}"}}`,
    'base64 without meaning': '/////////////////////////////////////////////////////w==',
    'base64 without padding': storedKeys()[0]!.stored_key.slice(0, -2),
    truncated: storedKeys()[0]!.stored_key.slice(0, 200),
    'wrapped by Vault Transit': 'vault:v1:AAAA',
    'no HMAC key': 'CiQKIGtra2tra2tra2tra2tra2tra2tra2tra2tra2tra2trEAEaBAhkEAUiBW93bmVy',
    'type 3':
      'CiQKIGtra2tra2tra2tra2tra2tra2tra2tra2tra2tra2trEAMSJAogaGhoaGhoaGhoaGhoaGhoaGhoaGhoaGhoaGhoaGhoaGgQARoECGQQBQ==',
    'no type':
      'CiIKIGtra2tra2tra2tra2tra2tra2tra2tra2tra2tra2trEiQKIGhoaGhoaGhoaGhoaGhoaGhoaGhoaGhoaGhoaGhoaGhoEAEaBAhkEAU=',
    'key of 31 bytes':
      'CiMKH2tra2tra2tra2tra2tra2tra2tra2tra2tra2tra2sQARIkCiBoaGhoaGhoaGhoaGhoaGhoaGhoaGhoaGhoaGhoaGhoaBABGgQIZBAF',
    'unknown hash':
      'CiQKIGtra2tra2tra2tra2tra2tra2tra2tra2tra2tra2trEAESJAogaGhoaGhoaGhoaGhoaGhoaGhoaGhoaGhoaGhoaGhoaGgQAhoECGQQBQ==',
    'HMAC key of 16 bytes':
      'CiQKIGtra2tra2tra2tra2tra2tra2tra2tra2tra2tra2trEAESFAoQaGhoaGhoaGhoaGhoaGhoaBABGgQIZBAF',
  };
  for (const [what, value] of Object.entries(refused)) t.ok(isUnreadable(value), what);
  t.end();
});

t.test('accepts what KES accepts', (t) => {
  const accepted: [what: string, value: string, createdAt: string, createdBy: string][] = [
    ['line end after base64', `${storedKeys()[0]!.stored_key}\n`, '2026-11-22T23:45:39.718900699Z', 'f5e7'],
    ['line end after JSON', `{"bytes":"${keyText}"}\n`, '0001-01-01T00:00:00Z', ''],
    ['another version', `{"version":"v2","bytes":"${keyText}"}`, '0001-01-01T00:00:00Z', ''],
    ['an unknown JSON field', `{"bytes":"${keyText}","foo":{"bytes":["x"]}}`, '0001-01-01T00:00:00Z', ''],
    [
      'names in another case',
      ` { "Created_By" : "me" , "Bytes" : "${keyText}" } `,
      '0001-01-01T00:00:00Z',
      'me',
    ],
    ['nulls', `{"bytes":"${keyText}","algorithm":null,"created_at":null}`, '0001-01-01T00:00:00Z', ''],
    [
      'an offset',
      `{"bytes":"${keyText}","created_at":"2022-03-01T01:30:00.5+02:00"}`,
      '2022-02-28T23:30:00.5Z',
      '',
    ],
    [
      'an unknown protobuf field',
      'CiQKIGtra2tra2tra2tra2tra2tra2tra2tra2tra2tra2trEAESJAogaGhoaGhoaGhoaGhoaGhoaGhoaGhoaGhoaGhoaGhoaGgQARoECGQQBSICbWVKAXg=',
      '1970-01-01T00:01:40.000000005Z',
      'me',
    ],
    [
      'protobuf without date',
      'CiQKIGtra2tra2tra2tra2tra2tra2tra2tra2tra2tra2trEAESJAogaGhoaGhoaGhoaGhoaGhoaGhoaGhoaGhoaGhoaGhoaGgQAQ==',
      '1970-01-01T00:00:00Z',
      '',
    ],
  ];
  for (const [what, value, createdAt, createdBy] of accepted) {
    const key = parseStoredKey(Buffer.from(value));
    t.equal(formatInstant(key.createdAt), createdAt, what);
    t.equal(key.createdBy.slice(0, 4), createdBy, what);
  }
  t.end();
});

t.test('reads both names of each algorithm', (t) => {
  const algorithmOf = (name: string) =>
    parseStoredKey(Buffer.from(`{"bytes":"${keyText}","algorithm":"${name}"}`)).algorithm;
  t.equal(algorithmOf(''), 'AES256');
  t.equal(algorithmOf('AES256'), 'AES256');
  t.equal(algorithmOf('AES256-GCM_SHA256'), 'AES256');
  t.equal(algorithmOf('ChaCha20'), 'ChaCha20');
  t.equal(algorithmOf('XCHACHA20-POLY1305'), 'ChaCha20');
  t.end();
});

t.test('what is written is read back as the same key', (t) => {
  fc.assert(
    fc.property(
      fc.uint8Array({ minLength: 32, maxLength: 32 }),
      fc.uint8Array({ minLength: 32, maxLength: 32 }),
      fc.constantFrom('AES256' as const, 'ChaCha20' as const),
      fc.integer({ min: zeroInstant.seconds, max: 253_402_300_799 }),
      fc.integer({ min: 0, max: 999_999_999 }),
      fc.string({ maxLength: 300, unit: 'grapheme' }),
      (bytes, macKey, algorithm, seconds, nanoseconds, createdBy) => {
        const key = new MasterKey(bytes, macKey, {
          algorithm,
          createdAt: { seconds, nanoseconds },
          createdBy,
        });
        const read = parseStoredKey(formatStoredKey(key));
        t.strictSame(describe(read), describe(key));
        return read.equals(key) && open(read, seal(key, bytes, nothing), nothing).equals(bytes);
      },
    ),
    { numRuns: 200 },
  );
  t.end();
});

t.test('damage anywhere in a stored value is refused or leaves a key, and never another error', (t) => {
  const values = storedKeys().map(({ stored_key }) => stored_key);
  fc.assert(
    fc.property(fc.constantFrom(...values), fc.nat(), fc.integer({ min: 0, max: 255 }), (value, at, byte) => {
      const damaged = Buffer.from(value);
      damaged[at % damaged.length] = byte;
      try {
        return parseStoredKey(damaged) instanceof MasterKey;
      } catch (error) {
        return hasCode(error, 'SELLO_STORED_KEY_UNREADABLE');
      }
    }),
    { numRuns: 3000 },
  );
  t.end();
});

t.test('an error about a stored value does not quote it', (t) => {
  const secret = Buffer.alloc(31, 's').toString('base64');
  for (const value of [`{"bytes":"${secret}"}`, `{"bytes":"${secret}`, `{"bytes":"${secret}"}}`, secret]) {
    let thrown: unknown;
    try {
      parseStoredKey(Buffer.from(value));
    } catch (error) {
      thrown = error;
    }
    t.ok(hasCode(thrown, 'SELLO_STORED_KEY_UNREADABLE') && thrown.cause === undefined);
    t.notMatch(inspect(thrown), secret.slice(0, 8));
  }
  t.end();
});

t.test('a key without HMAC key is not written in the current layout', (t) => {
  const key = parseStoredKey(Buffer.from(`{"bytes":"${keyText}"}`));
  t.throws(() => formatStoredKey(key), TypeError);
  t.end();
});

t.test('a date of today keeps its milliseconds', (t) => {
  t.equal(formatInstant(instantFromDate(new Date('2026-11-23T04:05:06.070Z'))), '2026-11-23T04:05:06.07Z');
  t.equal(formatInstant(instantFromDate(new Date('1969-12-31T23:59:59.999Z'))), '1969-12-31T23:59:59.999Z');
  t.end();
});
