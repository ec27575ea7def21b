/** Request bodies are read as Go reads them, and never loosely. */
import fc from 'fast-check';
import t from 'tap';
import { goString, parseObject, parseObjects } from '../../src/api/kes/json.ts';

const fields = { plaintext: 'secret', context: 'bytes', version: 'text' } as const;
const parse = (text: string | Buffer): ReturnType<typeof parseObject<typeof fields>> =>
  parseObject(typeof text === 'string' ? Buffer.from(text) : text, fields);

t.test('reads fields by name without case, the last one winning', async (t) => {
  t.same(parse('{"plaintext":"aGk="}')?.plaintext, Buffer.from('hi'));
  t.same(parse('{"PlainText":"aGk="}')?.plaintext, Buffer.from('hi'));
  t.same(parse('{"plaintext":"aGk=","PLAINTEXT":"eW8="}')?.plaintext, Buffer.from('yo'));
  t.same(parse('{"ver\\u0073ion":"v1"}')?.version, 'v1');
  t.same(parseObject(Buffer.from('{"meſſage":"aGk="}'), { message: 'bytes' })?.message, Buffer.from('hi'));
});

t.test('reads bytes from base64 with escapes and from arrays of numbers', async (t) => {
  t.same(parse('{"plaintext":"aG\\nk="}')?.plaintext, Buffer.from('hi'));
  t.same(parse('{"plaintext":"aG\\u006b="}')?.plaintext, Buffer.from('hi'));
  t.same(parse('{"plaintext":[104,105]}')?.plaintext, Buffer.from('hi'));
  t.same(parse('{"plaintext":[]}')?.plaintext, Buffer.alloc(0));
  for (const wrong of ['[256]', '[-1]', '[1.5]', '["a"]', '[1e1]', '{}', '1', 'true']) {
    t.equal(parse(`{"plaintext":${wrong}}`), undefined, wrong);
  }
});

t.test('ignores what follows the first value, and refuses one that is not whole', async (t) => {
  t.ok(parse('{} trailing'));
  t.ok(parse('{}{}'));
  for (const wrong of [
    '',
    ' ',
    '{',
    '}',
    '{"a":}',
    '{"a":1,}',
    '{"plaintext":"aGk="',
    '\ufeff{}',
    '[]',
    '"x"',
    '1',
    'nul',
    '{"a":01}',
    '{"a":"\u0001"}',
    '{"a":"\\x"}',
  ]) {
    t.equal(parse(wrong), undefined, JSON.stringify(wrong));
  }
});

t.test('refuses nesting beyond 10,000 without exhausting the stack', async (t) => {
  t.ok(parse(`{"x":${'['.repeat(9_998)}${']'.repeat(9_998)}}`));
  t.equal(parse(`{"x":${'['.repeat(10_001)}${']'.repeat(10_001)}}`), undefined);
  t.equal(parse(`{"x":${'[{"a":'.repeat(400_000)}`), undefined);
});

t.test('agrees with JSON.parse about what is JSON', async (t) => {
  fc.assert(
    fc.property(
      fc.dictionary(fc.string(), fc.jsonValue()),
      fc.constantFrom(undefined, 1, '\t'),
      (value, space) => {
        const known = new Set(['plaintext', 'context', 'version']);
        const others = Object.entries(value).filter(([name]) => !known.has(name.toLowerCase()));
        return parse(JSON.stringify(Object.fromEntries(others), null, space)) !== undefined;
      },
    ),
    { numRuns: 500 },
  );
  fc.assert(
    fc.property(
      fc.string({
        unit: fc.constantFrom(
          '{',
          '}',
          '[',
          ']',
          '"',
          ':',
          ',',
          '1',
          '0',
          '.',
          'e',
          '-',
          't',
          'null',
          'true',
          ' ',
          '\\',
          'a',
        ),
        maxLength: 14,
      }),
      (inner) => {
        const text = `{"x":${inner}}`;
        let valid = true;
        try {
          JSON.parse(text);
        } catch {
          valid = false;
        }
        // A first value that is whole may be followed by anything, so only one direction holds for all texts.
        return !valid || parse(text) !== undefined;
      },
    ),
    { numRuns: 5000 },
  );
  t.end();
});

t.test('never reads bytes that base64 does not spell', async (t) => {
  fc.assert(
    fc.property(fc.uint8Array({ maxLength: 300 }), (bytes) => {
      const read = parse(JSON.stringify({ plaintext: Buffer.from(bytes).toString('base64') }))?.plaintext;
      return read !== undefined && Buffer.compare(read, bytes) === 0;
    }),
  );
  for (const wrong of ['aGk', 'aGk==', 'aG k=', '_-8=', '=', 'aGk=\\u0000', '\\ud800']) {
    t.equal(parse(`{"plaintext":"${wrong}"}`), undefined, wrong);
  }
});

t.test('reads arrays of objects up to a limit', async (t) => {
  const read = (text: string): unknown => parseObjects(Buffer.from(text), { ciphertext: 'bytes' }, 2);
  t.same(read('[]'), []);
  t.same(read('[{"ciphertext":"aGk="},null]'), [{ ciphertext: Buffer.from('hi') }, {}]);
  t.equal(read('[{},{},{}]'), 'too many');
  for (const wrong of ['{}', '[1]', '[{}', '[{},]', '']) t.equal(read(wrong), undefined, wrong);
});

t.test('writes strings as Go does', async (t) => {
  t.equal(goString('<&>\u2028"\n'), '"\\u003c\\u0026\\u003e\\u2028\\"\\n"');
  t.equal(goString('a\ufffdb'), '"a\\ufffdb"');
  fc.assert(fc.property(fc.string(), (text) => JSON.parse(goString(text)) === text));
});
