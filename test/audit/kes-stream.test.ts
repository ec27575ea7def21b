import t from 'tap';
import { kesAuditLine, kesErrorLine } from '../../src/audit/index.ts';
import { keyCall } from './fixtures.ts';

t.test("an audit event is what today's client decodes, its time in nanoseconds", async (t) => {
  const identity = 'f5e70f8a8db7182880796cc708b19925469e4e46591fa2598f4b933dbf08ecf8';
  t.equal(
    kesAuditLine(keyCall()),
    '{"time":"2026-11-23T04:05:06.078Z","request":{"ip":"192.0.2.7","path":"/v1/key/generate/app-key",' +
      `"identity":"${identity}"},"response":{"code":200,"time":250000}}\n`,
  );
});

t.test('what is not known is left out, and times lose their last zeros as in Go', async (t) => {
  const event = keyCall({ timeMs: 1_700_000_000_500, sourceIp: undefined, identity: undefined });
  t.match(kesAuditLine(event), /^\{"time":"2023-11-14T22:13:20\.5Z","request":\{"path":"[^"]+"\},/);
  t.match(kesAuditLine(keyCall({ timeMs: 1_700_000_000_000 })), /"2023-11-14T22:13:20Z"/);
  t.match(kesAuditLine(keyCall({ timeMs: NaN })), /"0001-01-01T00:00:00Z"/);
});

t.test('an event is one line whatever it holds', async (t) => {
  const line = kesAuditLine(keyCall({ path: '/a\nb"\\' }));
  t.equal(line.indexOf('\n'), line.length - 1);
  t.match(JSON.parse(line), { request: { path: '/a\nb"\\' } });
  t.equal(kesErrorLine('two\nlines'), '{"message":"two\\nlines"}\n');
});
