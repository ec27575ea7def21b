/** A real program as a child process: its output kept in a file, its end awaited, killed by its own id only. */
import { spawn, type ChildProcess } from 'node:child_process';
import { once } from 'node:events';
import { open, readFile } from 'node:fs/promises';
import { createServer } from 'node:net';
import { setTimeout as sleep } from 'node:timers/promises';

export interface StartOptions {
  readonly command: string;
  readonly args: readonly string[];
  readonly env?: Readonly<Record<string, string>>;
  readonly cwd?: string;
  /** File that standard output and error are appended to. */
  readonly log: string;
  /** Resolves true once the program serves. Asked again and again until it does or the time is over. */
  readonly isReady: () => Promise<boolean>;
  readonly readyWithinMs?: number;
}

const pollMs = 50;
const stopWithinMs = 15_000;

export class RunningProcess {
  readonly pid: number;
  readonly #child: ChildProcess;
  readonly #log: string;

  private constructor(child: ChildProcess, pid: number, log: string) {
    this.#child = child;
    this.pid = pid;
    this.#log = log;
  }

  static async start(options: StartOptions): Promise<RunningProcess> {
    const output = await open(options.log, 'a');
    const child = spawn(options.command, options.args, {
      env: { PATH: process.env['PATH'] ?? '', HOME: process.env['HOME'] ?? '', ...options.env },
      ...(options.cwd === undefined ? {} : { cwd: options.cwd }),
      stdio: ['ignore', output.fd, output.fd],
    });
    // A test that dies must not leave its servers behind.
    const reap = (): void => void child.kill('SIGKILL');
    process.once('exit', reap);
    child.once('exit', () => process.off('exit', reap));
    await once(child, 'spawn');
    await output.close();
    const running = new RunningProcess(child, child.pid!, options.log);
    const giveUpMs = Date.now() + (options.readyWithinMs ?? 20_000);
    while (!(await options.isReady().catch(() => false))) {
      if (running.hasEnded || Date.now() > giveUpMs) {
        const said = await running.output();
        await running.stop('SIGKILL');
        throw new Error(`${options.command} did not come up:\n${said.slice(-3000)}`);
      }
      await sleep(pollMs);
    }
    return running;
  }

  get hasEnded(): boolean {
    return this.#child.exitCode !== null || this.#child.signalCode !== null;
  }

  /** Everything it wrote so far. */
  output(): Promise<string> {
    return readFile(this.#log, 'utf8');
  }

  /** Sends a signal and waits for the end; SIGKILL when it takes longer than 15 s. Returns the exit code. */
  async stop(signal: 'SIGTERM' | 'SIGKILL' = 'SIGTERM'): Promise<number | null> {
    if (!this.hasEnded) {
      const ended = once(this.#child, 'exit');
      this.#child.kill(signal);
      const insist = setTimeout(() => void this.#child.kill('SIGKILL'), stopWithinMs);
      await ended;
      clearTimeout(insist);
    }
    return this.#child.exitCode;
  }
}

/** A TCP port that nobody listens on at this moment. For programs that cannot tell the port they chose. */
export async function freePort(): Promise<number> {
  const server = createServer().listen(0, '127.0.0.1');
  await once(server, 'listening');
  const address = server.address();
  if (address === null || typeof address === 'string') throw new Error('no port');
  server.close();
  await once(server, 'close');
  return address.port;
}
