/** One stream's place on its connection: its windows, its two ends, and what it has to send. Who owns it makes sense of it. */
import type { OutgoingHttpHeaders } from 'node:http';
import type { TLSSocket } from 'node:tls';
import type { ErrorCode } from './frame.ts';

/** What becomes of a stream, told to whoever serves it. */
export interface StreamOwner {
  /** Part of the body, valid until the owner returns to the event loop. */
  onData(part: Buffer): void;
  /** The body is whole. */
  onEnd(): void;
  /** The answer is on its way and the body is not whole. */
  onAnswered(): void;
  /**
   * Nothing more comes or goes.
   * @param code NO_ERROR when both ends are whole
   * @param isAborted by the client, or with the connection
   */
  onClose(code: number, isAborted: boolean): void;
}

/** What a connection does for its streams. */
export interface PortKeeper {
  readonly destroyed: boolean;
  readonly socket: TLSSocket;
  longAnswers: number;
  respond(port: StreamPort, status: number, headers: OutgoingHttpHeaders | undefined, isEnd: boolean): void;
  pump(port: StreamPort): void;
  /** Bytes of the body have been used: as many more may come. */
  credit(port: StreamPort, bytes: number): void;
  reset(port: StreamPort, code: ErrorCode): void;
  /** Counts memory that is kept for the client. */
  hold(bytes: number): void;
}

interface Unsent {
  readonly bytes: Buffer;
  at: number;
  readonly isEnd: boolean;
  readonly isSecret: boolean;
  isReferred: boolean;
  readonly done: (() => void) | undefined;
}

/** Until a request is given to its owner nothing is told to it. */
const nobody: StreamOwner = {
  onData: () => undefined,
  onEnd: () => undefined,
  onAnswered: () => undefined,
  onClose: () => undefined,
};

export class StreamPort {
  readonly connection: PortKeeper;
  readonly id: number;
  owner: StreamOwner = nobody;
  /** What the client takes now. */
  sendWindow: number;
  /** What it may send now. */
  receiveWindow: number;
  /** Used, and not told to the client. */
  uncredited = 0;
  readonly contentLength: number | undefined;
  receivedBytes = 0;
  isRemoteEnded: boolean;
  isLocalEnded = false;
  isClosed = false;
  /** `performance.now()` when a sweep first saw it answered and not ended. */
  endedAtMs: number | undefined;
  unsent: Unsent | undefined;

  constructor(
    connection: PortKeeper,
    id: number,
    begin: {
      readonly sendWindow: number;
      readonly receiveWindow: number;
      readonly contentLength: number | undefined;
      readonly isRemoteEnded: boolean;
    },
  ) {
    this.connection = connection;
    this.id = id;
    this.sendWindow = begin.sendWindow;
    this.receiveWindow = begin.receiveWindow;
    this.contentLength = begin.contentLength;
    this.isRemoteEnded = begin.isRemoteEnded;
  }

  /** Status and fields; `isEnd`: there is no body. */
  respond(status: number, headers: OutgoingHttpHeaders | undefined, isEnd: boolean): void {
    this.connection.respond(this, status, headers, isEnd);
  }

  /**
   * Part of the body, one at a time. Bytes stay as they are until `done`, which a stream that closes before does not call; secret ones are
   * overwritten once they are sent. On a stream that has closed nothing is sent.
   */
  send(bytes: Buffer, isEnd: boolean, isSecret: boolean, done?: () => void): void {
    if (this.isClosed) {
      if (isSecret) bytes.fill(0);
      return;
    }
    this.unsent = { bytes, at: 0, isEnd, isSecret, isReferred: false, done };
    this.connection.pump(this);
  }

  /** Called by the connection, once. */
  closeWith(code: number, isAborted: boolean): void {
    const { unsent } = this;
    this.unsent = undefined;
    if (unsent?.isSecret === true) unsent.bytes.fill(0);
    this.owner.onClose(code, isAborted);
  }
}
