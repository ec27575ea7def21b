/** Reads a request's body, on either protocol, up to a route's cap. */
import type { EventEmitter } from 'node:events';
import type { IncomingMessage } from 'node:http';
import type { Http2Request } from '../../server/http2-exchange.ts';
import type { LaneRequest } from '../../server/http1-lane.ts';
import type { BodyDeadline } from './body-deadline.ts';

/** As it comes from Node or from our HTTP/2. */
export type RawRequest = IncomingMessage | Http2Request;
/** That, or a small call that has come whole. */
export type AnyRequest = RawRequest | LaneRequest;

export interface Body {
  readonly bytes: Buffer;
  /** More followed than the cap allows; `bytes` holds what came before it. */
  readonly oversize: boolean;
  /** The client declared a body, even if an empty one: KES treats that differently from none. */
  readonly declared: boolean;
}

/** What the headers say of a body, kept aside because Fastify must not read it (see plugin.ts). */
export interface Declared {
  readonly length: string | undefined;
  readonly chunked: boolean;
}

const none = Buffer.alloc(0);

/**
 * True for `{…}` with no other brace and no escape inside: that object is whole, and KES reads no further than the first value.
 * Clients that do not declare a length (MinIO's does not) are answered without waiting for the end of their stream.
 */
function isFlatObject(bytes: Buffer): boolean {
  const last = bytes.length - 1;
  return (
    bytes[0] === 0x7b &&
    bytes.indexOf(0x7d) === last &&
    bytes.indexOf(0x7b, 1) === -1 &&
    !bytes.includes(0x5c)
  );
}

/** Calls back once, with undefined when the client went away before the body was whole. */
export function readBody(
  raw: AnyRequest,
  declared: Declared,
  cap: number,
  deadline: BodyDeadline,
  done: (body: Body | undefined) => void,
): void {
  if ('whole' in raw) {
    const bytes = raw.whole.subarray(0, cap);
    done({ bytes, oversize: raw.whole.length > cap, declared: bytes.length > 0 });
    return;
  }
  const isHttp2 = 'stream' in raw;
  const source: Source = isHttp2 ? raw.stream : raw;
  const hasBody = isHttp2
    ? !raw.stream.endAfterHeaders
    : declared.chunked || (declared.length ?? '0') !== '0';
  if (!hasBody) {
    done({ bytes: none, oversize: false, declared: declared.chunked });
    return;
  }
  // A declared length says when the body is whole, a tick before 'end' does.
  const expected = declared.length === undefined || declared.chunked ? Infinity : Number(declared.length);
  const body = new BodyReader(expected, cap, deadline, done);
  source[reader] = body;
  if (isHttp2) deadline.watch(body, raw.stream);
  source.on('data', onData);
  source.on('end', onEnd);
  source.on('close', onClose);
}

/**
 * All of a body.
 * @param refused makes the error for a body that did not arrive whole (`lost`), or has more than the cap (`oversize`)
 * @throws what `refused` makes
 */
export function wholeBody(
  raw: RawRequest,
  declared: Declared,
  cap: number,
  deadline: BodyDeadline,
  refused: (why: 'lost' | 'oversize') => Error,
): Promise<Buffer> {
  return new Promise((resolve, reject) => {
    readBody(raw, declared, cap, deadline, (body) => {
      if (body === undefined) reject(refused('lost'));
      else if (body.oversize) reject(refused('oversize'));
      else resolve(body.bytes);
    });
  });
}

/** Where a request's reader hangs, so that one set of listeners serves every request: closures per request cost. */
const reader = Symbol('body reader');
type Source = EventEmitter & { [reader]?: BodyReader };

function onData(this: Source, chunk: Buffer): void {
  this[reader]!.take(chunk);
}

function onEnd(this: Source): void {
  this[reader]!.end();
}

function onClose(this: Source): void {
  this[reader]!.abandon();
}

class BodyReader {
  readonly #expected: number;
  readonly #cap: number;
  readonly #deadline: BodyDeadline;
  #done: ((body: Body | undefined) => void) | undefined;
  /** The only chunk so far, as it came. */
  #first: Buffer | undefined;
  /** From the second chunk on: a client may send a byte at a time, and a list of chunks would cost a hundred times their size. */
  #gathered: Buffer | undefined;
  #length = 0;

  constructor(expected: number, cap: number, deadline: BodyDeadline, done: (body: Body | undefined) => void) {
    this.#deadline = deadline;
    this.#expected = expected;
    this.#cap = cap;
    this.#done = done;
  }

  take(chunk: Buffer): void {
    if (this.#done === undefined) return;
    if (this.#length === 0) this.#first = chunk;
    else this.#gather(chunk);
    this.#length += chunk.length;
    if (this.#length > this.#cap)
      this.#finish({ bytes: this.#joined().subarray(0, this.#cap), oversize: true, declared: true });
    else if (this.#length >= this.#expected || (this.#gathered === undefined && isFlatObject(chunk)))
      this.end();
  }

  #gather(chunk: Buffer): void {
    const needed = this.#length + chunk.length;
    if (this.#gathered === undefined || this.#gathered.length < needed) {
      const grown = Buffer.allocUnsafeSlow(Math.max(4096, 2 * needed));
      this.#joined().copy(grown);
      this.#gathered?.fill(0);
      this.#gathered = grown;
      this.#first = undefined;
    }
    chunk.copy(this.#gathered, this.#length);
  }

  end(): void {
    this.#finish({ bytes: this.#joined(), oversize: false, declared: true });
  }

  abandon(): void {
    this.#finish(undefined);
  }

  #joined(): Buffer {
    return this.#gathered?.subarray(0, this.#length) ?? this.#first ?? none;
  }

  #finish(body: Body | undefined): void {
    this.#deadline.forget(this);
    const done = this.#done;
    this.#done = undefined;
    this.#first = undefined;
    this.#gathered = undefined;
    done?.(body);
  }
}
