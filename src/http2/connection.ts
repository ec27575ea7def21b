/**
 * The server's end of an HTTP/2 connection (RFC 9113), over a TLS socket whose client chose `h2`.
 *
 * Why our own: storage nodes send all their calls over one connection, and of what such a small call costs Node's http2 takes the larger part (objects
 * with native halves, a Duplex for each stream, calls between JavaScript and nghttp2 for each frame). Here frames are read and written
 * in JavaScript, answers of one turn leave together, and a small call needs no stream object at all.
 *
 * What a client may do is bounded as docs/limits.md says; what it may not is answered with the codes of RFC 9113.
 */
import type { OutgoingHttpHeaders } from 'node:http';
import type { TLSSocket } from 'node:tls';
import { BodySender } from './body-sender.ts';
import { Closed, type Ending } from './closed.ts';
import {
  defaultWindowBytes,
  errorCode,
  flag,
  frameType,
  maxFrameBytes,
  mostWindowBytes,
  readUint31,
  setting,
  type ErrorCode,
} from './frame.ts';
import { ConnectionError, FrameReader, type FrameHandler } from './frame-reader.ts';
import { FrameWriter } from './frame-writer.ts';
import { HeaderBlocks } from './header-blocks.ts';
import { HpackError } from './hpack-decoder.ts';
import { Outbox } from './outbox.ts';
import { Rate } from './rate.ts';
import type { RequestHead } from './request-head.ts';
import { StreamPort, type PortKeeper } from './stream-port.ts';

export interface ConnectionLimits {
  /** Streams at once; more are refused. */
  readonly maxConcurrentStreams: number;
  /** Streams that a client resets, or makes us reset; twice as many at once. */
  readonly maxResetsPerSecond: number;
  /** Entries of one SETTINGS frame. */
  readonly maxSettings: number;
  /** PINGs while earlier answers are not taken. */
  readonly maxWaitingPings: number;
  /** Held for a client: answers it does not take, bodies that are not read. Above it new streams are refused. */
  readonly maxMemoryBytes: number;
  /** Of a request's fields, as RFC 9113 §10.5.1 counts them. */
  readonly maxHeaderListBytes: number;
  /** SETTINGS_HEADER_TABLE_SIZE. */
  readonly headerTableBytes: number;
  /** Of one stream's body, before it is read. */
  readonly streamWindowBytes: number;
  /** Of all bodies together. */
  readonly windowBytes: number;
  /** From the begin of a frame, a header block or the preface to its end. */
  readonly headersTimeoutMs: number;
  /** Nothing moved. */
  readonly idleTimeoutMs: number;
}

export interface ConnectionEvents {
  /** A request's head is whole: somebody makes itself the port's owner, to whom body and end are told. */
  onRequest(port: StreamPort, head: RequestHead): void;
  /** Once, when nothing more will come. */
  onClose(): void;
}

/** What a client may send that brings nothing forward: PING, PRIORITY, empty DATA, frames of streams that are gone. */
const idleFrames = { perSecond: 2000, perRequest: 4, burst: 20_000 } as const;
/** SETTINGS: a client sends one, and seldom another. */
const settingsFrames = { perSecond: 10, burst: 100 } as const;
/** A stream whose answer is out and whose body does not end. */
const lingerMs = 1000;
/** Waiting for the client's end of a connection that we have ended. */
const farewellMs = 300;
/** Answers to a client that takes none. */
const mostControlBytes = 262_144;
/** A window that grows by less brings little forward (CVE-2019-9511). */
const leastUpdateBytes = 256;

export class Http2Connection implements FrameHandler, PortKeeper {
  readonly socket: TLSSocket;
  readonly #limits: ConnectionLimits;
  readonly #events: ConnectionEvents;
  readonly #reader: FrameReader;
  readonly #out: Outbox;
  readonly #writer: FrameWriter;
  readonly #bodies: BodySender;
  readonly #blocks: HeaderBlocks;
  readonly #ports = new Map<number, StreamPort>();
  readonly #closed = new Closed();
  readonly #resets: Rate;
  readonly #idleFrames = new Rate(idleFrames.perSecond, idleFrames.burst);
  readonly #settingsFrames = new Rate(settingsFrames.perSecond, settingsFrames.burst);
  readonly #pings: ((error: Error | null) => void)[] = [];
  /** SETTINGS that the client has not acknowledged: the table's size in each. */
  readonly #unacknowledged: number[] = [];
  #waitingPings = 0;
  #lastStream = 0;
  #hasSettings = false;
  /** Of ours, for its DATA: what it may still send, and what has been taken in since it was told. */
  #receiveWindow: number;
  #uncredited = 0;
  #heldBytes = 0;
  #activeMs = performance.now();
  /** When what has not come whole began. */
  #begunMs: number | undefined = this.#activeMs;
  #framesSeen = 0;
  /** Streams above it are not served any more. */
  #lastServed = mostWindowBytes;
  #isClosing = false;
  #isEnded = false;
  #isReported = false;
  /** Streams that may be silent for as long as they like. */
  longAnswers = 0;

  constructor(socket: TLSSocket, limits: ConnectionLimits, events: ConnectionEvents) {
    this.socket = socket;
    this.#limits = limits;
    this.#events = events;
    this.#reader = new FrameReader(this);
    this.#out = new Outbox(socket, () => this.#sent());
    this.#writer = new FrameWriter(this.#out);
    this.#bodies = new BodySender(this.#out);
    this.#blocks = new HeaderBlocks(limits.maxHeaderListBytes);
    this.#resets = new Rate(limits.maxResetsPerSecond, 2 * limits.maxResetsPerSecond);
    this.#receiveWindow = limits.windowBytes;
    socket.setNoDelay(true);
    socket.on('data', (chunk: Buffer) => this.#receive(chunk));
    socket.on('end', () => this.destroy());
    socket.on('error', () => this.destroy());
    socket.on('close', () => this.destroy());
    this.#writer.settings([
      [setting.maxConcurrentStreams, limits.maxConcurrentStreams],
      [setting.initialWindowSize, limits.streamWindowBytes],
      [setting.maxHeaderListSize, limits.maxHeaderListBytes],
      [setting.headerTableSize, limits.headerTableBytes],
    ]);
    this.#unacknowledged.push(limits.headerTableBytes);
    this.#writer.windowUpdate(0, limits.windowBytes - defaultWindowBytes);
  }

  get destroyed(): boolean {
    return this.#isReported;
  }

  /** Streams that are open. */
  get streams(): number {
    return this.#ports.size;
  }

  /** The client is to put at most this much into its table from now on. */
  limitTable(bytes: number): void {
    if (this.#isEnded) return;
    this.#writer.settings([[setting.headerTableSize, bytes]]);
    this.#unacknowledged.push(bytes);
  }

  /** Tells the client up to which stream it is served, without ending anything. */
  goaway(code: ErrorCode, lastStream: number): void {
    if (this.#isEnded) return;
    this.#writer.goaway(code, lastStream);
  }

  /** @param done once the client has answered, or will not */
  ping(done: (error: Error | null) => void): void {
    if (this.#isEnded) {
      done(new Error('closed'));
      return;
    }
    this.#pings.push(done);
    this.#sendPing(false, Buffer.alloc(8));
  }

  /** Serves what has begun, nothing that comes, and ends then. */
  close(): void {
    if (this.#isClosing || this.#isEnded) return;
    this.#isClosing = true;
    this.#lastServed = this.#lastStream;
    this.goaway(errorCode.noError, this.#lastStream);
    if (this.#ports.size === 0) this.#end();
  }

  /** Ends at once; streams are broken off. */
  destroy(): void {
    this.#isEnded = true;
    this.#reader.stop();
    this.#abandon();
    this.socket.destroy();
    this.#report();
  }

  /**
   * Called every second or so: what takes too long ends.
   * @param nowMs `performance.now()`
   */
  sweep(nowMs: number): void {
    if (this.#isEnded) return;
    const { headersTimeoutMs, idleTimeoutMs } = this.#limits;
    // Bodies are bounded by their routes.
    const sinceMs = this.#blocks.sinceMs ?? this.#begunMs;
    if (sinceMs !== undefined && nowMs - sinceMs > headersTimeoutMs) {
      this.#fail(errorCode.enhanceYourCalm);
      return;
    }
    for (const port of this.#ports.values()) {
      if (!port.isLocalEnded || port.isRemoteEnded) continue;
      port.endedAtMs ??= nowMs;
      if (nowMs - port.endedAtMs > lingerMs) this.reset(port, errorCode.noError);
    }
    if (nowMs - this.#activeMs < idleTimeoutMs || this.longAnswers > 0) return;
    // Streams whose client takes no answer (a window of zero) would keep the connection otherwise.
    this.close();
    if (!this.#isEnded) setTimeout(() => this.destroy(), farewellMs).unref();
  }

  // What arrives.

  #receive(chunk: Buffer): void {
    if (this.#isEnded) return;
    this.#activeMs = performance.now();
    try {
      this.#reader.feed(chunk);
      const { frames, isWithin } = this.#reader;
      if (!isWithin || frames !== this.#framesSeen) this.#begunMs = undefined;
      if (isWithin) this.#begunMs ??= this.#activeMs;
      this.#framesSeen = frames;
    } catch (error) {
      if (error instanceof ConnectionError) this.#fail(error.code);
      else if (error instanceof HpackError) this.#fail(errorCode.compressionError);
      else {
        this.#fail(errorCode.internalError);
        throw error;
      }
    }
  }

  onFrame(type: number, flags: number, stream: number, payload: Buffer): void {
    if (!this.#hasSettings && (type !== frameType.settings || (flags & flag.ack) !== 0))
      throw new ConnectionError(errorCode.protocolError, 'no SETTINGS first');
    if (type !== frameType.continuation) this.#blocks.expectNone();
    switch (type) {
      case frameType.headers:
        this.#onHeaders(flags, stream, payload);
        return;
      case frameType.continuation:
        this.#onContinuation(flags, stream, payload);
        return;
      case frameType.windowUpdate:
        this.#onWindowUpdate(stream, payload);
        return;
      case frameType.settings:
        this.#onSettings(flags, stream, payload);
        return;
      case frameType.ping:
        this.#onPing(flags, stream, payload);
        return;
      case frameType.reset:
        this.#onReset(stream, payload);
        return;
      case frameType.goaway:
        this.#onGoaway(stream, payload);
        return;
      case frameType.priority:
        this.#onPriority(stream, payload);
        return;
      case frameType.pushPromise:
        throw new ConnectionError(errorCode.protocolError, 'a client does not push');
      default:
        // RFC 9113 §5.5: unknown types are ignored.
        this.#countIdleFrame();
    }
  }

  #onHeaders(flags: number, stream: number, payload: Buffer): void {
    if (stream === 0 || stream % 2 === 0)
      throw new ConnectionError(errorCode.protocolError, 'not a client stream');
    let start = 0;
    let end = payload.length;
    if ((flags & flag.padded) !== 0) {
      if (end === 0) throw new ConnectionError(errorCode.frameSizeError, 'no pad length');
      start = 1;
      end -= payload[0]!;
    }
    let isOwnParent = false;
    if ((flags & flag.priority) !== 0) {
      if (end - start < 5) throw new ConnectionError(errorCode.frameSizeError, 'no priority');
      isOwnParent = readUint31(payload, start) === stream;
      start += 5;
    }
    if (end < start) throw new ConnectionError(errorCode.protocolError, 'more padding than frame');
    const isEnd = (flags & flag.endStream) !== 0;
    const block = payload.subarray(start, end);
    if (isOwnParent) {
      this.#blocks.skip(block);
      const port = this.#ports.get(stream);
      if (port === undefined) this.#refuse(stream, errorCode.protocolError);
      else this.#refuseOpen(port, errorCode.protocolError);
      return;
    }
    if ((flags & flag.endHeaders) !== 0) this.#onBlock(stream, isEnd, block);
    else this.#blocks.begin(stream, isEnd, block, this.#activeMs);
  }

  #onContinuation(flags: number, stream: number, payload: Buffer): void {
    const block = this.#blocks.goOn(stream, payload, (flags & flag.endHeaders) !== 0);
    if (block === undefined) return;
    this.#onBlock(stream, block.isEnd, block.bytes);
    block.bytes.fill(0);
  }

  #onBlock(stream: number, isEnd: boolean, block: Buffer): void {
    const port = this.#ports.get(stream);
    if (port !== undefined) {
      this.#onTrailers(port, isEnd, block);
      return;
    }
    if (stream <= this.#lastStream) {
      this.#blocks.skip(block);
      const how = this.#closed.of(stream);
      if (how === 'reset') return;
      throw new ConnectionError(
        how === undefined ? errorCode.protocolError : errorCode.streamClosed,
        'a stream number of the past',
      );
    }
    const head = this.#blocks.read(block, isEnd);
    if (stream > this.#lastServed) return;
    this.#lastStream = stream;
    if (typeof head === 'string') {
      this.#refuse(stream, head === 'malformed' ? errorCode.protocolError : errorCode.enhanceYourCalm);
      return;
    }
    if (
      this.#ports.size >= this.#limits.maxConcurrentStreams ||
      this.#heldBytes + this.#out.waitingBytes > this.#limits.maxMemoryBytes
    ) {
      this.#refuse(stream, errorCode.refusedStream);
      return;
    }
    const opened = new StreamPort(this, stream, {
      sendWindow: this.#bodies.streamWindow,
      receiveWindow: Math.max(this.#limits.streamWindowBytes, defaultWindowBytes),
      contentLength: head.contentLength,
      isRemoteEnded: isEnd,
    });
    this.#ports.set(stream, opened);
    this.#idleFrames.give(idleFrames.perRequest);
    this.#events.onRequest(opened, head);
  }

  #onTrailers(port: StreamPort, isEnd: boolean, block: Buffer): void {
    this.#blocks.skip(block);
    if (port.isRemoteEnded) {
      this.#refuseOpen(port, errorCode.streamClosed);
      return;
    }
    if (!isEnd) {
      this.#refuseOpen(port, errorCode.protocolError);
      return;
    }
    this.#endOfBody(port);
  }

  onDataBegin(stream: number, length: number): void {
    if (!this.#hasSettings) throw new ConnectionError(errorCode.protocolError, 'no SETTINGS first');
    this.#blocks.expectNone();
    if (stream === 0 || stream > this.#lastStream) {
      if (stream !== 0 && stream > this.#lastServed) {
        this.#takeIn(length);
        return;
      }
      throw new ConnectionError(errorCode.protocolError, 'data on a stream that is not open');
    }
    this.#takeIn(length);
    const port = this.#ports.get(stream);
    if (port === undefined) {
      this.#countIdleFrame();
      if (this.#closed.of(stream) !== 'reset')
        throw new ConnectionError(errorCode.streamClosed, 'data on a stream that is closed');
      return;
    }
    if (port.isRemoteEnded) {
      this.#refuseOpen(port, errorCode.streamClosed);
      return;
    }
    port.receiveWindow -= length;
    if (port.receiveWindow < 0) this.#refuseOpen(port, errorCode.flowControlError);
  }

  /** All that arrives is taken in at once: one stream that is not read holds up no other. */
  #takeIn(length: number): void {
    this.#receiveWindow -= length;
    if (this.#receiveWindow < 0) throw new ConnectionError(errorCode.flowControlError, 'window exceeded');
    this.#uncredited += length;
    if (this.#uncredited * 2 < this.#limits.windowBytes) return;
    this.#writer.windowUpdate(0, this.#uncredited);
    this.#receiveWindow += this.#uncredited;
    this.#uncredited = 0;
  }

  onPadding(stream: number, length: number): void {
    const port = this.#ports.get(stream);
    if (port !== undefined) this.credit(port, length);
  }

  onData(stream: number, part: Buffer): void {
    const port = this.#ports.get(stream);
    if (port === undefined) return;
    port.receivedBytes += part.length;
    if (port.contentLength !== undefined && port.receivedBytes > port.contentLength) {
      this.#refuseOpen(port, errorCode.protocolError);
      return;
    }
    // Its answer is out: the client may stop (RFC 9113 §8.1).
    if (port.isLocalEnded) this.reset(port, errorCode.noError);
    else port.owner.onData(part);
  }

  onDataEnd(stream: number, isEndOfStream: boolean, isEmpty: boolean): void {
    if (isEmpty && !isEndOfStream) this.#countIdleFrame();
    const port = isEndOfStream ? this.#ports.get(stream) : undefined;
    if (port !== undefined) this.#endOfBody(port);
  }

  #endOfBody(port: StreamPort): void {
    if (port.contentLength !== undefined && port.receivedBytes !== port.contentLength) {
      this.#refuseOpen(port, errorCode.protocolError);
      return;
    }
    port.isRemoteEnded = true;
    port.owner.onEnd();
    if (port.isLocalEnded) this.#finished(port);
  }

  #onWindowUpdate(stream: number, payload: Buffer): void {
    if (payload.length !== 4) throw new ConnectionError(errorCode.frameSizeError, 'WINDOW_UPDATE');
    const more = readUint31(payload, 0);
    if (more < leastUpdateBytes) this.#countIdleFrame();
    if (stream === 0) {
      if (more === 0) throw new ConnectionError(errorCode.protocolError, 'a window that does not grow');
      this.#bodies.widen(more);
      return;
    }
    const port = this.#ports.get(stream);
    if (port === undefined) {
      if (stream > this.#lastStream && stream <= this.#lastServed)
        throw new ConnectionError(errorCode.protocolError, 'a stream that is not open');
      this.#countIdleFrame();
      return;
    }
    if (more === 0) {
      this.#refuseOpen(port, errorCode.protocolError);
      return;
    }
    port.sendWindow += more;
    if (port.sendWindow > mostWindowBytes) this.#refuseOpen(port, errorCode.flowControlError);
    else if (this.#bodies.isWaiting(port)) this.pump(port);
  }

  #onSettings(flags: number, stream: number, payload: Buffer): void {
    if (stream !== 0) throw new ConnectionError(errorCode.protocolError, 'SETTINGS of a stream');
    if ((flags & flag.ack) !== 0) {
      if (payload.length > 0) throw new ConnectionError(errorCode.frameSizeError, 'SETTINGS');
      const tableBytes = this.#unacknowledged.shift();
      if (tableBytes === undefined) this.#countIdleFrame();
      else this.#blocks.limitTable(tableBytes);
      return;
    }
    if (payload.length % 6 !== 0) throw new ConnectionError(errorCode.frameSizeError, 'SETTINGS');
    if (payload.length / 6 > this.#limits.maxSettings || !this.#settingsFrames.take(performance.now()))
      throw new ConnectionError(errorCode.enhanceYourCalm, 'too many settings');
    this.#hasSettings = true;
    for (let at = 0; at < payload.length; at += 6)
      this.#onSetting(payload.readUInt16BE(at), payload.readUInt32BE(at + 2));
    this.#writer.acknowledgeSettings();
    this.#bodies.pumpWaiting();
  }

  #onSetting(name: number, value: number): void {
    if (name === setting.enablePush && value > 1)
      throw new ConnectionError(errorCode.protocolError, 'ENABLE_PUSH');
    if (name === setting.maxFrameSize && (value < maxFrameBytes || value > 0xffffff))
      throw new ConnectionError(errorCode.protocolError, 'MAX_FRAME_SIZE');
    if (name !== setting.initialWindowSize) return;
    if (value > mostWindowBytes) throw new ConnectionError(errorCode.flowControlError, 'INITIAL_WINDOW_SIZE');
    this.#bodies.setStreamWindow(value, this.#ports.values());
  }

  #onPing(flags: number, stream: number, payload: Buffer): void {
    if (stream !== 0) throw new ConnectionError(errorCode.protocolError, 'PING of a stream');
    if (payload.length !== 8) throw new ConnectionError(errorCode.frameSizeError, 'PING');
    this.#countIdleFrame();
    if ((flags & flag.ack) !== 0) {
      this.#pings.shift()?.(null);
      return;
    }
    if (!this.#out.isStuck) this.#waitingPings = 0;
    else if (++this.#waitingPings > this.#limits.maxWaitingPings)
      throw new ConnectionError(errorCode.enhanceYourCalm, 'answers to PING are not taken');
    this.#sendPing(true, payload);
  }

  #onReset(stream: number, payload: Buffer): void {
    if (payload.length !== 4) throw new ConnectionError(errorCode.frameSizeError, 'RST_STREAM');
    if (stream === 0 || (stream > this.#lastStream && stream <= this.#lastServed))
      throw new ConnectionError(errorCode.protocolError, 'a stream that is not open');
    this.#countReset();
    const port = this.#ports.get(stream);
    if (port === undefined) return;
    this.#forget(port, 'abandoned');
    port.closeWith(payload.readUInt32BE(0), true);
    this.#afterStream();
  }

  #onGoaway(stream: number, payload: Buffer): void {
    if (stream !== 0) throw new ConnectionError(errorCode.protocolError, 'GOAWAY of a stream');
    if (payload.length < 8) throw new ConnectionError(errorCode.frameSizeError, 'GOAWAY');
    // Whatever its reason: streams that it has begun are served to their end.
    this.close();
  }

  #onPriority(stream: number, payload: Buffer): void {
    if (stream === 0) throw new ConnectionError(errorCode.protocolError, 'PRIORITY of nothing');
    this.#countIdleFrame();
    const isWrong = payload.length !== 5;
    if (!isWrong && readUint31(payload, 0) !== stream) return;
    const port = this.#ports.get(stream);
    const code = isWrong ? errorCode.frameSizeError : errorCode.protocolError;
    if (port !== undefined) this.#refuseOpen(port, code);
    else if (isWrong || stream > this.#lastStream) throw new ConnectionError(code, 'PRIORITY');
  }

  #countIdleFrame(): void {
    if (!this.#idleFrames.take(this.#activeMs))
      throw new ConnectionError(errorCode.enhanceYourCalm, 'frames that bring nothing forward');
  }

  #countReset(): void {
    if (!this.#resets.take(this.#activeMs))
      throw new ConnectionError(errorCode.enhanceYourCalm, 'too many resets');
  }

  /** A stream that never became a request. Counts as a reset: a client could make us send them without end. */
  #refuse(stream: number, code: ErrorCode): void {
    this.#lastStream = Math.max(this.#lastStream, stream);
    this.#closed.add(stream, 'reset');
    this.#sendReset(stream, code);
    this.#countReset();
  }

  #refuseOpen(port: StreamPort, code: ErrorCode): void {
    this.reset(port, code);
    this.#countReset();
  }

  // What leaves: for streams.

  hold(bytes: number): void {
    this.#heldBytes += bytes;
  }

  respond(port: StreamPort, status: number, headers: OutgoingHttpHeaders | undefined, isEnd: boolean): void {
    if (port.isClosed || this.#isEnded) return;
    this.#activeMs = performance.now();
    this.#writer.head(port.id, status, headers, isEnd);
    if (isEnd) this.#localEnd(port);
  }

  /** Sends what the windows take of what a port has; the rest waits. */
  pump(port: StreamPort): void {
    const isEnd = port.unsent?.isEnd === true;
    if (port.isClosed || this.#isEnded || !this.#bodies.pump(port)) return;
    this.#activeMs = performance.now();
    if (isEnd) this.#localEnd(port);
  }

  /** More of a body may come. */
  credit(port: StreamPort, bytes: number): void {
    port.uncredited += bytes;
    if (port.uncredited * 2 < this.#limits.streamWindowBytes || port.isRemoteEnded) return;
    port.receiveWindow += port.uncredited;
    if (!port.isClosed && !this.#isEnded) this.#writer.windowUpdate(port.id, port.uncredited);
    port.uncredited = 0;
  }

  reset(port: StreamPort, code: ErrorCode): void {
    if (port.isClosed) return;
    this.#forget(port, 'reset');
    if (!this.#isEnded) this.#sendReset(port.id, code);
    port.closeWith(code, false);
    this.#afterStream();
  }

  #localEnd(port: StreamPort): void {
    port.isLocalEnded = true;
    if (port.isRemoteEnded) this.#finished(port);
    else port.owner.onAnswered();
  }

  #finished(port: StreamPort): void {
    if (port.isClosed) return;
    this.#forget(port, 'ended');
    port.closeWith(errorCode.noError, false);
    this.#afterStream();
  }

  #forget(port: StreamPort, how: Ending): void {
    port.isClosed = true;
    this.#ports.delete(port.id);
    this.#bodies.forget(port);
    this.#closed.add(port.id, how);
  }

  #afterStream(): void {
    if (this.#isClosing && this.#ports.size === 0) this.#end();
  }

  #sent(): void {
    this.#activeMs = performance.now();
    if (!this.#isEnded) this.#bodies.sent();
  }

  #sendReset(stream: number, code: ErrorCode): void {
    this.#writer.reset(stream, code);
    this.#boundControl();
  }

  #sendPing(isAnswer: boolean, payload: Buffer): void {
    this.#writer.ping(isAnswer, payload);
    this.#boundControl();
  }

  /** Nothing useful waits behind answers that nobody takes. */
  #boundControl(): void {
    if (this.#out.isStuck && this.#out.waitingBytes > mostControlBytes + this.#bodies.queuedBytes)
      this.destroy();
  }

  // The end.

  #fail(code: ErrorCode): void {
    if (this.#isEnded) return;
    this.goaway(code, this.#lastStream);
    this.#end();
    this.#abandon();
  }

  /** Nothing more is read; what is written leaves. */
  #end(): void {
    if (this.#isEnded) return;
    this.#isEnded = true;
    this.#reader.stop();
    this.#out.flush();
    this.socket.end();
    setTimeout(() => this.destroy(), farewellMs).unref();
  }

  #abandon(): void {
    for (const port of [...this.#ports.values()]) {
      this.#forget(port, 'reset');
      port.closeWith(errorCode.cancel, true);
    }
    for (const done of this.#pings.splice(0)) done(new Error('closed'));
  }

  #report(): void {
    if (this.#isReported) return;
    this.#isReported = true;
    this.#events.onClose();
  }
}
