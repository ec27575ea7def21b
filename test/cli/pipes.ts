/** Runs command lines in this process with pipes of their own: what a script that calls `sello` would see. */
import { Readable, Writable } from 'node:stream';
import { type Io, run } from '../../src/cli/index.ts';

export interface Outcome {
  readonly exit: number;
  readonly stdout: string;
  readonly stderr: string;
}

export interface RunOptions {
  readonly env?: Readonly<Record<string, string | undefined>>;
  readonly cwd?: string;
  readonly stdin?: string;
  readonly program?: string;
  readonly signal?: AbortSignal;
  /** As if on a terminal. */
  readonly terminal?: boolean;
  readonly onStdout?: (text: string) => void;
}

export async function runCommand(argv: readonly string[], options: RunOptions = {}): Promise<Outcome> {
  const stdout = collector(options.onStdout);
  const stderr = collector();
  const terminal = options.terminal === true;
  const io: Io = {
    stdin: Readable.from(options.stdin === undefined ? [] : [Buffer.from(options.stdin)]),
    stdout: Object.assign(stdout.stream, { isTTY: terminal }),
    stderr: Object.assign(stderr.stream, { isTTY: terminal }),
    env: options.env ?? {},
    cwd: options.cwd ?? process.cwd(),
    program: options.program ?? 'sello',
    signal: options.signal ?? new AbortController().signal,
  };
  const exit = await run(argv, io);
  return { exit, stdout: stdout.text(), stderr: stderr.text() };
}

function collector(onText?: (text: string) => void): { stream: Writable; text: () => string } {
  const chunks: Buffer[] = [];
  // Copied at once: a secret is wiped by its owner when the write has been taken.
  const stream = new Writable({
    write(chunk: Buffer, _encoding, done) {
      const copy = Buffer.from(chunk);
      chunks.push(copy);
      onText?.(copy.toString('utf8'));
      done();
    },
  });
  return { stream, text: () => Buffer.concat(chunks).toString('utf8') };
}
