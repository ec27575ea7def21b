#!/usr/bin/env node
/** The executable: `sello`. */

/**
 * A server makes many small objects with a native half; collecting them costs 12-18 ms at V8's default size of the young
 * generation and a third of that at 8 MiB (docs/benchmarks.md). V8 takes this size at its start only, so a server starts itself anew
 * with it, in place: same process id, same files.
 */
const youngGeneration = '--max-semi-space-size=8';

function isServer(command: string | undefined): boolean {
  return command === 'serve' || command === 'server' || command === 'dev';
}

const [executable, script, ...args] = process.argv as [string, string, ...string[]];
const isTuned = process.execArgv.some((flag) => flag.startsWith('--max-semi-space-size'));
if (isServer(args[0]) && !isTuned && process.platform !== 'win32' && typeof process.execve === 'function') {
  process.execve(
    process.execPath,
    [
      executable,
      '--disable-warning=ExperimentalWarning',
      youngGeneration,
      ...process.execArgv,
      script,
      ...args,
    ],
    {
      ...process.env,
      // Audit files and keystores wait on Node's thread pool. One hung disk may hold several threads; others must go on.
      UV_THREADPOOL_SIZE: process.env['UV_THREADPOOL_SIZE'] ?? '32',
    },
  );
}
const { run } = await import('./cli/index.ts');
process.exitCode = await run(args);
