import fc from 'fast-check';
import t from 'tap';
import { auditLine, maxLineBytes, recordsOfItems, type AuditItem } from '../../src/audit/index.ts';
import { toOcsf } from '../../src/audit/ocsf.ts';
import { recordMatcher } from '../../src/audit/search.ts';
import { keyCall } from './fixtures.ts';

interface Written {
  readonly sello: {
    readonly count: number;
    readonly items: readonly {
      readonly bucket?: string;
      readonly count?: number;
      readonly key?: string;
      readonly key_version?: number;
      readonly object?: string;
    }[];
  };
}

const parse = (line: string): Written => JSON.parse(line) as Written;

t.test(
  'a thousand items with objects of their own are in some records of 4 KiB, each of them once',
  async (t) => {
    const items = Array.from({ length: 1_000 }, (_, i) => ({
      bucket: 'photos',
      object: `2026/${String(i)}.jpg`,
      keyVersion: 1 + (i % 2),
    }));
    const lines = recordsOfItems(keyCall(), items).map(auditLine);
    t.ok(lines.every((line) => line.length <= maxLineBytes));
    t.ok(lines.length < 25, `${String(lines.length)} records`);
    const told = lines.flatMap((line) => parse(line).sello.items);
    t.same(
      told,
      items.map(({ bucket, keyVersion, object }) => ({ bucket, key_version: keyVersion, object })),
    );
    t.equal(
      lines.reduce((sum, line) => sum + parse(line).sello.count, 0),
      1_000,
    );
  },
);

t.test('items alike are one entry with their number; a batch of one is a record like others', async (t) => {
  const same = { bucket: 'photos', object: 'a', keyVersion: 1 };
  const [record, ...more] = recordsOfItems(keyCall(), [same, same, { ...same, keyVersion: 2 }, same]);
  t.equal(more.length, 0);
  t.same(parse(auditLine(record!)).sello.items, [
    { bucket: 'photos', count: 2, key_version: 1, object: 'a' },
    { bucket: 'photos', key_version: 2, object: 'a' },
    { bucket: 'photos', key_version: 1, object: 'a' },
  ]);
  const alone = recordsOfItems(keyCall(), [same]);
  t.equal(alone.length, 1);
  t.match(alone[0], { bucket: 'photos', object: 'a', keyVersion: 1, items: undefined });
});

const hostile = fc.oneof(
  fc.string({ unit: 'binary', maxLength: 700 }),
  fc.nat({ max: 5_000 }).map((n) => '\u0000'.repeat(n)),
);
const maybe = fc.option(hostile, { nil: undefined });
const item = fc.record({
  key: maybe,
  keyVersion: fc.constantFrom(undefined, 1, 2),
  bucket: maybe,
  object: maybe,
  contextSha256: maybe,
}) as fc.Arbitrary<AuditItem>;

t.test('whatever items and record hold, a line has its bound, and no item is missing', async (t) => {
  const base = fc.record({
    path: hostile, rule: hostile, reason: hostile, error: hostile, certificateIssuer: hostile, key: hostile,
    tenant: hostile, identity: hostile, sourceIp: hostile, traceId: hostile, vaultRequestId: hostile, requestId: hostile,
  }); // prettier-ignore
  fc.assert(
    fc.property(fc.array(item, { minLength: 2, maxLength: 40 }), base, (items, change) => {
      const lines = recordsOfItems(keyCall(change as object), items).map(auditLine);
      const count = lines.reduce((sum, line) => {
        if (!/^[ -~]+\n$/.test(line) || line.length > maxLineBytes) throw new Error(`${line.length} bytes`);
        const { sello } = parse(line);
        const listed = sello.items.reduce((inLine, entry) => inLine + (entry.count ?? 1), 0);
        if (listed !== sello.count)
          throw new Error(`${String(listed)} items listed of ${String(sello.count)}`);
        return sum + listed;
      }, 0);
      if (count !== items.length) throw new Error(`${String(count)} of ${String(items.length)}`);
    }),
    { numRuns: 300 },
  );
  t.pass();
});

t.test('a search finds an item, and OCSF names them all', async (t) => {
  const [record] = recordsOfItems(keyCall({ key: undefined }), [
    { bucket: 'photos', object: 'a', key: 'red' },
    { bucket: 'plans', object: 'b', key: 'blue' },
  ]);
  const line = Buffer.from(auditLine(record!).trimEnd(), 'latin1');
  const isFound = (filter: object): boolean => recordMatcher(filter)(line);
  t.ok(isFound({ object: 'plans/b' }));
  t.ok(isFound({ object: 'photos' }));
  t.ok(isFound({ object: 'pla*' }));
  t.ok(isFound({ key: 'blue', object: 'photos/a' }));
  t.notOk(isFound({ object: 'plans/a' }));
  t.notOk(isFound({ key: 'green' }));
  t.match(toOcsf(JSON.parse(line.toString()) as never), {
    resources: [{ name: 'red' }, { name: 'blue' }, { name: 'photos/a', type: 'Object' }, { name: 'plans/b' }],
  });
});
