/** `sello status` */
import { type CliCommand, child, examples } from './command.ts';
import type { Route, ServerStatus } from '../client/index.ts';
import { type ConnectOptions, connect, connectOptions, serversOf } from './connect.ts';
import { SaidAlready, failingWith, toFailure } from './failure.ts';
import { type Io, write } from './io.ts';
import { type ColorChoice, type Style, colorOption, sizeText, styleOf, uptimeText } from './style.ts';

interface Options extends ConnectOptions {
  readonly short?: boolean;
  readonly api?: boolean;
  readonly json?: boolean;
  readonly color: ColorChoice;
}

export function status(parent: CliCommand): void {
  const command = child(parent, 'status', 'Show whether servers are up, and how they are');
  command.argument('[ARGS...]').usage('[options]');
  colorOption(connectOptions(command))
    .option('-s, --short', 'Print the servers only')
    .option('--api', 'List the API routes too')
    .option('--json', 'Print JSON, one line per server');
  examples(command, [['Show the status of two servers', 'status --server kes-1:7373,kes-2:7373']]);
  command.action(async (given: string[], options: Options) => {
    command.checkArguments(given, []);
    const servers = serversOf(command.io, options);
    if (servers.length === 1) return print(command.io, options, servers[0]!);
    // Of several servers each is asked; one that is down does not hide the others.
    let failed = 0;
    for (const server of servers) {
      await print(command.io, options, server).catch(async (error: unknown) => {
        failed++;
        const style = styleOf(command.io, options.color);
        const line =
          options.json === true
            ? JSON.stringify({ endpoint: server, error: toFailure(error).message })
            : `${style.bad('●')} ${style.name(server)}\n  ${toFailure(error).message}`;
        await write(command.io.stdout, `${line}\n`);
      });
    }
    if (failed > 0) throw new SaidAlready(`${String(failed)} of ${String(servers.length)} servers are down`);
  });
}

async function print(io: Io, options: Options, server: string): Promise<void> {
  const client = await connect(io, options, [server]);
  try {
    const started = performance.now();
    const state = await failingWith('', client.status());
    const latencyMs = performance.now() - started;
    const routes = options.api === true ? await failingWith('', client.api()) : undefined;
    const text =
      options.json === true
        ? jsonOf(state, routes)
        : textOf(server, state, latencyMs, routes, options.short === true, styleOf(io, options.color));
    await write(io.stdout, text);
  } finally {
    client.close();
  }
}

/** The fields KES prints, under its names. What is zero or unknown is left out, as there. */
function jsonOf(state: ServerStatus, routes: readonly Route[] | undefined): string {
  const object = {
    version: state.version,
    os: state.os,
    arch: state.arch,
    uptime: state.uptimeSeconds === 0 ? undefined : state.uptimeSeconds,
    num_cpu: state.cpus,
    num_cpu_used: state.usableCpus,
    mem_heap_used: state.heapBytes,
    mem_stack_used: state.stackBytes,
    keystore_latency: state.keystoreLatencyMs,
    keystore_unreachable: state.keystoreReachable ? undefined : true,
    api: routes?.map((route) => ({
      method: route.method,
      path: route.path,
      max_body: route.maxBodyBytes,
      timeout: route.timeoutSeconds,
    })),
  };
  return `${JSON.stringify(object)}\n`;
}

function textOf(
  server: string,
  state: ServerStatus,
  latencyMs: number,
  routes: readonly Route[] | undefined,
  short: boolean,
  style: Style,
): string {
  const name = server.replace(/^https:\/\//, '');
  const dot = state.keystoreReachable ? style.good('●') : style.bad('●');
  const lines = [`${dot} ${style.name(name)}`];
  const row = (label: string, value?: string) => {
    const shown = style.label(`  ${label.padEnd(8)}`);
    lines.push(value === undefined ? shown : `${shown} ${value}`);
  };
  if (!short) {
    row('Version', state.version);
    row('Uptime', uptimeText(state.uptimeSeconds));
    row('Latency', `${String(Math.max(1, Math.round(latencyMs)))}ms`);
    row('OS', state.os);
    row('CPUs', `${String(state.usableCpus)} ${state.arch}`);
    row('Memory');
    row('· Heap', sizeText(state.heapBytes));
    row('· Stack', sizeText(state.stackBytes));
    if (!state.keystoreReachable) row('Keystore', style.bad('unreachable'));
  }
  if (routes !== undefined) {
    // KES: paths in a column of 27.
    const width = Math.max(27, ...routes.map((route) => route.path.length));
    lines.push('', `  ${'Method'.padEnd(6)}  ${'API'.padEnd(width)}  Timeout`);
    for (const { method, path, timeoutSeconds } of routes) {
      const timeout = timeoutSeconds === 0 ? 'Inf' : `${String(timeoutSeconds)}s`;
      lines.push(`  ${method.padEnd(6)}  ${path.padEnd(width)}  ${timeout}`);
    }
  }
  return `${lines.join('\n')}\n`;
}
