/**
 * Requests over shared connections: one per endpoint, opened when needed and again when lost; retries and fail-over as
 * KES clients do them (two more tries after 200 to 1,000 ms, on network errors and 503 alone).
 */
import { setTimeout as sleep } from 'node:timers/promises';
import { type Connection, type ConnectionOptions, type WireRequest, openConnection } from './connection.ts';
import { type Endpoint, EndpointChoice } from './endpoint.ts';
import { ClientError, ConnectionError, TimeoutError } from './errors.ts';

/** Further tries after the first. */
const retries = 2;

/** A listing page has at most 1,024 names of 80 characters, metrics a few hundred kB: more is not an answer of ours. */
const maxAnswerBytes = 16 * 1024 * 1024;

export interface Answer {
  readonly status: number;
  readonly contentType: string;
  /** Owned by the caller, who wipes it when it held a secret. */
  readonly body: Buffer;
}

export interface TransportOptions extends Omit<ConnectionOptions, 'endpoint'> {
  readonly endpoints: readonly Endpoint[];
  /** Bounds of the random pause before another try of the same endpoint. */
  readonly retryDelayMs: readonly [number, number];
  readonly now: () => number;
}

export interface Call extends Pick<WireRequest, 'method' | 'path' | 'body'> {
  /** Twice is not the same as once: sent again only where it cannot have arrived. */
  readonly once?: boolean;
}

export class Transport {
  readonly #options: TransportOptions;
  readonly #lines: readonly Line[];
  readonly #choice: EndpointChoice<Line>;

  constructor(options: TransportOptions) {
    this.#options = options;
    this.#lines = options.endpoints.map((endpoint) => new Line({ ...options, endpoint }));
    this.#choice = new EndpointChoice(this.#lines, options.now);
  }

  /**
   * Sends one request and reads its whole answer.
   * @throws ClientError for an answer of 400 and above, ConnectionError when no endpoint answered
   */
  async call(call: Call): Promise<Answer> {
    return this.#retrying(call.once === true, async (line) => {
      const deadline = new Deadline(this.#options.timeoutMs);
      try {
        const response = await deadline.race(line.send({ ...call, signal: deadline.signal }));
        const body = await readAll(response.body);
        const answer = { status: response.status, contentType: response.contentType, body };
        if (answer.status >= 300) throw errorOf(answer);
        return answer;
      } finally {
        deadline.clear();
      }
    });
  }

  /** Sends one request and yields its answer as it arrives; no time limit once it began. Ends when the caller stops. */
  async *stream(call: Call, signal?: AbortSignal): AsyncGenerator<Buffer> {
    const ended = new AbortController();
    const either = signal === undefined ? ended.signal : AbortSignal.any([signal, ended.signal]);
    try {
      // KES sends no response headers before the first event: there is no deadline to have here.
      const response = await this.#retrying(false, (line) => line.send({ ...call, signal: either }));
      if (response.status >= 300) {
        const body = await readAll(response.body);
        throw errorOf({ status: response.status, contentType: response.contentType, body });
      }
      for await (const chunk of response.body) yield chunk as Buffer;
    } catch (error) {
      if (!either.aborted) throw error;
    } finally {
      ended.abort();
    }
  }

  close(): void {
    for (const line of this.#lines) line.close();
  }

  async #retrying<T>(once: boolean, attempt: (line: Line) => Promise<T>): Promise<T> {
    const order = this.#choice.order();
    const tries = Math.max(1 + retries, order.length);
    for (let number = 0; ; number++) {
      const line = order[number % order.length]!;
      // Another endpoint is asked at once; the same one again only after a pause.
      if (number >= order.length) await sleep(randomBetween(...this.#options.retryDelayMs));
      try {
        const result = await attempt(line);
        this.#choice.release(line);
        return result;
      } catch (error) {
        const failure = error instanceof ClientError ? error : toConnectionError(line.endpoint, error);
        const status = failure instanceof ClientError ? failure.status : undefined;
        if (status === undefined || (status >= 500 && status !== 501)) this.#choice.park(line);
        const again = once
          ? failure instanceof ConnectionError && unsent.has(failure.code)
          : failure instanceof ClientError
            ? status === 503
            : order.length > 1 || !failure.untrusted;
        if (!again || number + 1 >= tries) throw failure;
      }
    }
  }
}

/** Nobody was there to take the request. */
const unsent: ReadonlySet<string> = new Set([
  'ECONNREFUSED',
  'ENOTFOUND',
  'EAI_AGAIN',
  'EHOSTUNREACH',
  'ENETUNREACH',
]);

/** One endpoint and its shared connection. */
class Line {
  readonly endpoint: Endpoint;
  readonly #options: ConnectionOptions;
  #connection: Promise<Connection> | undefined;
  #closed = false;

  constructor(options: ConnectionOptions) {
    this.endpoint = options.endpoint;
    this.#options = options;
  }

  async send(request: WireRequest) {
    return (await this.#connected()).send(request);
  }

  close(): void {
    this.#closed = true;
    void this.#connection?.then(
      (connection) => connection.close(),
      () => undefined,
    );
  }

  async #connected(): Promise<Connection> {
    if (this.#closed) throw new Error('client is closed');
    const current = this.#connection;
    if (current !== undefined) {
      const connection = await current;
      if (connection.usable) return connection;
      // Of those who found it unusable together, the first opens the next one.
      if (this.#connection === current) this.#connection = undefined;
      else return this.#connected();
    }
    const opening = openConnection(this.#options);
    this.#connection = opening;
    try {
      return await opening;
    } catch (error) {
      if (this.#connection === opening) this.#connection = undefined;
      throw error;
    }
  }
}

/** A time limit that covers connecting, sending and reading. */
class Deadline {
  readonly #controller = new AbortController();
  readonly #timer: NodeJS.Timeout;

  constructor(timeoutMs: number) {
    this.#timer = setTimeout(() => this.#controller.abort(new TimeoutError(timeoutMs)), timeoutMs);
  }

  get signal(): AbortSignal {
    return this.#controller.signal;
  }

  race<T>(work: Promise<T>): Promise<T> {
    return new Promise((resolve, reject) => {
      this.signal.addEventListener('abort', () => reject(this.signal.reason as Error), { once: true });
      work.then(resolve, reject);
    });
  }

  clear(): void {
    clearTimeout(this.#timer);
  }
}

async function readAll(body: AsyncIterable<unknown>): Promise<Buffer> {
  const chunks: Buffer[] = [];
  let length = 0;
  for await (const chunk of body as AsyncIterable<Buffer>) {
    length += chunk.length;
    if (length > maxAnswerBytes)
      throw new ClientError(502, `answer is longer than ${String(maxAnswerBytes)} bytes`);
    chunks.push(chunk);
  }
  const whole = Buffer.allocUnsafeSlow(length);
  let at = 0;
  for (const chunk of chunks) {
    at += chunk.copy(whole, at);
    chunk.fill(0);
  }
  return whole;
}

/** KES error bodies: `error` wins over `message`; any other content type is the message itself. */
function errorOf(answer: Answer): ClientError {
  const text = answer.body.toString('utf8');
  if (answer.contentType.startsWith('application/json')) {
    try {
      const fields = JSON.parse(text) as { error?: unknown; message?: unknown } | null;
      for (const candidate of [fields?.error, fields?.message]) {
        if (typeof candidate === 'string' && candidate !== '')
          return new ClientError(answer.status, candidate);
      }
    } catch {
      // Not JSON after all: the text itself is what the server said.
    }
  }
  return new ClientError(answer.status, text.trim() === '' ? `status ${String(answer.status)}` : text.trim());
}

function toConnectionError(endpoint: Endpoint, error: unknown): ConnectionError {
  return error instanceof ConnectionError ? error : new ConnectionError(endpoint.name, error);
}

function randomBetween(low: number, high: number): number {
  return low + Math.random() * (high - low);
}
