/**
 * What we claim about speed: `npm run bench [-- OPTIONS]`.
 *
 *   --quick        seconds of 1, one round, fewer scenarios
 *   --rounds N     alternating rounds (3)
 *   --seconds N    measured time of each (3), after 1 s of warming up
 *   --only TEXT    scenarios whose description holds this text
 *   --node-options V8 options for every server alike (--max-semi-space-size=8)
 *   --write        writes docs/benchmarks.md
 *   --check        exits 1 when a goal is missed
 */
import { mkdtemp, rm, writeFile } from 'node:fs/promises';
import { cpus, tmpdir } from 'node:os';
import { join } from 'node:path';
import { parseArgs } from 'node:util';
import { createAuthority } from '../test/real/certificates.ts';
import { buildTool } from '../test/real/tools.ts';
import { measure, type LoadSettings, type Measurement, type Scenario } from './load.ts';
import {
  describe,
  judge,
  markdown,
  type AuditComparison,
  type Comparison,
  type ProcessComparison,
} from './report.ts';
import { startBare, startSello, type Ground, type Rival } from './rivals.ts';
import { summarize } from './statistics.ts';

const { values: options } = parseArgs({
  options: {
    quick: { type: 'boolean', default: false },
    rounds: { type: 'string' },
    seconds: { type: 'string' },
    only: { type: 'string', default: '' },
    // Sello starts itself with this size of the young generation; the rival gets the same.
    'node-options': { type: 'string', default: '--max-semi-space-size=8' },
    write: { type: 'boolean', default: false },
    check: { type: 'boolean', default: false },
  },
});
const rounds = Number(options.rounds ?? (options.quick ? 1 : 3));
const seconds = Number(options.seconds ?? (options.quick ? 1 : 3));
const warmUpSeconds = options.quick ? 2 : 5;
const warmUpCallers = 32;
const serverCore = '0';
const loadCore = String(Math.min(1, cpus().length - 1));
const bothCores = `0-${loadCore}`;

const scenarios: Scenario[] = [];
for (const operation of ['generate', 'decrypt'] as const) {
  for (const callers of [1, 4, 32]) scenarios.push({ operation, client: 'kms-go', callers, clients: 1 });
  for (const callers of [16, 32]) scenarios.push({ operation, client: 'http1', callers, clients: callers });
}
const processScenarios: Scenario[] = [
  { operation: 'generate', client: 'kms-go', callers: 32, clients: 16 },
  { operation: 'generate', client: 'http1', callers: 32, clients: 32 },
];
/** What the most callers and a lone one pay for their records. */
const auditScenarios: Scenario[] = [
  { operation: 'generate', client: 'kms-go', callers: 1, clients: 1 },
  { operation: 'generate', client: 'kms-go', callers: 32, clients: 1 },
];
const wanted = (scenario: Scenario): boolean => describe(scenario).includes(options.only);

const folder = await mkdtemp(join(tmpdir(), 'sello-bench-'));
const running: Rival[] = [];
try {
  const authority = await createAuthority(join(folder, 'certs'));
  const ground: Ground = {
    folder,
    authority,
    client: await authority.issue('node', 'client'),
    kmsgo: await buildTool('kmsgo', progress),
    nodeOptions: options['node-options'].split(' ').filter((option) => option !== ''),
  };
  const settings: LoadSettings = {
    programs: { kmsgo: ground.kmsgo, load: await buildTool('load', progress) },
    ca: authority.ca,
    client: ground.client,
    cores: loadCore,
    warmSeconds: 1,
    seconds,
  };

  const sello = await started(startSello(ground, 'sello', serverCore, 1));
  const bare = await started(startBare(ground, serverCore, 'plain'));
  const prepared = await started(startBare(ground, serverCore, 'prepared'));
  const compared = scenarios.filter(wanted);
  for (const rival of [sello, bare, prepared]) await warmUp(rival, compared, settings);
  const comparisons: Comparison[] = [];
  for (const scenario of compared) {
    const [ours, theirs, best] = await alternate(scenario, [sello, bare, prepared], settings);
    comparisons.push({ scenario, sello: ours!, bare: theirs!, prepared: best! });
    const ratio = (ours!.perSecond / theirs!.perSecond).toFixed(2);
    progress(
      `${describe(scenario)}: ${ratio} (${line(ours!)} against ${line(theirs!)}; prepared: ${line(best!)})`,
    );
  }
  await stopAll();

  const processes: ProcessComparison[] = [];
  if (processScenarios.some(wanted)) {
    const one = await started(startSello(ground, 'one', bothCores, 1));
    const two = await started(startSello(ground, 'two', bothCores, 2));
    const shared = { ...settings, cores: bothCores };
    for (const rival of [one, two]) await warmUp(rival, processScenarios.filter(wanted), shared);
    for (const scenario of processScenarios.filter(wanted)) {
      const [alone, paired] = await alternate(scenario, [one, two], shared);
      const full = { ...scenario, callers: 2 * scenario.callers, clients: 2 * scenario.clients };
      const [pairedFull] = await alternate(full, [two], shared);
      processes.push({ scenario, one: alone!, two: paired!, twoFull: pairedFull! });
      const ratios = [paired!, pairedFull!].map(({ cpuUsPerRequest }) =>
        (cpuUsPerRequest / alone!.cpuUsPerRequest).toFixed(2),
      );
      progress(
        `two processes, ${describe(scenario)}: CPU ${ratios.join(', twice the callers ')} (${line(paired!)}, ${line(pairedFull!)} against ${line(alone!)})`,
      );
    }
    await stopAll();
  }

  const audits: AuditComparison[] = [];
  if (auditScenarios.some(wanted)) {
    const kinds = ['off', 'trail', 'synced trail'] as const;
    const rivals: Rival[] = [];
    for (const kind of kinds)
      rivals.push(await started(startSello(ground, `audit ${kind}`, serverCore, 1, kind)));
    for (const rival of rivals) await warmUp(rival, auditScenarios.filter(wanted), settings);
    for (const scenario of auditScenarios.filter(wanted)) {
      const [off, written, synced] = await alternate(scenario, rivals, settings);
      audits.push({ scenario, off: off!, written: written!, synced: synced! });
      progress(
        `audit, ${describe(scenario)}: written ${line(written!)}, synced ${line(synced!)}, off ${line(off!)}`,
      );
    }
    await stopAll();
  }

  const command = `npm run bench${process.argv.length > 2 ? ` -- ${process.argv.slice(2).join(' ')}` : ''}`;
  const results = { command, rounds, seconds, comparisons, processes, audits };
  const report = markdown(results);
  console.log(`\n${report}`);
  if (options.write) await writeFile(join(import.meta.dirname, '../docs/benchmarks.md'), report);
  if (options.check && judge(results).some((goal) => !goal.met)) process.exitCode = 1;
} finally {
  await stopAll();
  await rm(folder, { recursive: true, force: true });
}

/**
 * V8 compiles what runs often, in steps and beside the requests: minutes of a lone caller's, seconds of many callers'. A server lives for
 * weeks, so what is measured is one that has been asked for each operation on each protocol before.
 */
async function warmUp(rival: Rival, scenarios: readonly Scenario[], settings: LoadSettings): Promise<void> {
  const kinds = new Map(scenarios.map((scenario) => [`${scenario.operation} ${scenario.client}`, scenario]));
  for (const { operation, client } of kinds.values()) {
    const clients = client === 'http1' ? warmUpCallers : 1;
    await measure(
      rival,
      { operation, client, callers: warmUpCallers, clients },
      { ...settings, seconds: warmUpSeconds },
    );
  }
}

/** Rounds in turn, A B A B, so that a bad minute of the machine meets all of them. */
async function alternate(
  scenario: Scenario,
  rivals: readonly Rival[],
  settings: LoadSettings,
): Promise<Measurement[]> {
  const measured = rivals.map(() => [] as Measurement[]);
  for (let round = 0; round < rounds; round++) {
    for (const [index, rival] of rivals.entries())
      measured[index]!.push(await measure(rival, scenario, settings));
  }
  return measured.map(summarize);
}

async function started(starting: Promise<Rival>): Promise<Rival> {
  const rival = await starting;
  running.push(rival);
  return rival;
}

async function stopAll(): Promise<void> {
  for (const rival of running.splice(0)) await rival.stop();
}

function line(measurement: Measurement): string {
  const { perSecond, p50Us, p99Us, cpuUsPerRequest } = measurement;
  return `${String(Math.round(perSecond))}/s, p50 ${(p50Us / 1000).toFixed(2)} ms, p99 ${(p99Us / 1000).toFixed(2)} ms, ${cpuUsPerRequest.toFixed(0)} µs CPU`;
}

function progress(text: string): void {
  console.error(text);
}
