/**
 * The log: pino, one JSON object per line (or a line for people) on standard output.
 *
 * Lines are written asynchronously and each at once (no gathering): a log collector that stops reading then costs lines,
 * beyond {@link maxBufferedBytes}, and not the process, which a blocking write would freeze. Measured per line: 1.5 µs in the
 * caller against 3 µs blocking. What a crash could lose is the line under way; the rest is flushed at exit. Audit records,
 * which must not be lost, do not go this way.
 *
 * Secrets do not belong in log calls; what is here is the backstop: known field names are struck out, bytes are never
 * printed, and API keys and private keys in any text are struck out.
 */
import { destination, pino, stdTimeFunctions, type Logger } from 'pino';
import type { LogConfig } from '../config/model.ts';
import { describeError } from './error-text.ts';
import { prettyLine } from './pretty.ts';

export type { Logger } from 'pino';

/** `tenant`: the line's field of that name, when it is about one tenant alone. */
export type ErrorListener = (message: string, tenant: string | undefined) => void;

export interface Log {
  readonly logger: Logger;
  /** Hears the text of every line of level error and above (KES's error log stream). Returns the unsubscribe. */
  onError(listener: ErrorListener): () => void;
  /** Lines that found no room because nobody reads the output. */
  readonly dropped: number;
  /** Writes what is buffered, blocking. */
  flush(): void;
}

export interface LogOptions {
  /** File descriptor or path; standard output by default. */
  readonly destination?: number | string;
  /** Colours in the pretty format. */
  readonly colours?: boolean;
}

type Sink = ReturnType<typeof destination>;

/** Some thousand lines. */
const maxBufferedBytes = 1_048_576;

const errorLevel = 50;

const struckOut = '[redacted]';

/** Field names that must not come with a value, at the top and one below. */
const secretFields = [
  'plaintext',
  'dataKey',
  'masterKey',
  'rootKey',
  'keyMaterial',
  'material',
  'secret',
  'password',
  'passphrase',
  'keyPassword',
  'token',
  'apiKey',
  'privateKey',
  'authorization',
  'cookie',
  'headers',
  'rawHeaders',
  'body',
];

const secretText =
  /kes:v1:[A-Za-z0-9+/_=-]+|-----BEGIN [A-Z ]*PRIVATE KEY-----[A-Za-z0-9+/=\\rn\s]*(?:-----END [A-Z ]*PRIVATE KEY-----)?/g;

export function createLogger(config: LogConfig, options: LogOptions = {}): Log {
  const sink = destination({
    dest: options.destination ?? 1,
    sync: false,
    minLength: 0,
    maxLength: maxBufferedBytes,
  });
  const output = new Output(sink, config.format === 'pretty', options.colours ?? false);
  const logger = pino(
    {
      level: config.level,
      base: null,
      timestamp: stdTimeFunctions.isoTime,
      redact: { paths: secretFields.flatMap((name) => [name, `*.${name}`]), censor: struckOut },
      serializers: { err: describeError, error: describeError, cause: describeError },
      formatters: { level: (label) => ({ level: label }), log: withoutBytes },
    },
    output,
  );
  return {
    logger,
    onError: (listener) => output.onError(listener),
    get dropped() {
      return output.dropped;
    },
    flush: () => output.flush(),
  };
}

const metadata: unique symbol = Symbol.for('pino.metadata');

/** Where pino's lines go. */
class Output {
  readonly #sink: Sink;
  readonly #pretty: boolean;
  readonly #colours: boolean;
  readonly #listeners = new Set<ErrorListener>();
  dropped = 0;

  /** Asks pino to leave the last call's level, object and text here before each write. */
  readonly [metadata] = true;
  lastLevel = 0;
  lastMsg: string | undefined;
  lastObj: unknown;

  constructor(sink: Sink, pretty: boolean, colours: boolean) {
    this.#sink = sink;
    this.#pretty = pretty;
    this.#colours = colours;
    sink.on('drop', () => this.dropped++);
    // EPIPE: the reader is gone. There is nowhere to say so, and no reason to stop serving.
    sink.on('error', () => undefined);
    process.on('exit', () => this.flush());
  }

  write(line: string): void {
    const clean = secretText.test(line) ? line.replace(secretText, struckOut) : line;
    secretText.lastIndex = 0;
    this.#sink.write(this.#pretty ? prettyLine(clean, this.#colours) : clean);
    if (this.lastLevel >= errorLevel && this.#listeners.size > 0) this.#tell(clean);
  }

  onError(listener: ErrorListener): () => void {
    this.#listeners.add(listener);
    return () => this.#listeners.delete(listener);
  }

  flush(): void {
    try {
      this.#sink.flushSync();
    } catch {
      // The output is gone or was never opened.
    }
  }

  #tell(line: string): void {
    const message = prettyLine(line, false).trimEnd();
    const of = (this.lastObj as { tenant?: unknown } | undefined)?.tenant;
    const tenant = typeof of === 'string' ? of : undefined;
    for (const listener of this.#listeners) {
      try {
        listener(message, tenant);
      } catch {
        // A listener's failure is its own.
      }
    }
  }
}

/** How deep a logged object is searched for bytes. */
const searchedDepth = 4;

/** A Buffer prints itself as its bytes: nothing in a log should. */
function withoutBytes(object: Record<string, unknown>): Record<string, unknown> {
  return strikeBytes(object, searchedDepth) as Record<string, unknown>;
}

function strikeBytes(value: unknown, depth: number): unknown {
  if (typeof value !== 'object' || value === null) return value;
  if (ArrayBuffer.isView(value) || value instanceof ArrayBuffer || value instanceof SharedArrayBuffer) {
    return `[${value.byteLength} bytes]`;
  }
  if (value instanceof Error || value instanceof Date) return value;
  if (depth === 0) return '[…]';
  if (Array.isArray(value)) return value.map((item) => strikeBytes(item, depth - 1));
  const copy: Record<string, unknown> = {};
  for (const [name, item] of Object.entries(value)) copy[name] = strikeBytes(item, depth - 1);
  return copy;
}
