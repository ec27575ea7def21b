/** Bodies: plaintexts leave them as bytes, and nothing of them stays; what else is in them is read as JSON says. */
import fc from 'fast-check';
import t from 'tap';
import { VaultFault } from '../../../src/api/transit/answers.ts';
import { decoded, parseFields, parseSecretFields } from '../../../src/api/transit/body.ts';
import { readFields } from '../../../src/api/transit/fields.ts';

const faultOf = (work: () => unknown): string => {
  try {
    work();
    return 'none';
  } catch (error) {
    if (!(error instanceof VaultFault)) throw error;
    return `${String(error.status)} ${error.texts.join()}`;
  }
};
const key = 'c2l4dGVlbiBieXRlcyBpbiBh';

t.test(
  'a plaintext becomes bytes without becoming a text; the body is overwritten, and the bytes at the end',
  async (t) => {
    const body = Buffer.from(
      `{"plaintext":"${key}","batch_input":[{"plaintext" : "${key}","context":"${key}"}]}`,
    );
    const { bytesOf, fields, wipe } = parseSecretFields(body);
    t.ok(
      body.every((byte) => byte === 0),
      'the body',
    );
    const [item] = fields['batch_input'] as [Record<string, string>];
    for (const text of [fields['plaintext'] as string, item['plaintext']!]) {
      t.match(text, /^#\d#+$/, 'what is left of it');
      t.equal(text.length, key.length);
      t.equal(bytesOf(text).toString(), 'sixteen bytes in a');
    }
    t.equal(item['context'], key, 'other fields are as they were');
    const bytes = bytesOf(fields['plaintext'] as string) as Buffer;
    wipe();
    t.ok(
      bytes.every((byte) => byte === 0),
      'ended',
    );
  },
);

t.test('what looks like the mark of a plaintext, and is none, is text', async (t) => {
  for (const text of ['#0#', '#0##', '#1#', '\\u00230#', '\\u0023\\u0030#'])
    for (const body of [
      `{"plaintext":"${text}"}`,
      `{"batch_input":[{"plaintext":"${key}"},{"plaintext":"${text}"}]}`,
      `{"batch_input":[{"plaintext":"${text}"},{"plaintext":"${key}"}]}`,
    ]) {
      const { bytesOf, fields } = parseSecretFields(Buffer.from(body));
      const items = (fields['batch_input'] ?? [fields]) as Record<string, string>[];
      for (const { plaintext } of items)
        t.equal(
          bytesOf(plaintext!).toString(),
          plaintext === key ? 'sixteen bytes in a' : 'illegal base64 data at input byte 0',
          body,
        );
    }
});

t.test('with plaintexts taken out, a body says what it said before', async () => {
  const name = fc.oneof(
    fc.constantFrom('plaintext', 'context', 'batch_input', '"plaintext"', 'plaintext"', ':'),
    fc.string(),
  );
  const text = fc.oneof(
    fc.base64String(),
    fc.string(),
    fc.constantFrom('"plaintext":"aGk="', '#0#', 'plaintext', '\\"plaintext\\"', '",', key),
  );
  const { value } = fc.letrec((tie) => ({
    value: fc.oneof(
      { maxDepth: 4 },
      text,
      fc.integer(),
      fc.boolean(),
      fc.constant(null),
      fc.array(tie('value'), { maxLength: 4 }),
      tie('object'),
    ),
    object: fc.dictionary(name, tie('value'), { maxKeys: 4 }),
  }));
  const object = fc.dictionary(name, value, { maxKeys: 5 });
  fc.assert(
    fc.property(object, fc.constantFrom(undefined, 1), (original, indent) => {
      const json = JSON.stringify(original, undefined, indent);
      const { bytesOf, fields, wipe } = parseSecretFields(Buffer.from(json));
      const restored = JSON.stringify(fields, (field, each: unknown) => {
        if (field !== 'plaintext' || typeof each !== 'string') return each;
        const bytes = bytesOf(each);
        return typeof bytes === 'string' ? `fault: ${bytes}` : `bytes: ${bytes.toString('hex')}`;
      });
      const wanted = JSON.stringify(JSON.parse(json), (field, each: unknown) => {
        if (field !== 'plaintext' || typeof each !== 'string') return each;
        const bytes = decoded(each);
        return typeof bytes === 'string' ? `fault: ${bytes}` : `bytes: ${bytes.toString('hex')}`;
      });
      wipe();
      return restored === wanted;
    }),
    { numRuns: 2000 },
  );
});

t.test(
  'a name that is twice in one object is refused, wherever; the same name in two objects is not',
  async (t) => {
    for (const [body, fault] of [
      ['{"a":1,"a":2}', "500 duplicate key 'a' in object"],
      ['{"a":1,"\\u0061":2}', "500 duplicate key 'a' in object"],
      ['{"x":[{"b":1,"c":{},"b":2}]}', "500 duplicate key 'b' in object"],
      ['{"a":"\\"b\\":1","b":1,"c":"{\\"b\\":1}"}', 'none'],
      ['{"a":{"b":1},"b":{"b":{"b":1}}}', 'none'],
      ['{"a\\"":1,"a":2, "c" : "x:y" , "d\\\\" : 1}', 'none'],
      ['{"":1,"":2}', "500 duplicate key '' in object"],
      ['{"__proto__":{"plaintext":"x"},"a":1}', 'none'],
      ['{"__proto__":1,"__proto__":2}', "500 duplicate key '__proto__' in object"],
    ] as const)
      t.equal(
        faultOf(() => parseFields(Buffer.from(body))),
        fault,
        body,
      );
    fc.assert(
      fc.property(
        fc.object(),
        (value) => faultOf(() => parseFields(Buffer.from(JSON.stringify(value)))) === 'none',
      ),
    );
  },
);

t.test('fields are looked for in the body alone, never where JavaScript keeps its own', async (t) => {
  const types = { constructor: 'string', toString: 'string', plaintext: 'string' } as const;
  t.same(readFields(types, parseFields(Buffer.from('{}'))), {});
  t.same(readFields(types, parseFields(Buffer.from('{"__proto__":{"plaintext":"x"}}'))), {});
  t.equal(readFields(types, parseFields(Buffer.from('{"toString":"x"}'))).toString, 'x');
});

t.test('numbers that JavaScript would change stay as they were written', async (t) => {
  const fields = parseFields(Buffer.from('{"a":[1.0,12345678901234567890,1e2,-0,7,0.5],"b":1.0}'));
  t.equal(JSON.stringify(fields), '{"a":[1.0,12345678901234567890,1e2,-0,7,0.5],"b":1.0}');
});
