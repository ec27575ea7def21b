/**
 * The stream of a call of any size, as a Duplex: its readable side is the body, its writable side the answer. It has the part of
 * Node's `ServerHttp2Stream` that faces ask for.
 */
import type { OutgoingHttpHeaders } from 'node:http';
import { Duplex } from 'node:stream';
import { errorCode, type ErrorCode } from './frame.ts';
import type { StreamOwner, StreamPort } from './stream-port.ts';

export class Http2Stream extends Duplex implements StreamOwner {
  readonly #port: StreamPort;
  /** No body follows the head. */
  readonly endAfterHeaders: boolean;
  headersSent = false;
  aborted = false;
  /** As the client or we gave it (RFC 9113 §7). */
  rstCode = 0;
  /** Of the body, told to nobody yet. */
  #unreadBytes = 0;
  /** The answer went out whole, not through the writable side. */
  #isAnswered = false;
  /** A call of {@link _write} that waits for its bytes to leave. */
  #wrote: ((error?: Error | null) => void) | undefined;

  constructor(port: StreamPort) {
    super({ autoDestroy: false });
    this.#port = port;
    this.endAfterHeaders = port.isRemoteEnded;
    port.owner = this;
    if (port.isRemoteEnded) this.push(null);
  }

  get session(): StreamPort['connection'] {
    return this.#port.connection;
  }

  onData(part: Buffer): void {
    this.#unreadBytes += part.length;
    this.#port.connection.hold(part.length);
    if (this.push(part)) this.#use();
  }

  onEnd(): void {
    this.push(null);
  }

  onAnswered(): void {
    // RFC 9113 §8.1: the client may stop sending what nobody reads. Of a body that has come, only its end is on the way.
    const { contentLength, receivedBytes } = this.#port;
    if (receivedBytes !== contentLength) this.#port.connection.reset(this.#port, errorCode.noError);
  }

  onClose(code: number, isAborted: boolean): void {
    this.rstCode = code;
    this.#use();
    if (code === errorCode.noError && !isAborted && this.#port.isLocalEnded) {
      // What has come may still be read, and 'finish' comes a little later.
      this.once('finish', () => this.#end());
      this.once('end', () => this.#end());
      this.#end();
      return;
    }
    const wrote = this.#wrote;
    this.#wrote = undefined;
    if (isAborted && !this.#isAnswered && !this.writableFinished) {
      this.aborted = true;
      this.emit('aborted');
    }
    wrote?.(new Error('stream closed'));
    this.destroy();
  }

  #end(): void {
    const isRead =
      this.readableEnded || (this.readableFlowing === null && this.listenerCount('readable') === 0);
    if (this.writableFinished && isRead) this.destroy();
  }

  #use(): void {
    const bytes = this.#unreadBytes;
    this.#unreadBytes = 0;
    this.#port.connection.hold(-bytes);
    if (bytes > 0) this.#port.connection.credit(this.#port, bytes);
  }

  override _read(): void {
    this.#use();
  }

  override _write(chunk: Buffer, _encoding: BufferEncoding, done: (error?: Error | null) => void): void {
    if (this.#port.isClosed) {
      done(new Error('stream closed'));
      return;
    }
    this.#wrote = done;
    this.#port.send(chunk, false, false, () => {
      if (this.#wrote !== done) return;
      this.#wrote = undefined;
      done();
    });
  }

  override _final(done: (error?: Error | null) => void): void {
    if (!this.#isAnswered) this.#port.send(nothing, true, false);
    done();
  }

  override _destroy(error: Error | null, done: (error: Error | null) => void): void {
    if (!this.#port.isClosed)
      this.#port.connection.reset(this.#port, error === null ? errorCode.cancel : errorCode.internalError);
    done(error);
  }

  /** An informational answer (RFC 9110 §15.2). */
  inform(status: number): void {
    this.#port.respond(status, undefined, false);
  }

  /** Status and fields, before the writable side is used. */
  respond(status: number, headers: OutgoingHttpHeaders | undefined): void {
    this.headersSent = true;
    this.#port.respond(status, headers, false);
  }

  /** The whole answer. */
  answer(
    status: number,
    headers: OutgoingHttpHeaders | undefined,
    body: Buffer | undefined,
    isSecret: boolean,
  ): void {
    this.headersSent = true;
    this.#isAnswered = true;
    this.end();
    const isBare = body === undefined || body.length === 0;
    this.#port.respond(status, headers, isBare);
    if (!isBare) this.#port.send(body, true, isSecret);
  }

  close(code: ErrorCode = errorCode.noError): void {
    this.#port.connection.reset(this.#port, code);
  }
}

const nothing = Buffer.alloc(0);
