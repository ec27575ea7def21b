/** HTTP/2 frames as an attacker writes them: what a well-behaved client library would refuse to send. */
import type { TLSSocket } from 'node:tls';
import { openSocket, type Target } from './client.ts';

export const frameTypes = {
  data: 0,
  headers: 1,
  priority: 2,
  reset: 3,
  settings: 4,
  ping: 6,
  goaway: 7,
  windowUpdate: 8,
  continuation: 9,
} as const;
export const flags = { endStream: 1, ack: 1, endHeaders: 4 } as const;

export function frame(
  type: keyof typeof frameTypes,
  flag: number,
  stream: number,
  payload: Buffer = Buffer.alloc(0),
): Buffer {
  const head = Buffer.alloc(9);
  head.writeUIntBE(payload.length, 0, 3);
  head[3] = frameTypes[type];
  head[4] = flag;
  head.writeUInt32BE(stream, 5);
  return Buffer.concat([head, payload]);
}

/** A string without Huffman coding (RFC 7541 §5.2). */
function text(value: string): Buffer {
  const bytes = Buffer.from(value, 'latin1');
  const parts = [Buffer.from([Math.min(bytes.length, 127)])];
  for (let rest = bytes.length - 127; rest >= 0; rest = Math.floor(rest / 128)) {
    parts.push(Buffer.from([rest >= 128 ? (rest % 128) | 0x80 : rest]));
    if (rest < 128) break;
  }
  return Buffer.concat([...parts, bytes]);
}

/** A header block: every field literal and not indexed (RFC 7541 §6.2.2). */
export function headerBlock(fields: readonly (readonly [string, string])[]): Buffer {
  return Buffer.concat(
    fields.map(([name, value]) => Buffer.concat([Buffer.from([0]), text(name), text(value)])),
  );
}

export function request(
  method: string,
  path: string,
  more: readonly (readonly [string, string])[] = [],
): Buffer {
  return headerBlock([
    [':method', method],
    [':scheme', 'https'],
    [':path', path],
    [':authority', 'localhost'],
    ...more,
  ]);
}

export const preface = Buffer.concat([
  Buffer.from('PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n'),
  frame('settings', 0, 0),
]);

/** A connection whose preface is sent, and what the server sends on it. */
export class RawConnection {
  readonly socket: TLSSocket;
  isClosed = false;
  receivedBytes = 0;
  /** Status codes are in header blocks that need a decoder; frames are enough to tell who was answered. */
  readonly frames: { type: number; flags: number; stream: number; payload: Buffer }[] = [];
  #rest = Buffer.alloc(0);

  private constructor(socket: TLSSocket) {
    this.socket = socket;
    socket.on('close', () => (this.isClosed = true));
    socket.on('end', () => (this.isClosed = true));
    socket.on('data', (chunk: Buffer) => this.#take(chunk));
  }

  static async open(target: Target): Promise<RawConnection> {
    const connection = new RawConnection(await openSocket(target, 'h2'));
    connection.send(preface);
    return connection;
  }

  send(bytes: Buffer): boolean {
    return !this.isClosed && this.socket.writable ? this.socket.write(bytes) : false;
  }

  /** The error code of the server's GOAWAY; undefined when there was none. */
  get goawayCode(): number | undefined {
    return this.frames.find(({ type }) => type === frameTypes.goaway)?.payload.readUInt32BE(4);
  }

  #take(chunk: Buffer): void {
    this.receivedBytes += chunk.length;
    this.#rest = Buffer.concat([this.#rest, chunk]);
    while (this.#rest.length >= 9) {
      const length = this.#rest.readUIntBE(0, 3);
      if (this.#rest.length < 9 + length) return;
      if (this.frames.length < 10_000) {
        this.frames.push({
          type: this.#rest[3]!,
          flags: this.#rest[4]!,
          stream: this.#rest.readUInt32BE(5) & 0x7fffffff,
          payload: Buffer.from(this.#rest.subarray(9, 9 + length)),
        });
      }
      this.#rest = this.#rest.subarray(9 + length);
    }
  }
}
