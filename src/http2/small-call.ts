/**
 * The stream of a call that is one small answer to one small body. It has what faces ask of Node's `ServerHttp2Stream`, as far as such
 * calls go, without the two buffered halves of a Duplex: parts of the body are told as they come, the answer leaves in one piece.
 */
import { EventEmitter } from 'node:events';
import type { OutgoingHttpHeaders } from 'node:http';
import { errorCode, type ErrorCode } from './frame.ts';
import type { StreamOwner, StreamPort } from './stream-port.ts';

export class SmallCall extends EventEmitter implements StreamOwner {
  readonly #port: StreamPort;
  /** No body follows the head. */
  readonly endAfterHeaders: boolean;
  headersSent = false;
  aborted = false;
  /** As the client or we gave it (RFC 9113 §7). */
  rstCode = 0;

  constructor(port: StreamPort) {
    super();
    this.#port = port;
    this.endAfterHeaders = port.isRemoteEnded;
    port.owner = this;
  }

  get session(): StreamPort['connection'] {
    return this.#port.connection;
  }

  get destroyed(): boolean {
    return this.#port.isClosed;
  }

  get closed(): boolean {
    return this.#port.isClosed;
  }

  onData(part: Buffer): void {
    this.#port.connection.credit(this.#port, part.length);
    this.emit('data', part);
  }

  onEnd(): void {
    this.emit('end');
  }

  onAnswered(): void {
    // The end of its body is on its way: MinIO's client sends it in a frame of its own.
  }

  onClose(code: number, isAborted: boolean): void {
    this.rstCode = code;
    this.aborted = isAborted;
    this.emit('close');
  }

  /** An informational answer (RFC 9110 §15.2). */
  inform(status: number): void {
    this.#port.respond(status, undefined, false);
  }

  /** The whole answer. */
  answer(
    status: number,
    headers: OutgoingHttpHeaders | undefined,
    body: Buffer | undefined,
    isSecret: boolean,
  ): void {
    this.headersSent = true;
    const isBare = body === undefined || body.length === 0;
    this.#port.respond(status, headers, isBare);
    if (!isBare) this.#port.send(body, true, isSecret);
  }

  close(code: ErrorCode = errorCode.noError): void {
    this.#port.connection.reset(this.#port, code);
  }

  destroy(error?: Error): void {
    this.close(error === undefined ? errorCode.cancel : errorCode.internalError);
  }
}
