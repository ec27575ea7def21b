/** deploy/elastic fits the records that Sello writes: every field has a mapping, and every saved object its data view. */
import { readFileSync } from 'node:fs';
import path from 'node:path';
import t from 'tap';
import { parse } from 'yaml';
import { auditLine, type AuditRecord } from '../../src/audit/index.ts';
import { Chain } from '../../src/audit/chain.ts';

const folder = path.resolve(import.meta.dirname, '../../deploy/elastic');
const text = (name: string): string => readFileSync(path.join(folder, name), 'utf8');

interface Mapping {
  readonly type?: string;
  readonly properties?: Readonly<Record<string, Mapping>>;
}

function fieldsOf(value: unknown, at = ''): string[] {
  // Fields of objects in an array are fields of the array, as Elasticsearch has it.
  if (Array.isArray(value)) return value.flatMap((each) => fieldsOf(each, at));
  if (typeof value !== 'object' || value === null) return [at];
  return Object.entries(value).flatMap(([name, each]) => fieldsOf(each, at === '' ? name : `${at}.${name}`));
}

t.test('every field of a record has a mapping', async (t) => {
  // Without a cast: a field that a record gets is missed here by the compiler.
  const full: { [Field in keyof Required<AuditRecord>]: NonNullable<AuditRecord[Field]> } = {
    timeMs: 1,
    requestId: '8a3c51b20e7d44f0000001a2',
    traceId: 'ab'.repeat(16),
    tenant: 'acme',
    identity: 'ab'.repeat(32),
    sourceIp: '192.0.2.7',
    face: 'objects',
    method: 'POST',
    path: '/objects/v1/seal',
    operation: 'seal',
    key: 'app',
    keyVersion: 3,
    decision: 'allow',
    rule: 'policy app',
    status: 200,
    durationMs: 0.25,
    scope: 'bucket',
    phase: 'end',
    bytesIn: 1,
    bytesOut: 2,
    aborted: true,
    vaultRequestId: '2e5a5d1c-6d5f-4a4c-9a4e-0d3f7f0f6a11',
    bucket: 'photos',
    object: 'a.jpg',
    contextSha256: 'ab'.repeat(32),
    certificateSerial: '1f',
    certificateIssuer: 'CN=ca',
    error: 'SELLO_NOT_AUTHORIZED',
    reason: 'a reason '.repeat(100),
    items: [
      { bucket: 'photos', object: 'a', contextSha256: 'ab'.repeat(32), key: 'app', keyVersion: 2, count: 3 },
    ],
    count: 3,
  };
  const strange = auditLine({ ...full, sourceIp: 'unix', operation: 'unheard-of' as 'issue' });
  const template = JSON.parse(text('index-template.json')) as { template: { mappings: Mapping } };
  for (const line of [auditLine(full), strange]) {
    const chained = new Chain('ab'.repeat(16)).extend(Buffer.from(line, 'latin1'), 1).toString('latin1');
    for (const field of fieldsOf(JSON.parse(chained))) {
      let mapping: Mapping | undefined = template.template.mappings;
      for (const name of field.split('.')) mapping = mapping?.properties?.[name];
      t.ok(mapping?.type, field);
    }
  }
});

t.test('saved objects refer to each other and to the data view, and the rest parses', async (t) => {
  const objects = text('kibana.ndjson')
    .trimEnd()
    .split('\n')
    .map(
      (line) => JSON.parse(line) as { id: string; type: string; references: { id: string; type: string }[] },
    );
  const known = new Set(objects.map(({ type, id }) => `${type} ${id}`));
  for (const { references } of objects)
    for (const { type, id } of references) t.ok(known.has(`${type} ${id}`), id);
  t.equal(objects.filter(({ type }) => type === 'dashboard').length, 1);
  t.match(parse(text('filebeat.yml')), {
    'filebeat.inputs': [{ type: 'filestream', pipeline: 'sello-audit' }],
  });
  t.match(JSON.parse(text('ingest-pipeline.json')), { processors: [{ set: { field: '_id' } }] });
});
