/**
 * The whole path of an alert: a fault of a running Sello, seen by a real Prometheus with the rules that ship, sent by a real
 * Alertmanager with a configuration that ships, received by a webhook. And every query of the dashboards shows something.
 */
import { mkdir, mkdtemp, readFile, rename, rm, writeFile } from 'node:fs/promises';
import { once } from 'node:events';
import { createServer } from 'node:http';
import type { AddressInfo } from 'node:net';
import { tmpdir } from 'node:os';
import path from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import t from 'tap';
import { parse, stringify } from 'yaml';
import { createClient } from '../../src/client/index.ts';
import { dashboards, expanded, queriesOf } from '../monitoring/dashboards.ts';
import { monitoringFolder, ruleFiles, type RuleFile } from '../monitoring/rules.ts';
import { createApiKey, createAuthority } from './certificates.ts';
import { needPrograms } from './debian-programs.ts';
import { freePort, RunningProcess } from './process.ts';
import { Sello } from './sello.ts';
import { needTools } from './tools.ts';
import { Vault } from './vault.ts';

t.setTimeout(240_000);

/** Generous: a busy machine evaluates late. */
const withinMs = 60_000;
const pollMs = 200;
const webhookKey = 'key-of-the-integration';

interface SentAlert {
  readonly status: 'firing' | 'resolved';
  readonly labels: Readonly<Record<string, string>>;
  readonly annotations: Readonly<Record<string, string>>;
}

/** What a busy machine makes slow is no fault of this test. */
function isOfSello(alert: string): boolean {
  return !/Slow$|EventLoopBlocked$/.test(alert);
}

interface QueryResult {
  readonly metric: Readonly<Record<string, string>>;
  readonly value: readonly [number, string];
}

async function eventually<T>(what: string, ask: () => Promise<T | undefined> | T | undefined): Promise<T> {
  const giveUpMs = Date.now() + withinMs;
  for (;;) {
    const answer = await ask();
    if (answer !== undefined) return answer;
    if (Date.now() > giveUpMs) throw new Error(`never: ${what}`);
    await sleep(pollMs);
  }
}

const programs = await needPrograms(t, 'prometheus');
const tools = programs === undefined ? undefined : await needTools(t, 'vault', 'alertmanager');
if (programs !== undefined && tools !== undefined) {
  const folder = await mkdtemp(path.join(tmpdir(), 'sello-monitoring-'));
  const file = (...names: string[]): string => path.join(folder, ...names);
  t.teardown(() => rm(folder, { recursive: true }));

  // Who is told.
  const received: SentAlert[] = [];
  const authorizations = new Set<string | undefined>();
  const webhook = createServer((request, response) => {
    const chunks: Buffer[] = [];
    request.on('data', (chunk: Buffer) => chunks.push(chunk));
    request.on('end', () => {
      authorizations.add(request.headers.authorization);
      received.push(...(JSON.parse(Buffer.concat(chunks).toString()) as { alerts: SentAlert[] }).alerts);
      response.end();
    });
  }).listen(0, '127.0.0.1');
  await once(webhook, 'listening');
  t.teardown(() => webhook.close());
  const webhookPort = (webhook.address() as AddressInfo).port;
  const told = (
    alert: string,
    status: SentAlert['status'],
    labels: Record<string, string> = {},
  ): Promise<SentAlert> =>
    eventually(`${alert} ${status}`, () =>
      received.find(
        (sent) =>
          sent.status === status &&
          sent.labels['alertname'] === alert &&
          Object.entries(labels).every(([name, value]) => sent.labels[name] === value),
      ),
    );

  // What is watched: one tenant on a disk, one in Vault.
  const vault = await Vault.start({ program: tools.vault, folder });
  t.teardown(() => vault.stop());
  await vault.mountKv('kv', 2);
  const token = await vault.tokenWith(
    'all',
    'path "*" { capabilities = ["create", "read", "update", "delete", "list", "sudo"] }',
    { ttl: '1h' },
  );
  const authority = await createAuthority(file('certs'));
  const admins = { disk: createApiKey(), vault: createApiKey() };
  const probePort = await freePort();
  const sello = await Sello.start({
    folder: file('sello'),
    authority,
    config: ({ address, server }) => ({
      version: 'sello/v1',
      probes: `127.0.0.1:${String(probePort)}`,
      listeners: [{ address, tls: { cert: server.cert, key: server.key } }],
      audit: { folder: file('audit') },
      tenants: [
        {
          name: 'disk',
          admins: [admins.disk.identity],
          clients: { auth: 'off' },
          keystore: { fs: { path: file('sello', 'keys') } },
        },
        {
          name: 'vault',
          admins: [admins.vault.identity],
          clients: { auth: 'off' },
          keystore: {
            vaultKv: {
              addresses: [vault.address],
              engine: 'kv',
              prefix: 'acme',
              login: { token: { env: 'TEST_VAULT_TOKEN' } },
            },
          },
        },
      ],
    }),
    env: { TEST_VAULT_TOKEN: token },
  });
  t.teardown(() => sello.stop('SIGKILL'));

  // Who sends it: the example for Freshservice, with another address and less patience.
  const freshservice = await readFile(path.join(monitoringFolder, 'alertmanager/freshservice.yaml'), 'utf8');
  await writeFile(file('webhook.key'), webhookKey);
  const alertmanagerPort = await freePort();
  await writeFile(
    file('alertmanager.yaml'),
    freshservice
      .replace(/url: .*/, `url: http://127.0.0.1:${String(webhookPort)}/alerts`)
      .replace(/credentials_file: .*/, `credentials_file: ${file('webhook.key')}`)
      .replace(/group_wait: .*/, 'group_wait: 1s')
      .replace(/group_interval: .*/, 'group_interval: 1s'),
  );
  const alertmanager = await RunningProcess.start({
    command: tools.alertmanager,
    args: [
      `--config.file=${file('alertmanager.yaml')}`,
      `--storage.path=${file('alertmanager')}`,
      `--web.listen-address=127.0.0.1:${String(alertmanagerPort)}`,
      '--cluster.listen-address=',
    ],
    log: file('alertmanager.log'),
    isReady: async () => (await fetch(`http://127.0.0.1:${String(alertmanagerPort)}/-/ready`)).ok,
  });
  t.teardown(() => alertmanager.stop());

  // Who sees it: the rules as they ship, but not waiting for minutes.
  await mkdir(file('rules'));
  for (const rules of ruleFiles) {
    const { groups } = parse(await readFile(rules, 'utf8')) as RuleFile;
    const hasty = groups.map((group) => ({
      ...group,
      rules: group.rules.map((rule) => (rule.for === undefined ? rule : { ...rule, for: '2s' })),
    }));
    await writeFile(file('rules', path.basename(rules)), stringify({ groups: hasty }));
  }
  await writeFile(
    file('prometheus.yaml'),
    stringify({
      global: { scrape_interval: '1s', scrape_timeout: '1s', evaluation_interval: '1s' },
      rule_files: [file('rules', '*.yaml')],
      alerting: {
        alertmanagers: [{ static_configs: [{ targets: [`127.0.0.1:${String(alertmanagerPort)}`] }] }],
      },
      scrape_configs: [
        { job_name: 'sello', static_configs: [{ targets: [`127.0.0.1:${String(probePort)}`] }] },
      ],
    }),
  );
  const prometheusPort = await freePort();
  const prometheusUrl = `http://127.0.0.1:${String(prometheusPort)}`;
  const prometheus = await RunningProcess.start({
    command: programs.prometheus,
    args: [
      `--config.file=${file('prometheus.yaml')}`,
      `--storage.tsdb.path=${file('prometheus')}`,
      `--web.listen-address=127.0.0.1:${String(prometheusPort)}`,
    ],
    log: file('prometheus.log'),
    readyWithinMs: withinMs,
    isReady: async () => (await fetch(`${prometheusUrl}/-/ready`)).ok,
  });
  t.teardown(() => prometheus.stop());
  const query = async (expr: string): Promise<QueryResult[]> => {
    const body = new URLSearchParams({ query: expr });
    const answer = await fetch(`${prometheusUrl}/api/v1/query`, { method: 'POST', body });
    const { status, error, data } = (await answer.json()) as {
      status: string;
      error?: string;
      data?: { result: QueryResult[] };
    };
    if (status !== 'success') throw new Error(`${expr}: ${error ?? 'no answer'}`);
    return data!.result;
  };
  const clientOf = (apiKey: { readonly text: string }): ReturnType<typeof createClient> => {
    const client = createClient({ endpoints: [sello.endpoint], apiKey: apiKey.text, insecure: true });
    t.teardown(() => client.close());
    return client;
  };
  const clients = [clientOf(admins.disk), clientOf(admins.vault)];
  const work = async (): Promise<void> => {
    for (const client of clients) {
      const { ciphertext } = await client.generateKey('photos');
      await client.decrypt('photos', ciphertext);
    }
  };
  for (const client of clients) await client.createKey('photos');

  await t.test('every query of the dashboards shows something', async (t) => {
    const queries = dashboards.flatMap(queriesOf);
    t.ok(queries.length > 40);
    for (const { name, expr } of queries) {
      const found = await eventually(`${name}: ${expr}`, async () => {
        await work();
        const result = await query(expanded(expr, '15s'));
        return result.length > 0 ? result : undefined;
      });
      t.ok(found.length > 0, name);
    }
    const [up] = await query('min(sello_check_up)');
    t.equal(up!.value[1], '1');
    const [left] = await query('sello_vault_token_expiry_timestamp_seconds{tenant="vault"} - time()');
    t.ok(
      Number(left!.value[1]) > 3_000 && Number(left!.value[1]) <= 3_600,
      'as long as the token was made for',
    );
  });

  await t.test('a Sello that works alerts of nothing but its certificate of one day', async (t) => {
    await eventually('all rules judged', async () => {
      const [groups] = await query('sum(up{job="sello"})');
      return groups?.value[1] === '1' ? true : undefined;
    });
    const answer = await fetch(`${prometheusUrl}/api/v1/rules?type=alert`);
    const { data } = (await answer.json()) as {
      data: { groups: { rules: { name: string; health: string; lastError?: string }[] }[] };
    };
    const judged = data.groups.flatMap((group) => group.rules);
    t.ok(judged.length > 25);
    for (const { name, health, lastError } of judged) t.equal(health, 'ok', `${name} ${lastError ?? ''}`);
    const firing = (await query('ALERTS{alertstate="firing"}')).map(({ metric }) => metric['alertname']!);
    t.strictSame(firing.filter(isOfSello).sort(), [
      'SelloCertificateExpiresNow',
      'SelloCertificateExpiresSoon',
    ]);
    const sent = await told('SelloCertificateExpiresNow', 'firing');
    t.match(sent.annotations['summary'], /ends in 23h 5\dm/);
    t.strictSame(
      [...new Set(received.map(({ labels }) => labels['alertname']!))].filter(isOfSello),
      ['SelloCertificateExpiresNow'],
      'the milder of the two is held back',
    );
  });

  await t.test('a keystore that is taken away, and comes back', async (t) => {
    await rename(file('sello', 'keys'), file('sello', 'keys-away'));
    const sent = await told('SelloKeystoreDown', 'firing', { tenant: 'disk' });
    t.equal(sent.labels['severity'], 'critical');
    t.equal(sent.annotations['summary'], 'The keystore of tenant disk cannot be used', 'filled in');
    t.ok(sent.annotations['runbook_url']?.endsWith('/docs/runbooks/SelloKeystoreDown.md'));
    t.strictSame([...authorizations], [`auth-key ${webhookKey}`]);
    t.notOk(
      received.some(({ labels }) => labels['tenant'] === 'vault' && isOfSello(labels['alertname']!)),
      'the other tenant is not concerned',
    );
    await rename(file('sello', 'keys-away'), file('sello', 'keys'));
    await told('SelloKeystoreDown', 'resolved', { tenant: 'disk' });
  });

  await t.test('Vault sealed', async () => {
    await vault.seal();
    await told('SelloKeystoreDown', 'firing', { tenant: 'vault' });
    await vault.unseal();
  });

  await t.test('clients that are denied', async (t) => {
    const stranger = clientOf(createApiKey());
    const sent = eventually('SelloRequestsDenied', async () => {
      await Promise.all(
        Array.from({ length: 10 }, () => stranger.generateKey('photos').catch(() => undefined)),
      );
      return received.find(({ labels }) => labels['alertname'] === 'SelloRequestsDenied');
    });
    t.equal((await sent).labels['severity'], 'warning');
  });

  await t.test('a configuration that is refused', async () => {
    const config = await readFile(file('sello', 'sello.yaml'), 'utf8');
    await writeFile(file('sello', 'sello.yaml'), '{"version":"sello/v1","tenants":"none"}');
    await told('SelloReloadRefused', 'firing');
    await writeFile(file('sello', 'sello.yaml'), config);
  });

  await t.test('a Sello that is gone', async (t) => {
    await sello.stop('SIGKILL');
    const sent = await told('SelloDown', 'firing');
    t.equal(sent.labels['instance'], `127.0.0.1:${String(probePort)}`);
    await sello.run();
    await told('SelloDown', 'resolved');
  });
}
