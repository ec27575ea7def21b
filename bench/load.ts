/** One measurement: a load program on a core of its own, the server's CPU time read at both ends of the measured time. */
import { spawn } from 'node:child_process';
import { createInterface } from 'node:readline';
import { cpuTimeMs, machineCpuTimeMs } from './cpu-time.ts';
import type { Rival } from './rivals.ts';

export type Operation = 'generate' | 'decrypt';

/** How the server is called. */
export interface Scenario {
  readonly operation: Operation;
  readonly client: 'kms-go' | 'http1';
  readonly callers: number;
  /** kms-go clients, each with an HTTP/2 connection of its own. */
  readonly clients: number;
}

export interface Measurement {
  readonly perSecond: number;
  readonly p50Us: number;
  readonly p99Us: number;
  readonly errors: Readonly<Record<string, number>>;
  /** User and system time of the server, all its processes. */
  readonly cpuUsPerRequest: number;
  /** Cores that others kept busy meanwhile: 0 on a quiet machine. */
  readonly foreignCores: number;
}

export interface LoadSettings {
  readonly programs: { readonly kmsgo: string; readonly load: string };
  readonly ca: string;
  readonly client: { readonly cert: string; readonly key: string };
  readonly cores: string;
  readonly warmSeconds: number;
  readonly seconds: number;
}

interface Summary {
  readonly event: string;
  readonly requests: number;
  readonly perSecond: number;
  readonly p50Us: number;
  readonly p99Us: number;
  readonly errors: Readonly<Record<string, number>>;
}

const contextOfTheBench = Buffer.from('{"bucket":"bucket/object"}').toString('base64');

/** More than this of a core for others, and a measurement says more about them. */
const mostForeignCores = 0.15;
const mostTries = 4;

export async function measure(
  rival: Rival,
  scenario: Scenario,
  settings: LoadSettings,
): Promise<Measurement> {
  return quietest(() => measureOnce(rival, scenario, settings));
}

/** Measures again while the machine is busy with something else, a few times; then takes the quietest try. */
export async function quietest(once: () => Promise<Measurement>): Promise<Measurement> {
  let best: Measurement | undefined;
  for (let tries = 0; tries < mostTries; tries++) {
    const tried = await once();
    if (best === undefined || tried.foreignCores < best.foreignCores) best = tried;
    if (best.foreignCores <= mostForeignCores) break;
  }
  return best!;
}

async function measureOnce(rival: Rival, scenario: Scenario, settings: LoadSettings): Promise<Measurement> {
  const { ca, client } = settings;
  const certificates = ['-ca', ca, '-cert', client.cert, '-key', client.key];
  const times = ['-warm', `${String(settings.warmSeconds)}s`, '-d', `${String(settings.seconds)}s`];
  const callers = ['-c', String(scenario.callers)];
  const command =
    scenario.client === 'kms-go'
      ? [
          ...[settings.programs.kmsgo, 'load', '-endpoint', rival.h2, '-name', rival.keyName],
          ...['-op', scenario.operation, '-clients', String(scenario.clients)],
        ]
      : [
          ...[settings.programs.load, '-url', `${rival.h1}/v1/key/${scenario.operation}/${rival.keyName}`],
          ...['-body', bodyFor(rival, scenario.operation)],
        ];
  return runLoad(rival, settings.seconds, [
    '-c',
    settings.cores,
    ...command,
    ...certificates,
    ...times,
    ...callers,
  ]);
}

function bodyFor(rival: Rival, operation: Operation): string {
  if (operation === 'generate') return JSON.stringify({ context: contextOfTheBench });
  return JSON.stringify({ ciphertext: rival.ciphertext, context: contextOfTheBench });
}

/** @param args of `taskset`, the load program and its arguments among them */
export function runLoad(
  rival: Pick<Rival, 'name' | 'pid'>,
  seconds: number,
  args: readonly string[],
): Promise<Measurement> {
  return new Promise((resolve, reject) => {
    const child = spawn('taskset', args, { stdio: ['ignore', 'pipe', 'pipe'] });
    let complaint = '';
    let before = { server: 0, foreign: 0 };
    let serverCpuMs = 0;
    let foreignMs = 0;
    let result: Summary | undefined;
    const read = (): { server: number; foreign: number } => {
      const server = cpuTimeMs(rival.pid);
      return { server, foreign: machineCpuTimeMs() - server - cpuTimeMs(child.pid!) };
    };
    child.stderr.setEncoding('utf8').on('data', (text: string) => (complaint += text));
    createInterface({ input: child.stdout }).on('line', (line) => {
      const summary = JSON.parse(line) as Summary;
      if (summary.event === 'start') before = read();
      if (summary.event === 'stop') {
        const after = read();
        serverCpuMs = after.server - before.server;
        foreignMs = after.foreign - before.foreign;
      }
      if (summary.event === 'result') result = summary;
    });
    child.once('error', reject);
    child.once('close', (code) => {
      if (code !== 0 || result === undefined) {
        reject(new Error(`load on ${rival.name} failed: ${complaint.trim()}`));
        return;
      }
      const { perSecond, p50Us, p99Us, errors, requests } = result;
      const cpuUsPerRequest = (serverCpuMs * 1000) / Math.max(requests, 1);
      const foreignCores = Math.max(0, foreignMs / 1000 / seconds);
      resolve({ perSecond, p50Us, p99Us, errors, cpuUsPerRequest, foreignCores });
    });
  });
}
