/** `sello metrics` (KES: `metric`): the server's metrics, once or again and again. */
import { setTimeout as sleep } from 'node:timers/promises';
import { type CliCommand, child, examples } from './command.ts';
import { type ConnectOptions, connectOptions, withClient } from './connect.ts';
import { failingWith } from './failure.ts';
import { parseGoDuration } from './go-duration.ts';
import { write } from './io.ts';

interface Options extends ConnectOptions {
  readonly rate?: string;
  readonly json?: boolean;
}

export function metrics(parent: CliCommand): void {
  const command = child(parent, 'metrics', 'Print the metrics of the server').alias('metric') as CliCommand;
  command.argument('[ARGS...]').usage('[options]');
  connectOptions(command)
    .option('--rate <DURATION>', 'Print again after each such time, until Ctrl-C')
    .option('--json', 'Print JSON in place of the Prometheus text');
  examples(command, [
    ['Print the metrics', 'metrics'],
    ['Print them every five seconds as JSON lines', 'metrics --rate 5s --json'],
  ]);
  command.action(async (given: string[], options: Options) => {
    command.checkArguments(given, []);
    const pauseMs = options.rate === undefined ? undefined : parseGoDuration(options.rate);
    if (options.rate !== undefined && (pauseMs === undefined || pauseMs < 1)) {
      throw command.misuse(
        `invalid argument "${options.rate}" for "--rate" flag: time: invalid duration "${options.rate}"`,
      );
    }
    const { io } = command;
    await withClient(io, options, async (client) => {
      const signal = pauseMs === undefined ? undefined : io.signal;
      do {
        const text = await failingWith('', client.metrics());
        await write(io.stdout, options.json === true ? `${JSON.stringify(parseMetrics(text))}\n` : text);
        if (pauseMs !== undefined)
          await sleep(pauseMs, undefined, { signal: signal! }).catch(() => undefined);
      } while (signal?.aborted === false);
    });
  });
}

export interface Sample {
  readonly name: string;
  readonly labels?: Readonly<Record<string, string>>;
  /** JSON has no words for the last three. */
  readonly value: number | '+Inf' | '-Inf' | 'NaN';
}

/** Samples of the Prometheus text format 0.0.4. Lines that are not samples are left out. */
export function parseMetrics(text: string): Sample[] {
  const samples: Sample[] = [];
  for (const line of text.split('\n')) {
    const match = /^([A-Za-z_:][\w:]*)(?:\{(.*)\})?\s+(\S+)/.exec(line);
    if (match === null) continue;
    const [, name, labelText, value] = match;
    const labels: Record<string, string> = {};
    for (const [, label, quoted] of (labelText ?? '').matchAll(/([A-Za-z_]\w*)="((?:[^"\\]|\\.)*)"/g)) {
      labels[label!] = quoted!.replace(/\\(.)/g, (_, escaped: string) => (escaped === 'n' ? '\n' : escaped));
    }
    const number = /^(?:[+-]Inf|NaN)$/.test(value!) ? (value as '+Inf' | '-Inf' | 'NaN') : Number(value);
    if (Number.isNaN(number)) continue;
    samples.push({ name: name!, ...(labelText === undefined ? {} : { labels }), value: number });
  }
  return samples;
}
