/**
 * Moves a request's body through a sealer or opener into the answer, at the pace of the slower side, until it ends, fails, or
 * nothing moved for too long. Nothing is copied and little is held: the next chunk is taken when the last one has gone.
 */
import type { Readable, Writable } from 'node:stream';
import type { Engine } from '../../sse/streams.ts';
import { countStreamed } from './collection.ts';
import { processTurns } from './turns.ts';

export interface PumpOptions {
  readonly source: Readable;
  /** Bytes that were read from `source` before. */
  readonly first: readonly Buffer[];
  /** True when the source was cut off after so many bytes: Node ends a reset HTTP/2 stream as if it were whole. */
  readonly isCutOff: (bytesIn: number) => boolean;
  readonly engine: Engine;
  /** Called once, before the first byte goes out: sends the headers and gives what takes the body. */
  readonly begin: () => Writable;
  /**
   * Bytes that the answer's headers promise. The last of them wait for the end: a client of HTTP/1.1 takes an answer for whole
   * when it has them, and the end of an object is authentic only then.
   */
  readonly promised: number | undefined;
  /** Without progress for this long the stream is given up. */
  readonly idleMs: number;
}

export interface PumpResult {
  readonly bytesIn: number;
  readonly bytesOut: number;
  /** The answer's headers have been sent. */
  readonly isBegun: boolean;
  /** Undefined when the stream was whole; `aborted` when the client went away or stood still. */
  readonly failure: 'aborted' | { readonly error: unknown } | undefined;
}

/** Resolves once, after the last byte was handed to the sink; the caller ends the sink, or breaks it. */
export function pump(options: PumpOptions): Promise<PumpResult> {
  return new Promise((resolve) => new Pump(options, resolve).run());
}

class Pump {
  readonly #options: PumpOptions;
  readonly #resolve: (result: PumpResult) => void;
  readonly #out: Buffer[] = [];
  #sink: Writable | undefined;
  /** What would complete the answer before its end is known. */
  #last: Buffer | undefined;
  #bytesIn = 0;
  #bytesOut = 0;
  #isDone = false;
  /** The sink is full. */
  #isWaiting = false;
  /** Other streams, and key calls, come first. */
  #isHeld = false;
  #hasEnded = false;
  /** `performance.now()` of the last progress. */
  #movedMs = performance.now();
  readonly #watch: NodeJS.Timeout;

  constructor(options: PumpOptions, resolve: (result: PumpResult) => void) {
    this.#options = options;
    this.#resolve = resolve;
    const checkMs = Math.min(5000, Math.max(100, options.idleMs / 4));
    this.#watch = setInterval(() => {
      if (performance.now() - this.#movedMs > options.idleMs) this.#finish('aborted');
    }, checkMs).unref();
  }

  run(): void {
    const { source, first, engine } = this.#options;
    source.on('error', this.#onCut);
    source.on('close', this.#onCut);
    if (engine.header !== undefined) this.#send([engine.header]);
    for (const chunk of first) this.#take(chunk);
    if (this.#isDone) return;
    if (source.readableEnded) {
      this.#onEnd();
      return;
    }
    if (source.destroyed) {
      this.#onCut();
      return;
    }
    source.on('data', this.#take);
    source.on('end', this.#onEnd);
    if (this.#isWaiting || this.#isHeld) source.pause();
    else source.resume();
  }

  readonly #take = (chunk: Buffer): void => {
    if (this.#isDone) return;
    this.#movedMs = performance.now();
    this.#bytesIn += chunk.length;
    this.#work((out) => this.#options.engine.update(chunk, out));
    countStreamed(chunk.length);
    if (processTurns.took(chunk.length) && !this.#isDone) this.#hold();
  };

  readonly #onEnd = (): void => {
    this.#hasEnded = true;
    if (this.#isDone) return;
    if (this.#options.isCutOff(this.#bytesIn)) {
      this.#finish('aborted');
      return;
    }
    this.#work((out) => {
      this.#options.engine.final(out);
      if (this.#last !== undefined) out.unshift(this.#last);
    });
    if (!this.#isDone) this.#finish(undefined);
  };

  readonly #onCut = (): void => {
    if (!this.#hasEnded) this.#finish('aborted');
  };

  readonly #onDrain = (): void => {
    this.#movedMs = performance.now();
    this.#isWaiting = false;
    // Many may drain at once: they go on one after the other.
    this.#hold();
  };

  #hold(): void {
    if (this.#isHeld) return;
    this.#isHeld = true;
    this.#options.source.pause();
    processTurns.wait(this.#onTurn);
  }

  readonly #onTurn = (): void => {
    this.#isHeld = false;
    this.#movedMs = performance.now();
    if (!this.#isWaiting && !this.#isDone) this.#options.source.resume();
  };

  readonly #onSinkClose = (): void => {
    this.#finish('aborted');
  };

  #work(step: (out: Buffer[]) => void): void {
    const out = this.#out;
    out.length = 0;
    try {
      step(out);
    } catch (error) {
      // What was authenticated before the failure may have gone out; the answer does not end as if it were whole.
      this.#finish({ error });
      return;
    }
    this.#send(out);
  }

  #send(pieces: Buffer[]): void {
    if (!this.#hasEnded) this.#keepLast(pieces);
    if (pieces.length === 0) return;
    if (this.#sink === undefined) {
      this.#sink = this.#options.begin();
      this.#sink.on('drain', this.#onDrain);
      this.#sink.on('close', this.#onSinkClose);
      this.#sink.on('error', this.#onSinkClose);
    }
    const sink = this.#sink;
    if (sink.destroyed) {
      this.#finish('aborted');
      return;
    }
    let takesMore = true;
    if (pieces.length > 1) sink.cork();
    for (const piece of pieces) {
      takesMore = sink.write(piece);
      this.#bytesOut += piece.length;
    }
    if (pieces.length > 1) sink.uncork();
    if (!takesMore && sink.writableNeedDrain && !this.#isWaiting) {
      this.#isWaiting = true;
      this.#options.source.pause();
    }
  }

  #keepLast(pieces: Buffer[]): void {
    const { promised } = this.#options;
    if (promised === undefined || pieces.length === 0) return;
    if (this.#last !== undefined) {
      // More than was promised: whatever it is, the answer is not whole.
      pieces.length = 0;
      this.#finish('aborted');
      return;
    }
    const length = pieces.reduce((sum, piece) => sum + piece.length, this.#bytesOut);
    if (length >= promised) this.#last = pieces.pop();
  }

  #finish(failure: PumpResult['failure']): void {
    if (this.#isDone) return;
    this.#isDone = true;
    clearInterval(this.#watch);
    const { source, engine } = this.#options;
    engine.wipe();
    processTurns.leave(this.#onTurn);
    source.off('data', this.#take);
    source.off('end', this.#onEnd);
    source.off('close', this.#onCut);
    this.#sink?.off('drain', this.#onDrain);
    this.#sink?.off('close', this.#onSinkClose);
    this.#out.length = 0;
    this.#resolve({
      bytesIn: this.#bytesIn,
      bytesOut: this.#bytesOut,
      isBegun: this.#sink !== undefined,
      failure,
    });
  }
}

/**
 * Reads the first `count` bytes of a body.
 * @returns them and what came behind; undefined when the body ends or breaks before
 */
export function takeFirst(
  source: Readable,
  count: number,
  idleMs: number,
  held: readonly Buffer[] = [],
): Promise<{ readonly first: Buffer; readonly rest: Buffer[] } | undefined> {
  return new Promise((resolve) => {
    const chunks = [...held];
    let length = chunks.reduce((sum, chunk) => sum + chunk.length, 0);
    const done = (isWhole: boolean): void => {
      source.off('data', onData);
      source.off('end', onEnd);
      source.off('close', onEnd);
      source.off('error', onEnd);
      source.pause();
      clearTimeout(timer);
      if (!isWhole) {
        resolve(undefined);
        return;
      }
      const joined = chunks.length === 1 ? chunks[0]! : Buffer.concat(chunks);
      const rest = joined.subarray(count);
      resolve({ first: joined.subarray(0, count), rest: rest.length === 0 ? [] : [rest] });
    };
    const onData = (chunk: Buffer): void => {
      chunks.push(chunk);
      length += chunk.length;
      if (length >= count) done(true);
    };
    const onEnd = (): void => done(false);
    const timer = setTimeout(onEnd, idleMs);
    if (length >= count || source.destroyed || source.readableEnded) {
      done(length >= count);
      return;
    }
    source.on('data', onData);
    source.on('end', onEnd);
    source.on('close', onEnd);
    source.on('error', onEnd);
    source.resume();
  });
}
