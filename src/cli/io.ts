/** The world as commands see it, so that tests run them in their own process with pipes of their own. */
import { resolve } from 'node:path';
import type { Readable, Writable } from 'node:stream';

export interface Io {
  readonly stdin: Readable;
  readonly stdout: Writable & { readonly isTTY?: boolean };
  readonly stderr: Writable & { readonly isTTY?: boolean };
  readonly env: Readonly<Record<string, string | undefined>>;
  /** Relative file names start here. */
  readonly cwd: string;
  /** How the program was called, for messages that name commands: `sello`, or `kes` where it is linked under that name. */
  readonly program: string;
  /** Aborted when the person wants it to end (Ctrl-C). */
  readonly signal: AbortSignal;
}

/** This process as an {@link Io}. */
export function processIo(): Io {
  const interrupted = new AbortController();
  let listening = false;
  // A closed pipe (`sello ls | head`) is the writer's failed write, not the end of the process.
  for (const stream of [process.stdout, process.stderr]) stream.on('error', () => undefined);
  return {
    stdin: process.stdin,
    stdout: process.stdout,
    stderr: process.stderr,
    env: process.env,
    cwd: process.cwd(),
    program: /(?:^|[/\\])kes$/.test(process.argv[1] ?? '') ? 'kes' : 'sello',
    get signal() {
      // Only commands that ask for it take Ctrl-C over; for all others it ends the process as usual.
      if (!listening) {
        listening = true;
        process.once('SIGINT', () => interrupted.abort());
      }
      return interrupted.signal;
    },
  };
}

export function pathOf(io: Io, file: string): string {
  return resolve(io.cwd, file);
}

/** Writes text and waits until the stream has taken it: a pipe that is read slowly slows us down, not our memory. */
export function write(stream: Writable, text: string | Uint8Array): Promise<void> {
  return new Promise((resolved, rejected) => {
    stream.write(text, (error) => (error ? rejected(error) : resolved()));
  });
}

/** Results of one value end without a newline in a pipe (KES), and with one on a terminal. */
export function endOfValue(io: Io): string {
  return io.stdout.isTTY === true ? '\n' : '';
}

/** All of standard input. */
export async function readStdin(io: Io, maxBytes: number): Promise<Buffer> {
  const chunks: Buffer[] = [];
  let length = 0;
  for await (const chunk of io.stdin) {
    const bytes = Buffer.isBuffer(chunk) ? chunk : Buffer.from(chunk as string);
    length += bytes.length;
    if (length > maxBytes) throw new RangeError(`standard input is longer than ${String(maxBytes)} bytes`);
    chunks.push(bytes);
  }
  const whole = Buffer.allocUnsafeSlow(length);
  let at = 0;
  for (const chunk of chunks) {
    at += chunk.copy(whole, at);
    chunk.fill(0);
  }
  return whole;
}
