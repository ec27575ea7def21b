/** HPACK: the examples of RFC 7541 Appendix C, what must be refused, and Node's own encoder as the other side. */
import t, { type Test } from 'tap';
import fc from 'fast-check';
import { fieldKind, type Field } from '../../src/http2/field.ts';
import { HpackDecoder, HpackError } from '../../src/http2/hpack-decoder.ts';
import { encodeHead, headRoom } from '../../src/http2/hpack-encoder.ts';

const hex = (text: string): Buffer => Buffer.from(text.replaceAll(' ', ''), 'hex');

function decoded(decoder: HpackDecoder, block: Buffer): string[] {
  const fields: string[] = [];
  decoder.decode(block, ({ name, value }: Field) => fields.push(`${name}: ${value}`));
  return fields;
}

/** Reading ends with the error that ends a connection. */
function refuses(t: Test, work: () => unknown, name?: string): void {
  try {
    work();
    t.fail(name ?? 'nothing was thrown');
  } catch (error) {
    t.ok(error instanceof HpackError, name ?? String(error));
  }
}

const get = [':method: GET', ':scheme: http', ':path: /', ':authority: www.example.com'];

t.test('RFC 7541 C.3 and C.4: requests, with and without Huffman coding', async (t) => {
  for (const blocks of [
    [
      '828684410f7777772e6578616d706c652e636f6d',
      '828684be58086e6f2d6361636865',
      '828785bf400a637573746f6d2d6b65790c637573746f6d2d76616c7565',
    ],
    [
      '828684418cf1e3c2e5f23a6ba0ab90f4ff',
      '828684be5886a8eb10649cbf',
      '828785bf408825a849e95ba97d7f8925a849e95bb8e8b4bf',
    ],
  ]) {
    const decoder = new HpackDecoder(4096);
    const [first, second, third] = blocks.map((block) => decoded(decoder, hex(block)));
    t.same(first, get);
    t.same(second, [...get, 'cache-control: no-cache']);
    t.same(third, [
      ':method: GET',
      ':scheme: https',
      ':path: /index.html',
      ':authority: www.example.com',
      'custom-key: custom-value',
    ]);
  }
});

t.test('RFC 7541 C.6: answers, in a table of 256 bytes that evicts', async (t) => {
  const decoder = new HpackDecoder(256);
  const date = 'date: Mon, 21 Oct 2013 20:13:21 GMT';
  const location = 'location: https://www.example.com';
  t.same(
    decoded(
      decoder,
      hex(
        '488264025885aec3771a4b6196d07abe941054d444a8200595040b8166e082a62d1bff6e919d29ad171863c78f0b97c8e9ae82ae43d3',
      ),
    ),
    [':status: 302', 'cache-control: private', date, location],
  );
  t.same(decoded(decoder, hex('4883640effc1c0bf')), [
    ':status: 307',
    'cache-control: private',
    date,
    location,
  ]);
  t.same(
    decoded(
      decoder,
      hex(
        '88c16196d07abe941054d444a8200595040b8166e084a62d1bffc05a839bd9ab77ad94e7821dd7f2e6c7b335dfdfcd5b3960d5af27087f3672c1ab270fb5291f9587316065c003ed4ee5b1063d5007',
      ),
    ),
    [
      ':status: 200',
      'cache-control: private',
      'date: Mon, 21 Oct 2013 20:13:22 GMT',
      location,
      'content-encoding: gzip',
      'set-cookie: foo=ASDJKHQKBZXOQWEOPIUAXQWEOIU; max-age=3600; version=1',
    ],
  );
});

t.test('what is no block is refused', async (t) => {
  const cases: Record<string, string> = {
    'index 0': '80',
    'an index behind the table': 'be',
    'an index of four bytes and more': 'ffffffffff7f',
    'a name cut short': '4005616263',
    'a value cut short': '0001610561',
    'no value': '000161',
    'a size update behind a field': '8220',
    'a table larger than allowed': '3fe21f',
    'padding of zeros': '0001618100',
    'padding of eight ones': '00016182fffF',
    'the end-of-string symbol': '00016184ffffffff',
  };
  for (const [name, block] of Object.entries(cases))
    refuses(t, () => decoded(new HpackDecoder(4096), hex(block)), name);
});

t.test('a table that was made smaller has to be acknowledged before the next field', async (t) => {
  const decoder = new HpackDecoder(4096);
  decoded(decoder, hex('400161 0162'));
  decoder.limit(0);
  refuses(t, () => decoded(decoder, hex('82')));
  t.same(decoded(decoder, hex('20 82')), [':method: GET']);
  refuses(t, () => decoded(decoder, hex('be')), 'and is empty');
  t.same(decoded(decoder, hex('400161 0162')), ['a: b']);
  refuses(t, () => decoded(decoder, hex('be')), 'and stays so');
});

t.test('the generation changes with the table, and with nothing else', async (t) => {
  const decoder = new HpackDecoder(100);
  const { generation } = decoder;
  decoded(decoder, hex('82 86 84'));
  t.equal(decoder.generation, generation);
  decoded(decoder, hex('000161 0162'));
  t.equal(decoder.generation, generation, 'a literal that is not kept');
  decoded(decoder, hex('400161 0162'));
  const grown = decoder.generation;
  t.not(grown, generation);
  decoded(decoder, hex('3f01'));
  t.not(decoder.generation, grown, 'an eviction by a smaller size');
});

t.test('long tables keep their order', async (t) => {
  const decoder = new HpackDecoder(65_536);
  for (let i = 0; i < 500; i++) {
    const name = `n${String(i).padStart(3, '0')}`;
    decoded(decoder, Buffer.concat([hex('40 04'), Buffer.from(name), hex('00')]));
  }
  for (const back of [0, 63, 64, 65, 255, 499]) {
    const index = 62 + back - 127;
    const block =
      index < 0
        ? Buffer.of(0x80 | (62 + back))
        : Buffer.of(0xff, (index & 127) | (index > 127 ? 128 : 0), ...(index > 127 ? [index >> 7] : []));
    t.same(decoded(decoder, block), [`n${String(499 - back).padStart(3, '0')}: `]);
  }
});

t.test('random bytes end in fields or in an HpackError, never in anything else', async () => {
  fc.assert(
    fc.property(fc.array(fc.uint8Array({ maxLength: 60 }), { maxLength: 6 }), (blocks) => {
      const decoder = new HpackDecoder(256);
      try {
        for (const block of blocks) decoded(decoder, Buffer.from(block));
        return true;
      } catch (error) {
        return error instanceof HpackError;
      }
    }),
    { numRuns: 20_000, seed: 7541 },
  );
});

t.test('fields that make a request malformed', async (t) => {
  const kinds = (name: string, value: string): number => {
    let kind = -1;
    const [n, v] = [Buffer.from(name, 'latin1'), Buffer.from(value, 'latin1')];
    const block = Buffer.concat([Buffer.of(0, n.length), n, Buffer.of(v.length), v]);
    new HpackDecoder(0).decode(block, (field) => (kind = field.kind));
    return kind;
  };
  for (const [name, value] of [
    ['X', ''],
    ['a b', ''],
    ['a:b', ''],
    ['', ''],
    ['é', ''],
    ['a', '\0'],
    ['a', '\x01'],
    ['a', 'b\x7f'],
    ['a', 'b\r'],
    ['a', 'b\nc'],
    ['a', ' b'],
    ['a', 'b '],
    ['a', '\tb'],
    ['te', 'gzip'],
    ['connection', 'x'],
    ['upgrade', ''],
    ['transfer-encoding', 'chunked'],
    [':status', '200'],
    [':x', ''],
  ] as const)
    // prettier-ignore
    t.equal(kinds(name, value), fieldKind.malformed, JSON.stringify([name, value]));
  for (const [name, value] of [
    ['te', 'trailers'],
    ['a', ''],
    ['a', 'é'],
    ['a', 'b\tc'],
    ["!#$%&'*+-.^_`|~09az", 'x'],
  ] as const)
    // prettier-ignore
    t.equal(kinds(name, value), fieldKind.regular, JSON.stringify([name, value]));
});

t.test('what we write, a decoder reads', async (t) => {
  const headers = {
    'content-type': 'application/json',
    'content-length': 12,
    'x-long': 'y'.repeat(3000),
    'set-cookie': ['a=1', 'b=2'],
    connection: 'close',
    gone: undefined,
  };
  for (const status of [200, 204, 404, 418, 503]) {
    const room = Buffer.alloc(headRoom(headers));
    const end = encodeHead(room, 0, status, headers, true);
    const fields = decoded(new HpackDecoder(0), room.subarray(0, end)).filter(
      (text) => !text.startsWith('date: '),
    );
    t.same(fields, [
      `:status: ${status}`,
      'content-type: application/json',
      'content-length: 12',
      `x-long: ${'y'.repeat(3000)}`,
      'set-cookie: a=1',
      'set-cookie: b=2',
    ]);
  }
  t.throws(
    () => encodeHead(Buffer.alloc(200), 0, 200, { x: 'a\r\nb: c' }, true),
    TypeError,
    'no line breaks',
  );
  t.throws(
    () => encodeHead(Buffer.alloc(200), 0, 200, { x: 'a\u010ab' }, true),
    TypeError,
    'nor what would be cut to one',
  );
});
