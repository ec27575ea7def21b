/**
 * All tests: `npm test`. `npm test -- FILE...` gives its arguments to tap.
 *
 * In parts, because counting what is covered makes what is counted slower. With coverage, two files at a time: everything but test/real, whose
 * servers are programs of their own, and test/attacks. Those bound time, so they run the program as it is shipped; the ones that compare
 * times have the machine for themselves.
 */
import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { globSync } from 'node:fs';

const attacks = globSync('test/attacks/*.test.ts').sort();
/** They compare latencies, or count on the server's own clock under a load. */
const alone = new Set(['isolation', 'reload', 'slow', 'http2'].map((name) => `test/attacks/${name}.test.ts`));
const summaryPattern = /^# \{ (total: .*) \}$/gm;
/** Of a part's output: tap's counts are in its last lines. */
const tailLength = 4096;

const counts = new Map<string, number>();

/** @returns tap's exit code */
async function tap(args: readonly string[]): Promise<number> {
  const isShown = process.stdout.isTTY;
  const child = spawn('tap', args, { stdio: ['inherit', isShown ? 'inherit' : 'pipe', 'inherit'] });
  let tail = '';
  child.stdout?.setEncoding('utf8').on('data', (text: string) => {
    process.stdout.write(text);
    tail = (tail + text).slice(-tailLength);
  });
  const [code] = (await once(child, 'close')) as [number | null];
  const [, summary] = [...tail.matchAll(summaryPattern)].at(-1) ?? [];
  for (const [, name, count] of summary?.matchAll(/(\w+): (\d+)/g) ?? [])
    counts.set(name!, (counts.get(name!) ?? 0) + Number(count));
  // Ended by a signal is a failure too.
  return code ?? 1;
}

const files = process.argv.slice(2);
const built = await tap(['build']);
if (built !== 0) process.exit(built);
if (files.length > 0) process.exit(await tap(files));
const codes = [
  await tap([]),
  await tap(['--disable-coverage', ...globSync('test/real/*.test.ts').sort()]),
  await tap(['--disable-coverage', ...attacks.filter((file) => !alone.has(file))]),
  await tap(['--disable-coverage', '--jobs=1', ...attacks.filter((file) => alone.has(file))]),
];
if (counts.size > 0)
  console.log(`# { ${[...counts].map(([name, count]) => `${name}: ${String(count)}`).join(', ')} }`);
process.exitCode = codes.find((code) => code !== 0) ?? 0;
