/** Sealers and openers as Node streams and as web streams. */
import { Transform, type TransformCallback } from 'node:stream';
import { TransformStream, type Transformer, type TransformStreamDefaultController } from 'node:stream/web';

/** What turns one stream of bytes into another: a sealer or an opener of formats/. */
export interface Engine {
  /** Goes out before anything else. */
  readonly header?: Buffer;
  /** Appends what may go out to `out`. `chunk` must not be changed afterwards. */
  update(chunk: Uint8Array, out: Buffer[]): void;
  final(out: Buffer[]): void;
  /** Ends the use of keys; called on every way out. */
  wipe(): void;
}

/** A Node Transform. An error destroys it, and `pipeline` destroys what it is part of: nothing ends as if it were whole. */
export class EngineTransform extends Transform {
  readonly #engine: Engine;
  readonly #out: Buffer[] = [];

  constructor(engine: Engine) {
    super();
    this.#engine = engine;
    if (engine.header !== undefined) this.push(engine.header);
  }

  override _transform(chunk: Buffer, _encoding: BufferEncoding, done: TransformCallback): void {
    this.#run((out) => this.#engine.update(chunk, out), done);
  }

  override _flush(done: TransformCallback): void {
    this.#run((out) => this.#engine.final(out), done);
  }

  override _destroy(error: Error | null, done: (error: Error | null) => void): void {
    this.#engine.wipe();
    done(error);
  }

  #run(work: (out: Buffer[]) => void, done: TransformCallback): void {
    const out = this.#out;
    out.length = 0;
    try {
      work(out);
    } catch (error) {
      this.#engine.wipe();
      done(error as Error);
      return;
    }
    for (const piece of out) this.push(piece);
    done();
  }
}

/** A web TransformStream. An error fails both sides. */
export function engineTransformStream(engine: Engine): TransformStream<Uint8Array, Uint8Array> {
  const out: Buffer[] = [];
  const run = (controller: TransformStreamDefaultController<Uint8Array>, work: () => void): void => {
    out.length = 0;
    try {
      work();
    } catch (error) {
      engine.wipe();
      throw error;
    }
    for (const piece of out) controller.enqueue(piece);
  };
  const transformer: Transformer<Uint8Array, Uint8Array> & { cancel(): void } = {
    start(controller) {
      if (engine.header !== undefined) controller.enqueue(engine.header);
    },
    transform(chunk, controller) {
      run(controller, () => engine.update(chunk, out));
    },
    flush(controller) {
      run(controller, () => engine.final(out));
      engine.wipe();
    },
    cancel() {
      engine.wipe();
    },
  };
  return new TransformStream<Uint8Array, Uint8Array>(transformer);
}
