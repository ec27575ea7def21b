#!/usr/bin/env node
/** The executable: `sello`. */
// Audit files and keystores wait on Node's thread pool. One hung disk may hold several threads; others must go on.
process.env['UV_THREADPOOL_SIZE'] ??= '32';
const { run } = await import('./cli/index.ts');
process.exitCode = await run(process.argv.slice(2));
