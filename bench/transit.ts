/**
 * The Transit face against a real Vault: the same requests, by the same program, over TLS, in one run. Each server has one core, the load
 * another; both write their audit to a file, both answer a caller with a token of one policy (nobody's root).
 *
 *   npm run bench:transit -- [--seconds 3] [--rounds 3] [--callers 16] [--only TEXT] [--write] [--check]
 *
 * The figure that is compared is requests per second of the server's CPU time; p99 is what a caller saw. `--check` exits 1 below the goal.
 */
import { randomBytes } from 'node:crypto';
import { mkdir, mkdtemp, readdir, readFile, rm, stat, writeFile } from 'node:fs/promises';
import { cpus, tmpdir } from 'node:os';
import { join } from 'node:path';
import { parseArgs } from 'node:util';
import { Agent, request } from 'undici';
import { createAuthority } from '../test/real/certificates.ts';
import { Sello } from '../test/real/sello.ts';
import { buildTool } from '../test/real/tools.ts';
import { Vault } from '../test/real/vault.ts';
import { quietest, runLoad, type Measurement } from './load.ts';
import { errorCount, summarize } from './statistics.ts';

const { values: options } = parseArgs({
  options: {
    seconds: { type: 'string', default: '3' },
    rounds: { type: 'string', default: '3' },
    callers: { type: 'string', default: '16' },
    only: { type: 'string', default: '' },
    write: { type: 'boolean', default: false },
    check: { type: 'boolean', default: false },
  },
});
const seconds = Number(options.seconds);
const rounds = Number(options.rounds);
const [serverCore, loadCore] = ['0', String(Math.min(1, cpus().length - 1))];
const leastRatio = 4;
/** What the goal is for. Other batches are measured beside them. */
const goals: readonly string[] = [
  'encrypt',
  'decrypt',
  'datakey',
  'encrypt, batch of 100',
  'decrypt, batch of 100',
];
/** More than this of a core for others, and a row says more about them. */
const mostForeignCores = 0.15;
const batchItems = 100;

interface Rival {
  readonly name: string;
  readonly pid: number;
  readonly origin: string;
  readonly token: string;
  readonly audit: string;
  ciphertext: string;
  /** Bound to nothing: Vault's rewrap knows no `associated_data`. */
  plain: string;
  /** {@link batchItems} ciphertexts that one request made, and as many of a request each. */
  together: readonly string[];
  alone: readonly string[];
}

interface Row {
  readonly operation: string;
  readonly protocol: string;
  readonly vault: Measurement;
  readonly sello: Measurement;
}

const progress = (text: string): void => console.error(text);
const folder = await mkdtemp(join(tmpdir(), 'sello-bench-transit-'));
const authority = await createAuthority(join(folder, 'certs'));
const client = await authority.issue('node', 'client');
const load = await buildTool('load', progress);
const agent = new Agent({
  connect: {
    ca: await readFile(authority.ca),
    cert: await readFile(client.cert),
    key: await readFile(client.key),
  },
});

// What RustFS sends: a data key of 32 bytes, and where it belongs.
const plaintext = randomBytes(32).toString('base64');
const objectContext = (number?: number): string =>
  Buffer.from(`{"bucket":"bucket/object${String(number ?? '')}"}`).toString('base64');
const associated_data = objectContext();
const batchName = `batch of ${String(batchItems)}`;
const batchOf = (operation: string, item: (i: number) => object): { path: string; body: object } => ({
  path: `${operation}/bench`,
  body: { batch_input: Array.from({ length: batchItems }, (_, i) => item(i)) },
});
const operations: Readonly<Record<string, (rival: Rival) => { path: string; body: object }>> = {
  encrypt: () => ({ path: 'encrypt/bench', body: { plaintext, associated_data } }),
  decrypt: ({ ciphertext }) => ({ path: 'decrypt/bench', body: { ciphertext, associated_data } }),
  datakey: () => ({ path: 'datakey/plaintext/bench', body: {} }),
  [`encrypt, ${batchName}`]: () => batchOf('encrypt', () => ({ plaintext, associated_data })),
  [`encrypt, ${batchName}, an object each`]: () =>
    batchOf('encrypt', (i) => ({ plaintext, associated_data: objectContext(i) })),
  [`decrypt, ${batchName}`]: ({ together }) =>
    batchOf('decrypt', (i) => ({ ciphertext: together[i], associated_data })),
  [`decrypt, ${batchName}, encrypted alone`]: ({ alone }) =>
    batchOf('decrypt', (i) => ({ ciphertext: alone[i], associated_data })),
  [`rewrap, ${batchName}`]: ({ plain }) => batchOf('rewrap', () => ({ ciphertext: plain })),
  [`hmac, ${batchName}`]: () => batchOf('hmac', () => ({ input: plaintext })),
};

const stops: (() => Promise<unknown>)[] = [];
try {
  const rivals = [await startVault(), await startSello()] as const;
  for (const rival of rivals) {
    await ask(rival, 'keys/bench', {});
    const { data } = await ask(rival, 'encrypt/bench', { plaintext, associated_data });
    rival.ciphertext = data!['ciphertext'] as string;
    const made = await ask(
      rival,
      'encrypt/bench',
      batchOf('encrypt', () => ({ plaintext, associated_data })).body,
    );
    rival.together = (made.data!['batch_results'] as { ciphertext: string }[]).map(
      ({ ciphertext }) => ciphertext,
    );
    const alone: string[] = [];
    for (let i = 0; i < batchItems; i++)
      alone.push(
        (await ask(rival, 'encrypt/bench', { plaintext, associated_data })).data!['ciphertext'] as string,
      );
    rival.alone = alone;
    rival.plain = (await ask(rival, 'encrypt/bench', { plaintext })).data!['ciphertext'] as string;
  }
  const rows: Row[] = [];
  for (const [operation, make] of Object.entries(operations)) {
    for (const protocol of ['HTTP/1.1', 'HTTP/2'] as const) {
      if (!`${operation} ${protocol}`.includes(options.only)) continue;
      const measured = rivals.map(() => [] as Measurement[]);
      for (let round = 0; round < rounds; round++)
        for (const [i, rival] of rivals.entries())
          measured[i]!.push(await measure(rival, make(rival), protocol === 'HTTP/2'));
      const [vault, sello] = measured.map(summarize) as [Measurement, Measurement];
      const row = { operation, protocol, vault, sello };
      rows.push(row);
      progress(
        `${operation}, ${protocol}: ${ratio(row).toFixed(2)} times (${line(sello)} against ${line(vault)})`,
      );
    }
  }
  for (const { audit, name } of rivals)
    if ((await sizeOf(audit)) === 0) throw new Error(`${name} wrote no audit`);
  const report = markdown(rows);
  console.log(report);
  if (options.write) await writeFile(join(import.meta.dirname, '../docs/benchmarks-transit.md'), report);
  if (options.check && !rows.every((row) => isMet(row))) process.exitCode = 1;
} finally {
  for (const stop of stops) await stop();
  await agent.close();
  await rm(folder, { recursive: true, force: true });
}

async function startVault(): Promise<Rival> {
  const audit = join(folder, 'vault-audit.log');
  const vault = await Vault.start({
    program: await buildTool('vault', progress),
    folder,
    authority,
    wrapper: ['taskset', '-c', serverCore],
  });
  stops.push(() => vault.stop());
  await vault.must('POST', 'sys/audit/file', { type: 'file', options: { file_path: audit } });
  await vault.must('POST', 'sys/mounts/transit', { type: 'transit' });
  const token = await vault.tokenWith('node', 'path "transit/*" { capabilities = ["create", "update"] }');
  return {
    name: 'Vault',
    pid: vault.pid,
    origin: vault.address,
    token,
    audit,
    ciphertext: '',
    plain: '',
    together: [],
    alone: [],
  };
}

/** Keys on disk, where Vault in development mode has them in memory. */
async function startSello(): Promise<Rival> {
  const home = join(folder, 'sello');
  await mkdir(join(home, 'audit'), { recursive: true });
  const audit = join(home, 'audit', 'acme');
  const sello = await Sello.start({
    folder: home,
    authority,
    wrapper: ['taskset', '-c', serverCore],
    env: { BENCH_ROOT: randomBytes(32).toString('base64') },
    config: ({ address, keys, server }) => ({
      version: 'sello/v1',
      probes: 'off',
      listeners: [{ address, tls: { cert: server.cert, key: server.key } }],
      audit: { folder: join(home, 'audit') },
      tenants: [
        {
          name: 'acme',
          clients: { auth: 'off' },
          keystore: { file: { path: keys, rootKey: { env: 'BENCH_ROOT' } } },
          policies: {
            node: {
              identities: [client.identity],
              allow: [
                { operations: ['create', 'issue', 'encrypt', 'unwrap', 'rewrap', 'mac'], keys: ['bench*'] },
              ],
            },
          },
          transit: {},
        },
      ],
    }),
  });
  stops.push(() => sello.stop());
  const rival = {
    name: 'Sello',
    pid: sello.pid,
    origin: sello.endpoint,
    token: '',
    audit,
    ciphertext: '',
    plain: '',
    together: [],
    alone: [],
  };
  const { auth } = await ask(rival, '../auth/cert/login', {});
  return { ...rival, token: auth!['client_token'] as string };
}

/** Bytes of a file, or of a trail's files. */
async function sizeOf(path: string): Promise<number> {
  const found = await stat(path);
  if (!found.isDirectory()) return found.size;
  const files = await readdir(path, { recursive: true });
  const sizes = await Promise.all(files.map(async (file) => (await stat(join(path, file))).size));
  return sizes.reduce((sum, size) => sum + size, 0);
}

type Reply = Readonly<Partial<Record<'data' | 'auth', Readonly<Record<string, unknown>>>>>;

async function ask({ origin, token }: Rival, path: string, body: object): Promise<Reply> {
  const { body: answer, statusCode } = await request(new URL(`/v1/transit/${path}`, origin), {
    method: 'POST',
    body: JSON.stringify(body),
    dispatcher: agent,
    headers: token === '' ? {} : { 'x-vault-token': token },
  });
  const text = await answer.text();
  if (statusCode >= 300) throw new Error(`${path}: ${String(statusCode)} ${text}`);
  return text === '' ? {} : (JSON.parse(text) as Reply);
}

async function measure(
  rival: Rival,
  { body, path }: { readonly path: string; readonly body: object },
  isHttp2: boolean,
): Promise<Measurement> {
  const file = join(folder, 'body.json');
  await writeFile(file, JSON.stringify(body));
  const args = ['-c', loadCore, load, '-url', `${rival.origin}/v1/transit/${path}`, '-method', 'POST'];
  args.push('-body', `@${file}`, '-token', rival.token, '-ca', authority.ca);
  args.push('-cert', client.cert, '-key', client.key, '-c', options.callers, ...(isHttp2 ? ['-h2'] : []));
  args.push('-warm', '1s', '-d', `${String(seconds)}s`);
  return quietest(() => runLoad(rival, seconds, args));
}

function ratio({ sello, vault }: Row): number {
  return vault.cpuUsPerRequest / sello.cpuUsPerRequest;
}

function isMet(row: Row): boolean {
  return (ratio(row) >= leastRatio || !goals.includes(row.operation)) && errorCount(row.sello) === 0;
}

function line({ cpuUsPerRequest, p99Us, perSecond }: Measurement): string {
  return `${perSecond.toFixed(0)}/s, ${cpuUsPerRequest.toFixed(0)} µs CPU, p99 ${(p99Us / 1000).toFixed(2)} ms`;
}

function markdown(rows: readonly Row[]): string {
  const perCore = ({ cpuUsPerRequest }: Measurement): string =>
    Math.round(1e6 / cpuUsPerRequest).toLocaleString('en-US');
  const ms = (us: number): string => (us / 1000).toFixed(2);
  const lines = rows.map((row) => {
    const { operation, protocol, sello, vault } = row;
    return `| ${[
      operation,
      protocol,
      perCore(sello),
      perCore(vault),
      ratio(row).toFixed(2),
      `${sello.perSecond.toFixed(0)} / ${vault.perSecond.toFixed(0)}`,
      `${ms(sello.p50Us)} / ${ms(vault.p50Us)}`,
      `${ms(sello.p99Us)} / ${ms(vault.p99Us)}`,
      `${String(errorCount(sello))} / ${String(errorCount(vault))}`,
    ].join(' | ')} |`;
  });
  const foreign = Math.max(
    0,
    ...rows.flatMap(({ sello, vault }) => [sello.foreignCores, vault.foreignCores]),
  );
  const missed = rows.filter((row) => !isMet(row));
  return `# The Transit face and Vault

Made by \`npm run bench:transit -- --write\` on ${new Date().toISOString().slice(0, 10)}: Node ${process.version}, Vault 1.21.2, ${cpus()[0]!.model.trim()}, ${String(cpus().length)} cores, ${String(rounds)} rounds in turn of ${String(seconds)} s,
medians. Machines differ from day to day: compare within one table only.

Each server is pinned to one core and the load, ${options.callers} callers of a Go client, to another; TLS 1.3 throughout. Both have their audit on, into a file, and a caller with
a token of one policy. Batches of encrypt are of one object unless said otherwise, those of decrypt were encrypted as a batch or alone. Vault is in development mode, with all its storage in memory; Sello has its keys in an encrypted folder. HTTP/1.1 is one connection per caller,
HTTP/2 one for all. A data key of 32 bytes with \`associated_data\`, as RustFS asks.

| operation | protocol | Sello, requests per CPU second | Vault | ratio | req/s | p50 ms | p99 ms | errors |
| --- | --- | --: | --: | --: | --: | --: | --: | --: |
${lines.join('\n')}

Where two figures stand in a cell, the first is Sello's. CPU is user and system time of the server, all its threads.

- ${missed.length === 0 ? 'met' : '**missed**'}: at least ${String(leastRatio)} times Vault's requests per CPU second for ${goals.join('; ')}${missed.length === 0 ? '' : `, but for ${missed.map(({ operation, protocol }) => `${operation} over ${protocol}`).join('; ')}`}
- ${foreign <= mostForeignCores ? 'met' : '**missed**'}: other programs kept at most ${foreign.toFixed(2)} cores busy (more than ${String(mostForeignCores)} makes the figures worthless)
`;
}
