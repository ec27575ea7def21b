/** The Transit engine in depth: fields of every wrong type, the order in which faults are told, batches, limits of JSON, warnings. */
import type { Group, Step } from './corpus.ts';

const hi = 'aGk=';
const post = (path: string, body?: unknown, more: Partial<Step> = {}): Step => ({
  ask: `POST transit/${path}`,
  ...(body === undefined ? {} : { body }),
  ...more,
});
const get = (path: string): Step => ({ ask: `GET transit/${path}` });
/** The same request with each of these bodies. */
const each = (path: string, ...bodies: readonly unknown[]): Step[] => bodies.map((body) => post(path, body));
const b64 = (text: string): string => Buffer.from(text).toString('base64');
const nonce = b64('x'.repeat(12));

/** Values that are of no type a field has. */
const odd = [{}, { a: [1, 'b', null, true, { c: 1.5 }] }, [], ['a'], true, 1.5, 'x', '', null, 7];
const withEach = (path: string, name: string, more: object = {}): Step[] =>
  odd.map((value) => post(path, { ...more, [name]: value }));

export const engineGroups: readonly Group[] = [
  {
    name: 'fields of keys of every type',
    steps: [
      ...withEach('keys/f1', 'derived').map((step, i) => ({
        ...step,
        ask: `POST transit/keys/f${String(i)}`,
      })),
      ...odd
        .filter((value) => value !== 'x' && value !== 7)
        .map((value, i) => post(`keys/t${String(i)}`, { type: value })),
      ...odd
        .concat(
          '2d',
          '1.5h',
          '1h30m',
          '90061',
          90061,
          -5,
          '-1h',
          '5q',
          '1h5',
          '.',
          '1.h',
          '3600000ms',
          'h',
          '+2h',
        )
        .map((value, i) => post(`keys/p${String(i)}`, { auto_rotate_period: value })),
      post('keys/name', { name: 'other', foo: 1, bar: 2 }),
      post('keys/size', { key_size: 8 }),
      post('keys/ctx', { context: '!!' }),
      get('keys/ctx?context=!!'),
      get('keys/ctx?context=YWJj&foo=1&foo=2&bar='),
      get('keys/none?foo=1'),
      { ask: 'DELETE transit/keys/none?foo=1' },
      post('keys/ctx/rotate', { version: 1, managed_key_name: '' }),
    ],
  },
  {
    name: 'fields of a configuration of every type',
    steps: [
      post('keys/c'),
      post('keys/c/rotate'),
      post('keys/c/rotate'),
      ...withEach('keys/c/config', 'min_decryption_version'),
      ...withEach('keys/c/config', 'min_encryption_version'),
      ...withEach('keys/c/config', 'deletion_allowed'),
      ...withEach('keys/c/config', 'auto_rotate_period'),
      ...each(
        'keys/c/config',
        '{"min_decryption_version":1.0}',
        '{"min_decryption_version":1e0}',
        '{"min_decryption_version":99999999999999999999}',
        { min_decryption_version: 3, min_encryption_version: 2 },
        { min_decryption_version: 3, min_encryption_version: 3 },
        { min_encryption_version: 2 },
        { min_decryption_version: 1, min_encryption_version: 0 },
        { min_decryption_version: 0, min_encryption_version: 9 },
        { name: 'x', foo: 1, min_decryption_version: 0 },
        { exportable: false, allow_plaintext_backup: false, type: '', derived: false },
      ),
      get('keys/c'),
    ],
  },
  {
    name: 'of two faults the first',
    steps: [
      post('keys/o'),
      post('keys/od', { derived: true }),
      post('encrypt/o', { plaintext: hi }, { keep: { ct: 'data.ciphertext' } }),
      post('encrypt/od', { plaintext: hi, context: hi }, { keep: { derived: 'data.ciphertext' } }),
      ...each(
        'encrypt/o',
        { plaintext: '!!!!', key_version: 9 },
        { plaintext: '!!!!', associated_data: '!' },
        { plaintext: 'aGk=!', nonce },
        { plaintext: hi, key_version: 9, nonce },
        { plaintext: hi, key_version: 9, associated_data: '!' },
        { plaintext: hi, nonce, associated_data: '!' },
        { plaintext: hi, nonce: '!' },
        { plaintext: 'aGk=!', context: '!' },
        { plaintext: hi, type: 'nope', convergent_encryption: true },
        { plaintext: hi, name: 'o', reference: 'x', foo: 1 },
      ),
      ...each(
        'encrypt/od',
        { plaintext: 'aGk=!' },
        { plaintext: hi, key_version: 9 },
        { plaintext: hi, associated_data: '!' },
        { plaintext: hi, nonce },
      ),
      ...each(
        'decrypt/od',
        { ciphertext: 'x' },
        { ciphertext: 'vault:v1:!!' },
        { ciphertext: 'vault:v1:YWJj' },
        { ciphertext: '{{derived}}', associated_data: '!' },
        { ciphertext: '{{derived}}', context: hi, associated_data: '!' },
      ),
      ...each(
        'decrypt/o',
        { ciphertext: 'vault:v1:YWJj', associated_data: '!' },
        { ciphertext: `vault:v1:${b64('a'.repeat(11))}` },
        { ciphertext: `vault:v1:${b64('a'.repeat(12))}` },
        { ciphertext: `vault:v1:${b64('a'.repeat(27))}` },
        { ciphertext: 'x', context: '!' },
        { ciphertext: 'x', nonce: '!' },
        { ciphertext: '{{ct}}', nonce },
        { ciphertext: '{{ct}}', key_version: 1, foo: 1, name: 'x' },
        { ciphertext: '', context: '!' },
        { ciphertext: '{{ct}}\n' },
        { ciphertext: ' {{ct}}' },
        { ciphertext: '{{ct}}:x' },
        { ciphertext: '{{ct}}', associated_data: '' },
      ),
      post('decrypt/none', { ciphertext: 'x', context: '!' }),
      post('decrypt/none', {}),
      ...each(
        'rewrap/o',
        { ciphertext: '{{ct}}', nonce },
        { ciphertext: '{{ct}}', nonce: '!' },
        { ciphertext: '{{ct}}', context: '!' },
        { ciphertext: '{{ct}}', key_version: 9 },
        { ciphertext: '{{ct}}', key_version: -1 },
        { ciphertext: '{{ct}}', key_version: 1, partial_failure_response_code: 7, foo: 1 },
      ),
      ...each(
        'datakey/plaintext/o',
        { context: '!' },
        { context: '!', bits: 5 },
        { key_version: 9, bits: 5 },
        { key_version: 9 },
        { key_version: -1 },
        { nonce: hi },
        { nonce: '!' },
        { name: 'x', foo: 1 },
        { plaintext: 'y', foo: 1 },
        { bits: null },
        { bits: {} },
      ),
      post('datakey/other/none', {}),
      post('datakey/plaintext/none', { context: '!' }),
      post('datakey/plaintext/none', { bits: 5 }),
      post('datakey/plaintext/od', { key_version: 9 }),
    ],
  },
  {
    name: 'ChaCha20-Poly1305 in its own words',
    steps: [
      post('keys/ch', { type: 'chacha20-poly1305' }),
      post('encrypt/ch', { plaintext: hi }, { keep: { ct: 'data.ciphertext' } }),
      post('decrypt/ch', { ciphertext: '{{ct}}' }),
      ...each(
        'decrypt/ch',
        { ciphertext: '{{ct}}', associated_data: hi },
        { ciphertext: `vault:v1:${b64('x'.repeat(40))}` },
        { ciphertext: `vault:v1:${b64('x'.repeat(12))}` },
        { ciphertext: `vault:v1:${b64('x'.repeat(11))}` },
        { batch_input: [{ ciphertext: '{{ct}}', associated_data: hi }] },
      ),
      post('rewrap/ch', { ciphertext: `vault:v1:${b64('x'.repeat(40))}` }),
    ],
  },
  {
    name: 'versions that are named',
    steps: [
      post('keys/v'),
      post('encrypt/v', { plaintext: hi }, { keep: { ct: 'data.ciphertext' } }),
      post('hmac/v', { input: hi }, { keep: { mac: 'data.hmac' } }),
      post('keys/v/rotate'),
      post('rewrap/v', { ciphertext: '{{ct}}', key_version: 1 }),
      post('verify/v', { input: hi, hmac: '{{mac}}' }),
      post('hmac/v', { input: hi, key_version: 1 }),
      post('keys/v/config', { min_decryption_version: 2 }),
      post('encrypt/v', { plaintext: hi, key_version: 1 }),
      post('hmac/v', { input: hi, key_version: 1 }),
      post('verify/v', { input: hi, hmac: '{{mac}}' }),
      post('decrypt/v', { ciphertext: '{{ct}}' }),
      post('keys/v/config', { min_decryption_version: 1, min_encryption_version: 2 }),
      post('hmac/v', { input: hi, key_version: 1 }),
      post('datakey/plaintext/v', { key_version: 1 }),
      post('rewrap/v', { ciphertext: '{{ct}}', key_version: 1 }),
    ],
  },
  {
    name: 'base64 as Go reads it',
    steps: [
      post('keys/b'),
      ...[
        'YQ', 'YQ=', 'YQ==', 'YQ===', 'YWI=', 'YWI', 'YWJj', 'YWJjZ', 'YWJj=', 'YWJjZA==x', 'YW=j', 'Y=Jj', '=', '==', '====', 'YQ==YQ==',
        'YWJj\n', 'Y\nWJj', 'YWJj ', 'Y WJj', 'YWJj-_', 'YWJjé', 'éYWJj', 'YWJj\u0000', 'YQ=\n=', 'YQ==\n', 'YWJjYW', 'YWJjYWJjY!', 'aaaa!', '#0#',
        '#0##', 'YW#=',
      ].map((plaintext) => post('encrypt/b', { plaintext })), // prettier-ignore
      ...['YWJjYW', 'é', 'YWJjé'].map((context) => post('encrypt/b', { plaintext: hi, context })),
    ],
  },
  {
    name: 'items of every type',
    steps: [
      post('keys/i'),
      post('encrypt/i', { plaintext: hi }, { keep: { ct: 'data.ciphertext' } }),
      ...odd
        .filter((value) => value !== null)
        .flatMap((batch_input) => [
          post('encrypt/i', { batch_input }),
          post('decrypt/i', { batch_input }),
          post('rewrap/i', { batch_input }),
          post('hmac/i', { batch_input }),
          post('verify/i', { batch_input }),
        ]),
      ...odd.flatMap((item) => [
        post('encrypt/i', { batch_input: [{ plaintext: hi }, item] }),
        post('decrypt/i', { batch_input: [{ ciphertext: '{{ct}}' }, item] }),
        post('rewrap/i', { batch_input: [{ ciphertext: '{{ct}}' }, item] }),
        post('hmac/i', { batch_input: [{ input: hi }, item] }),
      ]),
      ...odd.flatMap((value) => [
        post('encrypt/i', { batch_input: [{ plaintext: value }] }),
        post('encrypt/i', { batch_input: [{ plaintext: hi, key_version: value }] }),
        post('encrypt/i', { batch_input: [{ plaintext: hi, reference: value }] }),
        post('encrypt/i', { batch_input: [{ plaintext: hi, nonce: value }] }),
        post('decrypt/i', { batch_input: [{ ciphertext: value }] }),
        post('decrypt/i', { batch_input: [{ ciphertext: '{{ct}}', reference: value }] }),
        post('rewrap/i', { batch_input: [{ ciphertext: value }] }),
        post('rewrap/i', { batch_input: [{ ciphertext: '{{ct}}', key_version: value }] }),
        post('rewrap/i', { batch_input: [{ ciphertext: '{{ct}}', reference: value }] }),
        post('hmac/i', { batch_input: [{ input: value }] }),
        post('encrypt/i', { plaintext: value }),
        post('encrypt/i', { plaintext: hi, key_version: value }),
        post('decrypt/i', { ciphertext: value }),
        post('rewrap/i', { ciphertext: value }),
        post('hmac/i', { input: value }),
        post('hmac/i', { input: hi, key_version: value }),
      ]),
      post('encrypt/i', { batch_input: [{ reference: 5 }, { plaintext: 6 }, {}] }),
      post('encrypt/i', { batch_input: null, plaintext: hi }),
      post('encrypt/i', { batch_input: [{ plaintext: hi, foo: 1 }], reference: 'a' }),
      post('encrypt/i', { batch_input: [{ plaintext: hi }], plaintext: '!!' }),
      post('encrypt/i', { batch_input: [{ plaintext: hi, reference: '<a&b>\u2028"é' }] }),
    ],
  },
  {
    name: 'statuses of batches',
    steps: [
      post('keys/s'),
      ...[207, '299', 1000, -1, 0, null].map((code) =>
        post('encrypt/s', {
          batch_input: [{ plaintext: hi }, { plaintext: '!' }],
          partial_failure_response_code: code,
        }),
      ),
      post('encrypt/s', { batch_input: [{ plaintext: hi }], partial_failure_response_code: 'x' }),
      ...each(
        'encrypt/s',
        { batch_input: [{ plaintext: hi, associated_data: '!' }, { plaintext: '!' }] },
        { batch_input: [{ plaintext: hi, associated_data: '!' }, { plaintext: hi }] },
        {
          batch_input: [{ plaintext: hi, associated_data: '!' }, { plaintext: hi }],
          partial_failure_response_code: 207,
        },
        { batch_input: [{ plaintext: hi, associated_data: '!' }], partial_failure_response_code: 207 },
        {
          batch_input: [
            { plaintext: hi, nonce },
            { plaintext: hi, nonce: '!' },
          ],
        },
        {
          batch_input: [
            { plaintext: hi, key_version: 9 },
            { plaintext: hi, key_version: -1 },
          ],
        },
        {
          batch_input: [
            { plaintext: hi, context: '' },
            { plaintext: hi, context: hi },
          ],
        },
        { batch_input: [{ plaintext: '!' }], foo: 1 },
      ),
    ],
  },
  {
    name: 'HMAC in depth',
    steps: [
      post('keys/h'),
      post('hmac/h', { input: hi }, { keep: { mac: 'data.hmac' } }),
      post('hmac/h/sha2-512', { input: hi }, { keep: { long: 'data.hmac' } }),
      ...['sha1', 'sha2-224', 'sha2-384', 'sha3-224', 'sha3-256', 'sha3-384', 'sha3-512', 'md5'].map((name) =>
        post(`hmac/h/${name}`, { input: hi }),
      ),
      ...each(
        'hmac/h',
        { input: hi, algorithm: 'sha2-384' },
        { input: hi, algorithm: '' },
        { input: '' },
        { input: hi, key_version: -1 },
        { input: hi, foo: 1, urlalgorithm: 'y' },
        { batch_input: [{ input: hi, key_version: 9 }], key_version: 9 },
        { batch_input: [] },
      ),
      post('hmac/h/md5', { input: hi, key_version: 9 }),
      post('hmac/none/md5', { input: hi }),
      post('hmac/none', {}),
      post('verify/h/sha2-512', { input: hi, hmac: '{{long}}' }),
      post('verify/h/sha2-256', { input: hi, hmac: '{{long}}' }),
      post('verify/h/md5', { input: hi, hmac: '{{mac}}' }),
      ...each(
        'verify/h',
        { input: hi, hmac: '{{long}}' },
        { input: hi, hmac: '{{long}}', hash_algorithm: 'sha2-512' },
        { input: hi, hmac: '' },
        { hmac: '{{mac}}' },
        { input: '!', hmac: '{{mac}}' },
        { input: hi, hmac: 'vault:v1' },
        { input: hi, hmac: 'vault:vx:a' },
        { input: hi, hmac: 'vault:v9:YQ==' },
        { input: hi, hmac: 'vault:v0:YQ==' },
        { input: hi, hmac: 'vault:v-1:YQ==' },
        { input: hi, hmac: 'vault:v1:!!' },
        { input: hi, hmac: 'vault:v9:!!' },
        { input: hi, signature: 'x' },
        { input: hi, signature: 'x', hmac: '{{mac}}' },
        { input: hi, cmac: 'vault:v1:YQ==' },
        { input: hi, hmac: '{{mac}}', cmac: '' },
        { input: hi, hmac: '{{mac}}', key_version: 1, foo: 1 },
        {
          batch_input: [
            { input: hi, hmac: '{{mac}}' },
            { input: 'aG8=', hmac: '{{mac}}', reference: 'r' },
          ],
        },
        {
          batch_input: [{ input: hi, hmac: '{{mac}}' }, { input: '!', hmac: '{{mac}}' }, { hmac: '{{mac}}' }],
        },
        {
          batch_input: [
            { input: hi, hmac: 'x' },
            { input: hi, hmac: 'vault:v9:aa' },
          ],
        },
        { batch_input: [{ input: hi, hmac: '{{mac}}' }, { input: hi }] },
        { batch_input: [{ input: hi }] },
        { batch_input: [{ input: hi, signature: 'x' }] },
        { batch_input: [] },
      ),
      post('verify/none', {}),
    ],
  },
  {
    name: 'random bytes in depth',
    steps: [
      ...['', '/', '/1.5', '/0x10', '/4/', '/platform/', '/platform/x', '/platform', '/seal/8', '/all/8', '/foo/8', '/foo', '/foo/bar'].map(
        (path) => post(`random${path}`, {}),
      ), // prettier-ignore
      ...each(
        'random',
        { bytes: 0 },
        { bytes: -1 },
        { bytes: 'x' },
        { bytes: 1e6 },
        { source: 'all', bytes: 8, foo: 1 },
        { bytes: 8, urlbytes: '' },
        { format: 5 },
        { bytes: null },
      ),
    ],
  },
  {
    name: 'limits of JSON',
    steps: [
      post('keys/j'),
      ...each(
        'encrypt/j',
        `{"plaintext":"${hi}","a":${'['.repeat(299)}${']'.repeat(299)}}`,
        `{"plaintext":"${hi}","a":${'['.repeat(300)}${']'.repeat(300)}}`,
        `{"plaintext":"${hi}","a":[${'1,'.repeat(9_999)}1]}`,
        `{"plaintext":"${hi}","a":[${'1,'.repeat(10_000)}1]}`,
        `{"plaintext":"${hi}","a":{${Array.from({ length: 10_001 }, (_, i) => `"a${String(i)}":1`).join()}}}`,
        `{"plaintext":"${hi}","a":"${'x'.repeat(1_048_577)}"}`,
        `{"plaintext":"${hi}","a":"${'é'.repeat(600_000)}"}`,
        `{"plaintext":"${'A'.repeat(1_048_576)}"}`,
        `{"plaintext":"${'A'.repeat(1_048_580)}"}`,
        '{"a":{"b":1,"c":{"b":1,"b":2}}}',
        '{"a":{"b":1},"b":{"b":1},"plaintext":"aGk="}',
        '{"pl\\u0061intext":"aGk=","plaintext":"aGk="}',
        '{"batch_input":[{"plaintext":"aGk=","plaintext":"aGk="}]}',
        '{"plaintext":"aGk="',
        '{"plaintext":"aGk',
        '[1,2',
        'x',
        '}',
        '"a"',
        '5',
        'true',
        '   ',
      ),
    ],
  },
];
