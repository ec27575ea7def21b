/** Reads test/cli/recorded: what KES's command line printed, byte for byte, and makes what changes from run to run comparable. */
import { readFileSync, readdirSync } from 'node:fs';
import path from 'node:path';
import type { Outcome } from './pipes.ts';

const folder = path.join(import.meta.dirname, 'recorded');

export interface CliRecording {
  /** `034-key-ls`. */
  readonly name: string;
  /** Arguments after `kes`. */
  readonly argv: readonly string[];
  readonly client: string;
  readonly env: Readonly<Record<string, string>>;
  /** undefined when the recorder ended the command. */
  readonly exit: number | undefined;
  readonly stdout: string;
  readonly stderr: string;
  readonly volatile: string;
  readonly note: string;
}

export function readRecordings(): CliRecording[] {
  return readdirSync(folder)
    .filter((file) => file.endsWith('.txt'))
    .sort()
    .map((file) => parse(file.replace(/\.txt$/, ''), readFileSync(path.join(folder, file))));
}

function parse(name: string, bytes: Buffer): CliRecording {
  const headEnd = bytes.indexOf('----- stdout -----\n');
  const header = new Map<string, string>();
  for (const line of bytes.subarray(0, headEnd).toString('utf8').split('\n')) {
    const match = /^# ([a-z-]+): (.*)$/.exec(line);
    if (match !== null) header.set(match[1]!, match[2]!);
  }
  const field = (key: string) => header.get(key) ?? '';
  const stdoutAt = headEnd + '----- stdout -----\n'.length;
  const stdoutEnd = stdoutAt + Number(field('stdout-bytes'));
  const stderrAt = stdoutEnd + '\n----- stderr -----\n'.length;
  return {
    name,
    argv: words(field('command')).slice(1),
    client: field('client'),
    env: Object.fromEntries(
      field('env')
        .split(' ')
        .filter((pair) => pair !== '')
        .map((pair) => [pair.slice(0, pair.indexOf('=')), pair.slice(pair.indexOf('=') + 1)]),
    ),
    exit: /^\d+$/.test(field('exit')) ? Number(field('exit')) : undefined,
    stdout: bytes.subarray(stdoutAt, stdoutEnd).toString('utf8'),
    stderr: bytes.subarray(stderrAt, stderrAt + Number(field('stderr-bytes'))).toString('utf8'),
    volatile: field('volatile'),
    note: field('note'),
  };
}

/** Splits a command line with single quotes, as the recorder wrote it. */
function words(line: string): string[] {
  return [...line.matchAll(/'([^']*)'|(\S+)/g)].map((match) => match[1] ?? match[2]!);
}

/** Replaces what a recording declares volatile by its shape; everything else is compared as it is. */
export function comparable(recording: CliRecording, outcome: Outcome): Outcome {
  const { volatile } = recording;
  const rules: [RegExp, string | ((text: string) => string)][] = [];
  // What is as old as the server is: the start of a test run.
  if (/date/.test(volatile) || /^\d+-(?:policy|identity|version)/.test(recording.name)) {
    rules.push(
      [/\d{4}-\d\d-\d\d \d\d:\d\d:\d\d/g, 'DATE'],
      [/\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(?:\.\d+)?Z/g, 'TIME'],
    );
  }
  if (/all values|keys|ciphertext/.test(volatile)) {
    rules.push(
      [/kes:v1:[\w+/]+=*/g, 'API-KEY'],
      [/"[\w+/]{24,}=*"/g, (text) => `"base64 of ${String(text.length - 2)}"`],
    );
  }
  if (/all values/.test(volatile)) rules.push([/\b[0-9a-f]{64}\b/g, 'IDENTITY']);
  if (/uptime|versions/.test(volatile)) {
    // Columns of `status`: label (with its colours), then the value.
    rules.push(
      [column('Version|Uptime|Latency|Heap|Stack', `[^${escape}\\n]+`), '$1VALUE'],
      [/"version":"[^"]*"/g, '"version":VALUE'],
      [/"(num_cpu|num_cpu_used|mem_heap_used|mem_stack_used|keystore_latency)":\d+/g, '"$1":VALUE'],
      [/"uptime":\d+,/g, ''],
      [column('OS', '\\w+'), '$1OS'],
      [/"(os|arch)":"\w+"/g, '"$1":VALUE'],
      [column('CPUs', '\\d+ \\w+'), '$1CPUS'],
    );
  }
  if (recording.name.includes('-version')) rules.push([/^(Version|Runtime) .*$/gm, '$1']);
  // Help texts are each program's own; that there is one is compared.
  if (recording.name.includes('-no-args')) rules.push([/^(Usage:)[^]*$/, '$1']);
  const normal = (text: string) =>
    rules.reduce((result, [pattern, by]) => result.replace(pattern, by as string), text);
  const sorted = (text: string) => (/api order/.test(volatile) ? sortRoutes(text) : text);
  return { exit: outcome.exit, stdout: sorted(normal(outcome.stdout)), stderr: normal(outcome.stderr) };
}

const escape = '\u001b';

/** A value of `status` behind its label, which may be coloured. */
function column(labels: string, value: string): RegExp {
  return new RegExp(`((?:${labels}) *(?:${escape}\\[0m)? *)${value}`, 'g');
}

function sortRoutes(text: string): string {
  const lines = text.split('\n');
  const routes = lines.filter((line) => /^ {2}(?:GET|PUT|DELETE) /.test(line));
  return [...lines.filter((line) => !routes.includes(line)), ...routes.sort()].join('\n');
}
