import fc from 'fast-check';
import t from 'tap';
import {
  base64Length,
  decodeBase64,
  decodeBase64Into,
  encodeBase64,
  encodeBase64Into,
} from '../../src/crypto/index.ts';

const decode = (text: string) => decodeBase64(Buffer.from(text, 'latin1'));

t.test('encodes as Buffer does, at any place of the target', (t) => {
  fc.assert(
    fc.property(fc.uint8Array({ maxLength: 200 }), fc.nat(20), (bytes, offset) => {
      const expected = Buffer.from(bytes).toString('base64');
      const target = Buffer.alloc(offset + base64Length(bytes.length) + 3, '.');
      const end = encodeBase64Into(target, offset, bytes);
      return (
        end === offset + expected.length &&
        target.toString() === `${'.'.repeat(offset)}${expected}...` &&
        encodeBase64(bytes).toString() === expected
      );
    }),
    { numRuns: 1000 },
  );
  t.end();
});

t.test('decodes canonical input as Buffer does, from any place of the source', (t) => {
  fc.assert(
    fc.property(
      fc.uint8Array({ maxLength: 200 }),
      fc.nat(20),
      fc.constantFrom('own' as const, 'pooled' as const),
      (bytes, offset, memory) => {
        const text = Buffer.from(bytes).toString('base64');
        const source = Buffer.from(`${'"'.repeat(offset)}${text}"}`);
        return decodeBase64(source, offset, offset + text.length, memory)?.equals(bytes) === true;
      },
    ),
    { numRuns: 1000 },
  );
  t.end();
});

t.test('line ends may stand anywhere', (t) => {
  fc.assert(
    fc.property(
      fc.uint8Array({ maxLength: 60 }),
      fc.array(fc.tuple(fc.nat(100), fc.constantFrom('\n', '\r', '\r\n')), { maxLength: 6 }),
      (bytes, breaks) => {
        let text = Buffer.from(bytes).toString('base64');
        for (const [at, lineEnd] of breaks) {
          const place = at % (text.length + 1);
          text = text.slice(0, place) + lineEnd + text.slice(place);
        }
        return decode(text)?.equals(bytes) === true;
      },
    ),
    { numRuns: 1000 },
  );
  t.end();
});

t.test('accepts unused bits in the last symbol, as Go does', (t) => {
  t.same(decode('AB=='), Buffer.from([0]));
  t.same(decode('A//='), Buffer.from([3, 255]));
  t.end();
});

t.test('accepts nothing else', (t) => {
  const refused = [
    'A', 'AA', 'AAA', 'AAAAA', 'AAAAAA', 'AAAAAAA', // padding missing
    'A===', '====', '=', 'AA=', 'AA=A', 'AA==A', 'AAA=A', 'AA==AAAA', 'AAA=AAAA', 'AA===', 'AAAA=', 'AAA==',
    'AA A', ' AAAA', 'AAAA ', 'AA\tA', 'AA-_', 'AAA-', 'A_AA', 'AAA\0', 'AAA\x80', 'AAA\xff', 'AA.A', 'AA,A',
  ]; // prettier-ignore
  for (const text of refused) t.equal(decode(text), undefined, JSON.stringify(text));
  t.same(decode(''), Buffer.alloc(0));
  t.same(decode('\r\n'), Buffer.alloc(0));
  t.end();
});

t.test('says where the fault is, as Go does', (t) => {
  const faultOf = (text: string) =>
    -1 - decodeBase64Into(Buffer.alloc(99), Buffer.from(text), 0, text.length);
  t.equal(faultOf('APv7-_v7'), 4);
  t.equal(faultOf('kes:v1:AI3e'), 3);
  t.equal(faultOf('AAAAA'), 4);
  t.equal(faultOf('AA='), 3);
  t.equal(faultOf('AA=A'), 2);
  t.equal(faultOf('AA==AA'), 4);
  t.equal(faultOf('='), 0);
  t.end();
});

t.test('every symbol decodes to its value and every other byte is refused', (t) => {
  for (let byte = 0; byte < 256; byte++) {
    const text = Buffer.from([0x41, byte, 0x41, 0x41]);
    const isSymbol = /[A-Za-z0-9+/]/.test(String.fromCharCode(byte));
    const decoded = decodeBase64(text);
    if (isSymbol) t.same(decoded, Buffer.from(text.toString(), 'base64'));
    else t.equal(decoded, undefined, `byte ${byte}`);
  }
  t.end();
});

t.test('Precondition: an encoding target has room for all of it', (t) => {
  t.throws(() => encodeBase64Into(Buffer.alloc(43), 0, Buffer.alloc(32)), RangeError);
  t.throws(() => encodeBase64Into(Buffer.alloc(44), 1, Buffer.alloc(32)), RangeError);
  t.end();
});
