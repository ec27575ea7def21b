/** MinIO's Go client library under the control of a test: one Go process per client, one JSON line per call. */
import { spawn, type ChildProcess } from 'node:child_process';
import { once } from 'node:events';
import { createInterface } from 'node:readline';

export interface KmsGoOptions {
  /** Path of the program. */
  readonly program: string;
  readonly endpoint: string;
  readonly ca: string;
  readonly credential: { readonly apiKey: string } | { readonly cert: string; readonly key: string };
}

/** What Go code would have got from the library. */
export interface Answer<T> {
  readonly value: T;
  readonly error: KmsGoError | undefined;
}

export interface KmsGoError {
  /** HTTP status, undefined when the request never got an answer. */
  readonly status?: number;
  readonly message: string;
  /** The library's constant that this error equals by `==`, such as `ErrKeyExists`. */
  readonly is?: string;
}

export interface Page {
  readonly names: string[];
  readonly continue: string;
}

interface Call {
  readonly name?: string;
  readonly n?: number;
  readonly plaintext?: string;
  readonly ciphertext?: string;
  readonly context?: string;
  readonly algorithm?: string;
}

export interface LoadOptions {
  readonly name: string;
  readonly operation: 'generate' | 'decrypt';
  readonly callers: number;
  /** Clients, one HTTP/2 connection each. */
  readonly clients: number;
  readonly seconds: number;
}

export interface LoadResult {
  readonly requests: number;
  readonly p50Us: number;
  readonly p99Us: number;
  /** How often each error came. */
  readonly errors: Readonly<Record<string, number>>;
}

const callWithinMs = 25_000;

export class KmsGo {
  readonly #child: ChildProcess;
  readonly #waiting = new Map<number, (answer: Answer<never>) => void>();
  #lastId = 0;

  constructor(options: KmsGoOptions) {
    this.#child = spawn(options.program, ['drive', ...connectionArgs(options)], {
      env: connectionEnv(options),
      stdio: ['pipe', 'pipe', 'inherit'],
    });
    createInterface({ input: this.#child.stdout! }).on('line', (line) => {
      const { id, value, error } = JSON.parse(line) as { id: number; value: never; error?: KmsGoError };
      this.#waiting.get(id)?.({ value, error });
      this.#waiting.delete(id);
    });
    this.#child.once('exit', () => {
      for (const settle of this.#waiting.values()) {
        settle({ value: undefined as never, error: { message: 'the client process ended' } });
      }
    });
  }

  /** One call; the answer tells the error instead of throwing it. Calls may overlap. */
  async call<T = unknown>(op: string, call: Call = {}): Promise<Answer<T>> {
    const id = ++this.#lastId;
    const answered = new Promise<Answer<never>>((resolve, reject) => {
      const late = setTimeout(() => {
        reject(new Error(`no answer to ${op}`));
      }, callWithinMs);
      this.#waiting.set(id, (answer) => {
        clearTimeout(late);
        resolve(answer);
      });
    });
    this.#child.stdin!.write(`${JSON.stringify({ id, op, ...call })}\n`);
    return answered;
  }

  /** One call that must succeed. */
  async ok<T = unknown>(op: string, call: Call = {}): Promise<T> {
    const { value, error } = await this.call<T>(op, call);
    if (error !== undefined) throw new Error(`${op}: ${String(error.status ?? '')} ${error.message}`);
    return value;
  }

  /** One call that must fail. */
  async fails(op: string, call: Call = {}): Promise<KmsGoError> {
    const { value, error } = await this.call(op, call);
    if (error === undefined) throw new Error(`${op} succeeded: ${JSON.stringify(value)}`);
    return error;
  }

  async close(): Promise<void> {
    if (this.#child.exitCode !== null || this.#child.signalCode !== null) return;
    const ended = once(this.#child, 'exit');
    this.#child.stdin!.end();
    const insist = setTimeout(() => void this.#child.kill('SIGKILL'), 3000);
    await ended;
    clearTimeout(insist);
  }
}

/** Calls without a pause for a while, from many goroutines, as a busy MinIO does. */
export async function kmsGoLoad(connection: KmsGoOptions, options: LoadOptions): Promise<LoadResult> {
  const args = ['load', ...connectionArgs(connection), '-name', options.name, '-op', options.operation];
  args.push('-c', String(options.callers), '-clients', String(options.clients));
  args.push('-warm', '100ms', '-d', `${String(options.seconds)}s`);
  const child = spawn(connection.program, args, {
    env: connectionEnv(connection),
    stdio: ['ignore', 'pipe', 'inherit'],
    timeout: options.seconds * 1000 + callWithinMs,
  });
  let result: LoadResult | undefined;
  createInterface({ input: child.stdout }).on('line', (line) => {
    const summary = JSON.parse(line) as LoadResult & { event: string };
    if (summary.event === 'result') result = summary;
  });
  await once(child, 'close');
  if (result === undefined) throw new Error('the load program gave no result');
  return result;
}

function connectionArgs(options: KmsGoOptions): string[] {
  const { credential } = options;
  const own = 'cert' in credential ? ['-cert', credential.cert, '-key', credential.key] : [];
  return ['-endpoint', options.endpoint, '-ca', options.ca, ...own];
}

/** An API key travels in the environment: arguments are visible to every user of the machine. */
function connectionEnv({ credential }: KmsGoOptions): Record<string, string> {
  return 'apiKey' in credential ? { KMSGO_API_KEY: credential.apiKey } : {};
}
