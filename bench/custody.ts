/**
 * Data keys by custody: what a Transit call per data key costs, and what an intermediate key saves. One real Vault serves all: asked
 * directly (`datakey/plaintext` of a derived key), through Sello with `strict`, and through Sello with `cached`; Sello with its audit on.
 *
 *   npm run bench:custody -- [--seconds 5] [--rounds 3] [--write]
 *
 * The same Go program makes the load, over TLS and HTTP/1.1 with one connection per caller. Vault, Sello and load share the machine's
 * cores, as nothing else would be fair to the one that has Vault alone to pay for.
 */
import { spawn } from 'node:child_process';
import { createReadStream } from 'node:fs';
import { mkdtemp, rm, writeFile } from 'node:fs/promises';
import { cpus, tmpdir } from 'node:os';
import { join } from 'node:path';
import { parseArgs } from 'node:util';
import { createClient } from '../src/client/index.ts';
import { createApiKey, createAuthority } from '../test/real/certificates.ts';
import { Sello } from '../test/real/sello.ts';
import { buildTool } from '../test/real/tools.ts';
import { Vault } from '../test/real/vault.ts';
import { median } from './statistics.ts';

const { values: options } = parseArgs({
  options: {
    seconds: { type: 'string', default: '5' },
    rounds: { type: 'string', default: '3' },
    write: { type: 'boolean', default: false },
  },
});
const seconds = Number(options.seconds);
const rounds = Number(options.rounds);
const callerCounts = [1, 32];
const goals = { strict: 0.7, cached: 3 };

interface Result {
  readonly requests: number;
  readonly perSecond: number;
  readonly p50Us: number;
  readonly p99Us: number;
  readonly errors: Readonly<Record<string, number>>;
  /** Calls to Vault per 1,000 requests, by Vault's own count. */
  readonly vaultCalls: number;
}

const progress = (text: string): void => console.error(text);
const folder = await mkdtemp(join(tmpdir(), 'sello-bench-custody-'));
const authority = await createAuthority(join(folder, 'certs'));
const vaultAudit = join(folder, 'vault-audit.log');
const client = await authority.issue('bench', 'client');
const load = await buildTool('load', progress);
const vault = await Vault.start({ program: await buildTool('vault', progress), folder, authority });
const running: Sello[] = [];
try {
  await vault.must('POST', 'sys/audit/file', { type: 'file', options: { file_path: vaultAudit } });
  await vault.mountKv('kv', 2);
  await vault.must('POST', 'sys/mounts/transit', { type: 'transit' });
  await vault.must('POST', 'transit/keys/wrap', {});
  await vault.must('POST', 'transit/keys/bare', { derived: true });
  const context = Buffer.alloc(32, 7).toString('base64');
  const targets: { name: string; args: string[] }[] = [
    {
      name: 'bare Transit',
      args: [
        ...['-url', `${vault.address}/v1/transit/datakey/plaintext/bare`, '-token', vault.rootToken],
        ...['-method', 'POST', '-body', JSON.stringify({ context })],
      ],
    },
  ];
  const admin = createApiKey();
  for (const mode of ['strict', 'cached'] as const) {
    const sello = await Sello.start({
      folder: join(folder, mode),
      authority,
      env: { BENCH_VAULT_TOKEN: vault.rootToken },
      config: ({ address, server }) => ({
        version: 'sello/v1',
        probes: 'off',
        listeners: [{ address, tls: { cert: server.cert, key: server.key } }],
        audit: { folder: join(folder, mode, 'audit') },
        tenants: [
          {
            name: mode,
            admins: [admin.identity, client.identity],
            clients: { auth: 'off' },
            keystore: {
              vaultTransit: {
                addresses: [vault.address],
                tls: { ca: authority.ca },
                login: { token: { env: 'BENCH_VAULT_TOKEN' } },
                transit: { key: 'wrap' },
                mode,
                maxConnections: 32,
              },
            },
          },
        ],
      }),
    });
    running.push(sello);
    const setup = createClient({ endpoints: [sello.endpoint], apiKey: admin.text, insecure: true });
    await setup.createKey('bench');
    await setup.generateKey('bench');
    setup.close();
    targets.push({
      name: `Sello, ${mode}`,
      args: ['-url', `${sello.endpoint}/v1/key/generate/bench`, '-body', JSON.stringify({ context })],
    });
  }
  const rows: { callers: number; name: string; result: Result }[] = [];
  for (const callers of callerCounts) {
    const measured = targets.map(() => [] as Result[]);
    for (let round = 0; round < rounds; round++) {
      for (const [i, { args }] of targets.entries()) measured[i]!.push(await measure(args, callers));
    }
    for (const [i, { name }] of targets.entries()) {
      const result = summarize(measured[i]!);
      rows.push({ callers, name, result });
      progress(
        `${name}, ${String(callers)} callers: ${result.perSecond.toFixed(0)}/s, p99 ${(result.p99Us / 1000).toFixed(2)} ms, ${result.vaultCalls.toFixed(0)} Vault calls per 1,000`,
      );
    }
  }
  const report = markdown(rows);
  console.log(report);
  if (options.write) await writeFile(join(import.meta.dirname, '../docs/benchmarks-custody.md'), report);
} finally {
  for (const sello of running) await sello.stop();
  await vault.stop();
  await rm(folder, { recursive: true, force: true });
}

async function measure(args: readonly string[], callers: number): Promise<Result> {
  const common = ['-ca', authority.ca, '-cert', client.cert, '-key', client.key, '-c', String(callers)];
  const before = await vaultRequests();
  const output = await run([...args, ...common, '-warm', '1s', '-d', `${String(seconds)}s`]);
  const summary = output
    .split('\n')
    .filter((line) => line !== '')
    .map((line) => JSON.parse(line) as Result & { event: string })
    .find(({ event }) => event === 'result')!;
  const calls = (await vaultRequests()) - before;
  // Those of the warming second are counted with the others, so requests are taken as going on at the same pace.
  const requests = summary.requests * ((seconds + 1) / seconds);
  return { ...summary, vaultCalls: (calls / requests) * 1000 };
}

function run(args: readonly string[]): Promise<string> {
  return new Promise((resolve, reject) => {
    const child = spawn(load, args, { stdio: ['ignore', 'pipe', 'inherit'] });
    let output = '';
    child.stdout.setEncoding('utf8').on('data', (text: string) => (output += text));
    child.once('error', reject);
    child.once('close', (code) =>
      code === 0 ? resolve(output) : reject(new Error(`load ended with ${String(code)}`)),
    );
  });
}

/** How many requests Vault has handled: each is two lines of its own audit. */
async function vaultRequests(): Promise<number> {
  let lines = 0;
  for await (const chunk of createReadStream(vaultAudit))
    for (let at = (chunk as Buffer).indexOf(0x0a); at !== -1; at = (chunk as Buffer).indexOf(0x0a, at + 1))
      lines++;
  return lines / 2;
}

function summarize(results: readonly Result[]): Result {
  const errors: Record<string, number> = {};
  for (const result of results)
    for (const [text, count] of Object.entries(result.errors ?? {}))
      errors[text] = (errors[text] ?? 0) + count;
  return {
    requests: results.reduce((sum, { requests }) => sum + requests, 0),
    perSecond: median(results.map(({ perSecond }) => perSecond)),
    p50Us: median(results.map(({ p50Us }) => p50Us)),
    p99Us: median(results.map(({ p99Us }) => p99Us)),
    vaultCalls: median(results.map(({ vaultCalls }) => vaultCalls)),
    errors,
  };
}

function markdown(rows: readonly { callers: number; name: string; result: Result }[]): string {
  const lines = rows.map(({ callers, name, result }) => {
    const bare = rows.find((row) => row.callers === callers)!.result;
    const failed = Object.values(result.errors).reduce((sum, count) => sum + count, 0);
    const ms = (us: number): string => (us / 1000).toFixed(2);
    return `| ${String(callers)} | ${name} | ${result.perSecond.toFixed(0)} | ${(result.perSecond / bare.perSecond).toFixed(2)} | ${ms(result.p50Us)} | ${ms(result.p99Us)} | ${result.vaultCalls.toFixed(0)} | ${String(failed)} |`;
  });
  return `# Data keys by custody

Made by \`npm run bench:custody -- --write\` on ${String(cpus().length)} cores (${cpus()[0]!.model.trim()}), which Vault, Sello and the load share: ${String(rounds)} rounds in turn of ${String(seconds)} s, medians. One Vault in
memory, over TLS, with its file audit on; Sello writes an audit record for each data key. [What each custody means](custody.md).

| callers | asked | data keys/s | to bare Transit | p50, ms | p99, ms | Vault calls per 1,000 | failed |
| ---: | --- | ---: | ---: | ---: | ---: | ---: | ---: |
${lines.join('\n')}

Goals: \`strict\` at least ${String(goals.strict)} of bare Transit, \`cached\` at least ${String(goals.cached)} times.
`;
}
