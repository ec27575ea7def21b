/** The command line. */
export { type Io, processIo } from './io.ts';
export { run } from './main.ts';
