/** A wire between a client and a server of a test, for the troubles of networks. */
import { once } from 'node:events';
import { createServer, connect, type AddressInfo, type Socket } from 'node:net';
import type { Test } from 'tap';

/** Calls go through it, and it can be cut without a word, or slowed down. */
export class Wire {
  isCut = false;
  delayMs = 0;
  readonly #server;
  readonly #sockets = new Set<Socket>();
  #target: number;

  private constructor(target: number) {
    this.#target = target;
    this.#server = createServer((near) => {
      const far = connect(this.#target, '127.0.0.1');
      for (const [from, to] of [
        [near, far],
        [far, near],
      ] as const) {
        this.#sockets.add(from);
        from.on('data', (bytes: Buffer) => {
          if (this.isCut) return;
          // Half of the way there, half on the way back.
          if (this.delayMs === 0) to.write(bytes);
          else setTimeout(() => void (to.writable && to.write(bytes)), this.delayMs / 2);
        });
        from.on('error', () => to.destroy());
        from.on('close', () => to.destroy());
      }
    });
  }

  static async start(t: Test, target: number): Promise<Wire> {
    const wire = new Wire(target);
    wire.#server.listen(0, '127.0.0.1');
    await once(wire.#server, 'listening');
    t.teardown(() => {
      for (const socket of wire.#sockets) socket.destroy();
      wire.#server.close();
    });
    return wire;
  }

  get port(): number {
    return (this.#server.address() as AddressInfo).port;
  }

  /** Nothing passes any more, and nobody is told: what a firewall does. */
  cut(): void {
    this.isCut = true;
  }

  /** Old connections stay dead; new ones pass. */
  mend(): void {
    for (const socket of this.#sockets) socket.destroy();
    this.isCut = false;
  }
}
