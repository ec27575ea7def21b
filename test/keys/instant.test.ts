import fc from 'fast-check';
import t from 'tap';
import { formatInstant, parseInstant, zeroInstant } from '../../src/keys/index.ts';

t.test('what is formatted parses to the same instant', (t) => {
  fc.assert(
    fc.property(
      fc.integer({ min: zeroInstant.seconds, max: 253_402_300_799 }),
      fc.integer({ min: 0, max: 999_999_999 }),
      (seconds, nanoseconds) => {
        const parsed = parseInstant(formatInstant({ seconds, nanoseconds }));
        return parsed?.seconds === seconds && parsed.nanoseconds === nanoseconds;
      },
    ),
    { numRuns: 1000 },
  );
  t.end();
});

t.test('reads RFC 3339 and shows it in UTC without trailing zeros', (t) => {
  const cases = {
    '0001-01-01T00:00:00Z': '0001-01-01T00:00:00Z',
    '2026-11-22T23:45:40.407664390Z': '2026-11-22T23:45:40.40766439Z',
    '2024-02-29T12:00:00.000000001+05:30': '2024-02-29T06:30:00.000000001Z',
    '2024-12-31T23:59:59-00:30': '2025-01-01T00:29:59Z',
    '2024-01-01T00:00:00.1234567899Z': '2024-01-01T00:00:00.123456789Z',
    '2024-01-01T00:00:00.000Z': '2024-01-01T00:00:00Z',
  };
  for (const [text, shown] of Object.entries(cases)) t.equal(formatInstant(parseInstant(text)!), shown, text);
  t.end();
});

t.test('reads nothing else', (t) => {
  const refused = [
    '', 'now', '2024-01-01', '2024-01-01T00:00:00', '2024-01-01 00:00:00Z', '2024-01-01t00:00:00z', '2024-13-01T00:00:00Z',
    '2023-02-29T00:00:00Z', '2024-01-01T24:00:00Z', '2024-01-01T00:60:00Z', '2024-01-01T00:00:60Z', '2024-01-01T00:00:00.Z',
    '2024-01-01T00:00:00+24:00', '2024-01-01T00:00:00+0100', '0000-12-31T23:59:59Z', '0001-01-01T00:00:00+01:00',
    ' 2024-01-01T00:00:00Z', '2024-01-01T00:00:00Z\n',
  ]; // prettier-ignore
  for (const text of refused) t.equal(parseInstant(text), undefined, JSON.stringify(text));
  t.end();
});
