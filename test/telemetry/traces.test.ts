/** Traces from a request to a real Vault, as a collector receives them; and what of them stands in records and metrics. */
import { spawnSync } from 'node:child_process';
import { mkdtempSync, readFileSync, rmSync } from 'node:fs';
import http from 'node:http';
import os from 'node:os';
import path from 'node:path';
import t from 'tap';
import { Session, within, type Answer } from '../attacks/client.ts';
import { issue } from '../attacks/pki.ts';
import { listenerYaml, Site, tenantsYaml } from '../attacks/site.ts';
import { parseTraceparent } from '../../src/telemetry/index.ts';
import { needTools } from '../real/tools.ts';
import { Vault } from '../real/vault.ts';
import { OtlpReceiver } from './otlp-receiver.ts';

t.setTimeout(60_000);

const traceId = (n: number): string => n.toString(16).padStart(32, 'a');
const caller = '00f067aa0ba902b7';
const sampled = (n: number): string => `00-${traceId(n)}-${caller}-01`;
const unsampled = (n: number): string => `00-${traceId(n)}-${caller}-00`;

t.test('a traceparent is read as W3C has it, and anything else is none', async (t) => {
  const good = `00-${traceId(1)}-${caller}-01`;
  t.same(parseTraceparent(good), { traceId: traceId(1), spanId: caller, isSampled: true });
  t.match(parseTraceparent(good.replace(/01$/, '02')), { isSampled: false });
  t.match(parseTraceparent(`cc${good.slice(2)}-what-will-be`), { isSampled: true }, 'a later version');
  for (const bad of [
    undefined,
    '',
    [good, good],
    good.toUpperCase(),
    `ff${good.slice(2)}`,
    `${good}-more`,
    ` ${good}`,
    `${good}\n`,
    good.replace(traceId(1), '0'.repeat(32)),
    good.replace(caller, '0'.repeat(16)),
    good.replace('a', 'g'),
    `cc${good.slice(2)}-${'x'.repeat(300)}`,
  ])
    t.equal(parseTraceparent(bad), undefined, String(bad));
});

function scrape(port: number, accept: string): Promise<{ type: string; body: string }> {
  return new Promise((resolve, reject) => {
    http
      .get({ host: '127.0.0.1', port, path: '/metrics', headers: { accept } }, (response) => {
        let body = '';
        response.setEncoding('utf8').on('data', (text: string) => (body += text));
        response.on('end', () => resolve({ type: String(response.headers['content-type']), body }));
      })
      .on('error', reject);
  });
}

interface Line {
  readonly event: { readonly action?: string };
  readonly trace?: { readonly id: string };
  readonly url: { readonly path: string };
  readonly sello: { readonly vault_request_id?: string };
}

const found = await needTools(t, 'vault');
if (found !== undefined) {
  const folder = mkdtempSync(path.join(os.tmpdir(), 'sello-traces-'));
  const vault = await Vault.start({ program: found.vault, folder });
  t.teardown(async () => {
    await vault.stop();
    rmSync(folder, { recursive: true });
  });
  await vault.mountKv('kv', 2);
  // Vault's own audit log shows the header that it was sent.
  await vault.must('POST', 'sys/config/auditing/request-headers/traceparent', { hmac: false });
  const vaultLog = path.join(folder, 'vault-audit.jsonl');
  await vault.must('PUT', 'sys/audit/file', { type: 'file', options: { file_path: vaultLog } });

  const admin = issue('admin');
  const yaml = (receiver: OtlpReceiver, more = ''): string =>
    listenerYaml.replace('probes: off', 'probes: 127.0.0.1:0') +
    `audit: {path: server.jsonl}\ntraces: {url: "${receiver.url}"${more}}\n` +
    tenantsYaml({
      name: 'acme',
      admins: [admin.identity],
      clients: { auth: 'off', requireClientAuthEku: false },
      keystore: {
        vaultKv: { addresses: [vault.address], engine: 'kv', login: { token: { file: 'token' } } },
      },
      audit: { path: 'acme.jsonl' },
      objects: { key: 'app' },
    });

  t.test('spans lead from the caller to Vault, and hold nothing of a key or context', async (t) => {
    const receiver = await OtlpReceiver.start(t);
    const site = new Site();
    t.teardown(() => site.remove());
    site.write('token', vault.rootToken);
    site.write('collector', 'Bearer of-the-collector\n');
    await site.start(yaml(receiver, ', authorization: collector'));
    const session = await Session.open(site.as(admin));
    const stranger = await Session.open(site.as(issue('stranger')));
    const ask = (
      from: Session,
      method: string,
      at: string,
      traceparent: string | undefined,
      body?: object,
    ): Promise<Answer> =>
      from.ask({
        method,
        path: at,
        ...(traceparent === undefined ? {} : { headers: { traceparent } }),
        ...(body === undefined ? {} : { body: JSON.stringify(body) }),
      });
    const context = Buffer.from('{"customer":"canary-context-value"}').toString('base64');
    await ask(session, 'PUT', '/v1/key/create/app', sampled(1));
    const issued = await ask(session, 'PUT', '/v1/key/generate/app', sampled(2), { context });
    t.equal(issued.status, 200);
    const { plaintext, ciphertext } = JSON.parse(issued.body.toString()) as Record<string, string>;
    await ask(session, 'PUT', '/v1/key/decrypt/app', sampled(3), { ciphertext, context });
    await ask(session, 'PUT', '/v1/key/generate/app', unsampled(4), { context });
    await ask(session, 'PUT', '/v1/key/generate/app', `00-${traceId(5)}-nonsense-01`, { context });
    await ask(session, 'PUT', '/v1/key/decrypt/app', sampled(6), { ciphertext: 'AAAA', context });
    t.equal((await ask(stranger, 'PUT', '/v1/key/generate/app', sampled(7), { context })).status, 403);
    await ask(session, 'GET', '/admin/v1/keys/app', sampled(8));
    const object = await ask(session, 'POST', '/objects/v1/keys/issue', sampled(9), {
      bucket: 'b',
      object: 'canary-object',
    });
    await ask(session, 'GET', '/v1/key/describe/absent', sampled(10));
    await ask(session, 'GET', '/v1/status', undefined);
    session.close();
    stranger.close();

    const scraped = await scrape(site.server.probePort!, 'application/openmetrics-text;version=1.0.0');
    t.match(scraped.type, /^application\/openmetrics-text/);
    t.match(scraped.body, /\n# EOF\n$/);
    t.match(
      scraped.body,
      new RegExp(
        `sello_http_request_duration_seconds_bucket\\{[^}]*route="/v1/key/create/"[^}]*\\} \\d+ # \\{trace_id="${traceId(1)}"\\} [0-9.e-]+ [0-9.]+\n`,
      ),
      'an exemplar leads to the trace',
    );
    const plain = await scrape(site.server.probePort!, 'text/plain');
    t.match(plain.type, /^text\/plain; version=0\.0\.4/);
    t.notMatch(plain.body, /trace_id/, 'which the older form has no place for');
    t.match(plain.body, /sello_http_requests_total\{.*status="200"/);

    await site.server.stop();
    const [create, read] = [receiver.of(traceId(1)), receiver.of(traceId(2))];
    const root = create.find(({ kind }) => kind === 2)!;
    t.match(root, {
      name: 'PUT /v1/key/create/',
      parentSpanId: caller,
      attributes: {
        'http.request.method': 'PUT',
        'http.route': '/v1/key/create/',
        'http.response.status_code': 200,
        'sello.face': 'kes',
        'sello.tenant': 'acme',
        'sello.operation': 'create',
        'sello.key': 'app',
      },
    });
    const keystore = create.find(({ name }) => name === 'keystore create')!;
    t.equal(keystore.parentSpanId, root.spanId);
    const calls = create.filter(({ kind }) => kind === 3);
    t.ok(calls.length > 0, `${calls.length} calls to Vault`);
    for (const call of calls) {
      t.match(call, { parentSpanId: keystore.spanId, attributes: { 'server.port': vault.port } });
      t.match(call.attributes['url.path'], /^\/v1\/kv\/(?:data|metadata)\//);
    }
    t.ok(
      create.some(({ name, parentSpanId }) => name === 'audit append' && parentSpanId === root.spanId),
      'and to the audit record',
    );
    t.ok(
      read.some(({ name }) => name === 'vault GET'),
      'the first use reads the key',
    );
    t.same(
      receiver.of(traceId(3)).map(({ name }) => name),
      ['audit append', 'PUT /v1/key/decrypt/'],
      'the next ones need no store',
    );
    t.same(receiver.of(traceId(4)), [], 'a caller that does not record is not recorded');
    t.same(receiver.of(traceId(5)), [], 'a traceparent that is none is not believed');
    t.ok(
      receiver.spans.some(({ parentSpanId, name }) => name === 'PUT /v1/key/generate/' && !parentSpanId),
      'such a request begins a trace',
    );
    t.same(receiver.of(traceId(7)), [], 'nor is a stranger');
    t.match(
      receiver.of(traceId(6)).find(({ kind }) => kind === 2),
      { attributes: { 'http.response.status_code': 400 }, failed: false },
    );
    t.match(receiver.of(traceId(8)).find(({ kind }) => kind === 2)?.attributes, { 'sello.face': 'admin' });
    t.equal(object.status, 200, object.body.toString());
    t.match(receiver.of(traceId(9)).find(({ kind }) => kind === 2)?.attributes, { 'sello.face': 'objects' });
    t.same([...receiver.authorizations], ['Bearer of-the-collector']);

    const all = Buffer.concat(receiver.bodies);
    const ofObject = JSON.parse(object.body.toString()) as { readonly plaintext: string };
    for (const [what, secret] of Object.entries({
      'data key': plaintext!,
      ciphertext: ciphertext!,
      context,
      'context value': 'canary-context-value',
      'object name': 'canary-object',
      'object data key': ofObject.plaintext,
      'Vault token': vault.rootToken,
    }))
      t.notOk(all.includes(secret), `no ${what} is in what the collector got`);
    t.ok(all.includes('keystore create'), 'and the search sees what is there');

    const lines = readFileSync(site.file('acme.jsonl'), 'utf8').trim().split('\n');
    const records = lines.map((line) => JSON.parse(line) as Line);
    const idsOf = (at: string): (string | undefined)[] =>
      records.filter(({ url }) => url.path === at).map(({ trace }) => trace?.id);
    t.same(idsOf('/v1/key/create/app'), [traceId(1), traceId(1)], 'both records of a change');
    const generated = idsOf('/v1/key/generate/app');
    t.same([generated[0], generated[1]], [traceId(2), traceId(4)], 'also where nothing was exported');
    t.match(generated[2], /^[0-9a-f]{32}$/);
    t.not(generated[2], traceId(5));
    t.ok(receiver.of(generated[2]!).length > 0, 'a trace that began here is in the record');
    t.same(idsOf('/objects/v1/keys/issue'), [traceId(9)]);
    t.notMatch(readFileSync(site.file('server.jsonl'), 'utf8'), traceId(7), 'a stranger chooses no trace');

    const said = readFileSync(vaultLog, 'utf8');
    for (const { spanId } of calls)
      t.match(said, `00-${traceId(1)}-${spanId}-01`, 'Vault was told the trace');
  });

  t.test('a collector that refuses or is away costs no key, and is told', async (t) => {
    const receiver = await OtlpReceiver.start(t);
    receiver.status = 401;
    const site = new Site();
    t.teardown(() => site.remove());
    site.write('token', vault.rootToken);
    await site.start(`${yaml(receiver, ', timeout: 1s')}log: {level: trace}\n`);
    const session = await Session.open(site.as(admin));
    const key = async (): Promise<number> =>
      (await session.ask({ method: 'PUT', path: '/v1/key/generate/app', body: '{}' })).status;
    t.equal(await key(), 200);
    const log = (): string => readFileSync(site.file('sello.log'), 'utf8');
    t.ok(await within(10_000, () => log().includes('traces cannot be exported')), 'refused');
    t.match(
      (await scrape(site.server.probePort!, '')).body,
      /sello_trace_spans_total\{outcome="failed"\} [1-9]/,
    );
    receiver.status = 200;
    t.equal(await key(), 200);
    t.ok(await within(10_000, () => log().includes('traces are exported again')), 'taken again');
    receiver.close();
    for (let i = 0; i < 20; i++) t.equal(await key(), 200);
    session.close();
    const startMs = performance.now();
    await site.server.stop();
    t.ok(performance.now() - startMs < 6_000, 'and a stop does not wait for it');
  });
}

t.test('off, nothing of OpenTelemetry is loaded; on without its packages is an error at start', async (t) => {
  const site = new Site();
  t.teardown(() => site.remove());
  const tenants = tenantsYaml({
    name: 'acme',
    admins: [issue('admin').identity],
    clients: { auth: 'off', requireClientAuthEku: false },
  });
  const script = `
    import { registerHooks } from 'node:module';
    const loaded = [];
    registerHooks({
      resolve(specifier, context, next) {
        if (/opentelemetry/.test(specifier)) loaded.push(specifier);
        // prom-client has the API package for itself.
        if (process.env.ABSENT && specifier === '@opentelemetry/sdk-trace')
          throw Object.assign(new Error('not here'), { code: 'ERR_MODULE_NOT_FOUND' });
        return next(specifier, context);
      },
    });
    const { parseConfig } = await import(${JSON.stringify(path.resolve('src/config/index.ts'))});
    const { startServer } = await import(${JSON.stringify(path.resolve('src/server/index.ts'))});
    const file = ${JSON.stringify(site.file('sello.yaml'))};
    try {
      const server = await startServer(parseConfig(process.env.YAML, { file, env: {} }));
      await server.stop();
    } catch (error) {
      console.log(error.code, error.detail);
    }
    console.log(JSON.stringify(loaded.filter((name) => name !== '@opentelemetry/api')));
  `;
  const run = (more: string, env: Record<string, string> = {}): string => {
    const yaml = `${listenerYaml}audit: {mode: off}\n${more}${tenants}`;
    const options = { env: { ...process.env, ...env, YAML: yaml }, encoding: 'utf8' } as const;
    return spawnSync(process.execPath, ['--input-type=module', '-e', script], options).stdout.trim();
  };
  const traces = 'traces: {url: "http://127.0.0.1:9/v1/traces"}\n';
  t.equal(run(''), '[]');
  t.match(run(traces), '@opentelemetry/sdk-trace');
  t.match(
    run(traces, { ABSENT: '1' }),
    /^SELLO_CONFIG_INVALID 'traces' needs the packages .*@opentelemetry\/sdk-trace.*: ERR_MODULE_NOT_FOUND/,
  );
});
