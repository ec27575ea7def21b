/**
 * All tests: `npm test`. `npm test -- FILE...` gives its arguments to tap.
 *
 * Two parts. What is in test/attacks measures and bounds time, so nothing runs beside it, and it runs the program as it is shipped: counting what
 * is covered makes servers up to eight times slower. Everything else runs two files at a time, with coverage.
 */
import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { globSync } from 'node:fs';

const alone = 'test/attacks/*.test.ts';
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
const covered = await tap([]);
const measured = await tap(['--disable-coverage', '--jobs=1', ...globSync(alone).sort()]);
if (counts.size > 0)
  console.log(`# { ${[...counts].map(([name, count]) => `${name}: ${String(count)}`).join(', ')} }`);
process.exitCode = covered === 0 ? measured : covered;
