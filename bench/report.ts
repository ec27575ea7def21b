/** The table of docs/benchmarks.md, and the goals it is held against. */
import { cpus } from 'node:os';
import type { Measurement, Scenario } from './load.ts';
import { errorCount } from './statistics.ts';

export interface Comparison {
  readonly scenario: Scenario;
  readonly sello: Measurement;
  readonly bare: Measurement;
  /** The bare server with Sello's own crypto: shown, not a goal. */
  readonly prepared: Measurement;
}

export interface ProcessComparison {
  readonly scenario: Scenario;
  readonly one: Measurement;
  /** As many callers in all: each process has half of them. */
  readonly two: Measurement;
  /** Twice as many: each process has what one process had. */
  readonly twoFull: Measurement;
}

/** Servers that differ in where their records go. */
export interface AuditComparison {
  readonly scenario: Scenario;
  readonly off: Measurement;
  /** Into a trail: chain and tree included. */
  readonly written: Measurement;
  readonly synced: Measurement;
}

export interface Results {
  readonly command: string;
  readonly rounds: number;
  readonly seconds: number;
  readonly comparisons: readonly Comparison[];
  readonly processes: readonly ProcessComparison[];
  readonly audits: readonly AuditComparison[];
}

export interface Goal {
  readonly text: string;
  readonly met: boolean;
}

export const goals = {
  /** Requests per second per core, Sello over bare. */
  leastThroughputRatio: 0.85,
  /** p99, Sello over bare. */
  mostP99Ratio: 3,
  /** CPU time per request, two processes over one. */
  mostProcessesCpuRatio: 1.15,
  /** Of the requests per second with audit off, where callers are many. */
  mostAuditLoss: 0.15,
  /** Of a lone caller's median. */
  mostAuditUs: 50,
  /** Cores that other programs may keep busy meanwhile. */
  mostForeignCores: 0.3,
};

export function judge(results: Results): Goal[] {
  const judged: Goal[] = [];
  for (const { scenario, sello, bare } of results.comparisons) {
    const where = describe(scenario);
    // Per second with a core each, and per second of CPU time: on a quiet, saturated core the same. Both must hold, so
    // that neither other programs on the core nor an idle one can flatter us.
    const throughput = sello.perSecond / bare.perSecond;
    const perCpu = bare.cpuUsPerRequest / sello.cpuUsPerRequest;
    const least = goals.leastThroughputRatio;
    judged.push({
      text: `${where}: ${throughput.toFixed(2)} of the bare server's requests per second, ${perCpu.toFixed(2)} per CPU second (at least ${least.toFixed(2)})`,
      met: throughput >= least && perCpu >= least,
    });
    const p99 = sello.p99Us / bare.p99Us;
    judged.push({
      text: `${where}: p99 ${p99.toFixed(2)} times the bare server's (under ${String(goals.mostP99Ratio)})`,
      met: p99 < goals.mostP99Ratio,
    });
    const lost = errorCount(sello);
    judged.push({
      text: `${where}: ${String(lost)} requests lost ${JSON.stringify(sello.errors)}`,
      met: lost === 0,
    });
  }
  for (const { scenario, one, two, twoFull } of results.processes) {
    for (const [load, measured] of [
      ['as many callers in all', two],
      ['as many callers each', twoFull],
    ] as const) {
      const ratio = measured.cpuUsPerRequest / one.cpuUsPerRequest;
      judged.push({
        text: `${describe(scenario)}: two processes, ${load}, spend ${ratio.toFixed(2)} of one's CPU time per request (at most ${String(goals.mostProcessesCpuRatio)})`,
        met: ratio <= goals.mostProcessesCpuRatio && errorCount(measured) === 0,
      });
    }
  }
  for (const { scenario, off, written } of results.audits) {
    const [added, loss] = [written.p50Us - off.p50Us, 1 - written.perSecond / off.perSecond];
    judged.push(
      scenario.callers === 1
        ? {
            text: `${describe(scenario)}: a record in a trail, \`written\`, takes ${(added / 1000).toFixed(3)} ms of the median (under ${ms(goals.mostAuditUs)})`,
            met: added < goals.mostAuditUs,
          }
        : {
            text: `${describe(scenario)}: records in a trail, \`written\`, cost ${(100 * loss).toFixed(1)} % of the requests per second (under ${(100 * goals.mostAuditLoss).toFixed(0)} %)`,
            met: loss < goals.mostAuditLoss,
          },
    );
  }
  const busy = worstForeignCores(results);
  judged.push({
    text: `other programs kept at most ${busy.toFixed(2)} cores busy (more than ${String(goals.mostForeignCores)} makes the figures worthless)`,
    met: busy <= goals.mostForeignCores,
  });
  return judged;
}

export function markdown(results: Results): string {
  const rows = results.comparisons.map(({ scenario, sello, bare, prepared }) => [
    scenario.operation,
    clientOf(scenario),
    String(scenario.callers),
    count(sello.perSecond),
    count(bare.perSecond),
    (sello.perSecond / bare.perSecond).toFixed(2),
    `${sello.cpuUsPerRequest.toFixed(1)} / ${bare.cpuUsPerRequest.toFixed(1)}`,
    (bare.cpuUsPerRequest / sello.cpuUsPerRequest).toFixed(2),
    `${(sello.perSecond / prepared.perSecond).toFixed(2)} / ${(prepared.cpuUsPerRequest / sello.cpuUsPerRequest).toFixed(2)}`,
    `${ms(sello.p50Us)} / ${ms(bare.p50Us)}`,
    `${ms(sello.p99Us)} / ${ms(bare.p99Us)}`,
    (sello.p99Us / bare.p99Us).toFixed(2),
    `${String(errorCount(sello))} / ${String(errorCount(bare))}`,
  ]);
  const processRows = results.processes.flatMap(({ scenario, one, two, twoFull }) =>
    [two, twoFull].map((measured, i) => [
      scenario.operation,
      clientOf(scenario),
      `${String(scenario.callers)} / ${String(scenario.callers * (i + 1))}`,
      one.cpuUsPerRequest.toFixed(1),
      measured.cpuUsPerRequest.toFixed(1),
      (measured.cpuUsPerRequest / one.cpuUsPerRequest).toFixed(2),
      `${count(one.perSecond)} / ${count(measured.perSecond)}`,
      `${String(errorCount(one))} / ${String(errorCount(measured))}`,
    ]),
  );
  const auditRows = results.audits.flatMap(({ scenario, off, written, synced }) =>
    (
      [
        ['off', off],
        ['written', written],
        ['synced', synced],
      ] as const
    ).map(([mode, measured]) => [
      mode,
      String(scenario.callers),
      count(measured.perSecond),
      (measured.perSecond / off.perSecond).toFixed(2),
      measured.cpuUsPerRequest.toFixed(1),
      `${ms(measured.p50Us)} / ${ms(measured.p99Us)}`,
      String(errorCount(measured)),
    ]),
  );
  const cores = cpus();
  return `# Benchmarks

Made by \`${results.command}\` on ${new Date().toISOString().slice(0, 10)}: Node ${process.version}, ${cores[0]?.model ?? 'unknown CPU'}, ${String(cores.length)} cores,
${String(results.rounds)} rounds of ${String(results.seconds)} s each, servers in turn, medians. Machines differ from day to day: compare within one table only.
Before the first round 32 callers ask each server for each operation on each protocol for some seconds, so that V8 has compiled what runs often.

Each server is pinned to one core, the load generator to another, mTLS 1.3 throughout. **Sello** runs with a policy
identity (not an admin), audit on (\`written\`, to a file) and keys on disk. **Bare** is \`bench/bare-server.ts\`: Node's
\`http2\` core streams and \`https\` doing the same crypto with \`node:crypto\` as it comes, and nothing else; "prepared" compares
with that server on Sello's own crypto, which spares it some 10 µs per request. \`kms-go\` is MinIO's own Go client library over
one HTTP/2 connection; HTTP/1.1 is a plain Go client with one connection per caller. CPU is user and system time of the
server per request. Sello reads and writes HTTP/2, and small calls over HTTP/1.1, itself ([HTTP](http.md)): that is how a server with policy, names and audit can be quicker than a
bare one on Node's.

| operation | client | callers | Sello req/s | bare req/s | ratio | CPU µs/request | per CPU second | to prepared | p50 ms | p99 ms | p99 ratio | errors |
| --- | --- | --: | --: | --: | --: | --: | --: | --: | --: | --: | --: | --: |
${rows.map((row) => `| ${row.join(' | ')} |`).join('\n')}

Where two figures stand in a cell, the first is Sello's. "ratio" is requests per second, Sello over bare; "per CPU
second" is the same per second of CPU time, which other work on the machine disturbs less.

## Two processes

\`processes: 2\` against 1, both on all cores beside the load, callers spread over several connections; with as many callers in all, and with as many for each process. Records
of requests that arrive together are handed over together: with half the callers a process hands over about half as many at a time.

| operation | client | callers, one / two | CPU µs/request, one | two | ratio | req/s (one / two) | errors |
| --- | --- | --: | --: | --: | --: | --: | --: |
${processRows.map((row) => `| ${row.join(' | ')} |`).join('\n')}

## What a record costs

generate by kms-go over HTTP/2, records in a trail with its hash chain and Merkle tree: none, handed to the kernel (\`written\`), on the disk (\`synced\`).

| audit | callers | req/s | of those without | CPU µs/request | p50 / p99 ms | errors |
| --- | --: | --: | --: | --: | --: | --: |
${auditRows.map((row) => `| ${row.join(' | ')} |`).join('\n')}

## Goals

${judge(results)
  .map((goal) => `- ${goal.met ? 'met' : '**missed**'}: ${goal.text}`)
  .join('\n')}
`;
}

function worstForeignCores(results: Results): number {
  const all = [
    ...results.comparisons.flatMap(({ sello, bare, prepared }) => [sello, bare, prepared]),
    ...results.processes.flatMap(({ one, two, twoFull }) => [one, two, twoFull]),
    ...results.audits.flatMap(({ off, written, synced }) => [off, written, synced]),
  ];
  return Math.max(0, ...all.map((measurement) => measurement.foreignCores));
}

export function describe(scenario: Scenario): string {
  const callers = scenario.callers === 1 ? '1 caller' : `${String(scenario.callers)} callers`;
  return `${scenario.operation}, ${clientOf(scenario)}, ${callers}`;
}

function clientOf(scenario: Scenario): string {
  return scenario.client === 'http1' ? 'HTTP/1.1' : 'kms-go, HTTP/2';
}

function count(value: number): string {
  return Math.round(value).toLocaleString('en-US');
}

function ms(microseconds: number): string {
  return (microseconds / 1000).toFixed(2);
}
