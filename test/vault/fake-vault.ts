/** An HTTP server that answers as told: for what a real Vault cannot be made to answer. */
import { once } from 'node:events';
import http, { type IncomingMessage, type ServerResponse } from 'node:http';
import type { AddressInfo } from 'node:net';
import type { Test } from 'tap';

export interface FakeCall {
  readonly method: string;
  readonly path: string;
  readonly headers: http.IncomingHttpHeaders;
  readonly body: string;
}

export interface FakeAnswer {
  readonly status: number;
  readonly body?: unknown;
  readonly headers?: Record<string, string>;
}

export class FakeVault {
  readonly calls: FakeCall[] = [];
  connections = 0;
  readonly #server: http.Server;
  /** What it answers; `sys/health` is well unless this says otherwise. */
  answer: (
    call: FakeCall,
    request: IncomingMessage,
    response: ServerResponse,
  ) => FakeAnswer | Promise<FakeAnswer> | undefined;

  private constructor(answer: FakeVault['answer']) {
    this.answer = answer;
    this.#server = http.createServer((request, response) => {
      const chunks: Buffer[] = [];
      request.on('data', (chunk: Buffer) => chunks.push(chunk));
      request.on('end', () => {
        const call = {
          method: request.method!,
          path: request.url!,
          headers: request.headers,
          body: Buffer.concat(chunks).toString(),
        };
        this.calls.push(call);
        void Promise.resolve(this.answer(call, request, response)).then((answer) => {
          if (answer === undefined) return;
          response.writeHead(answer.status, answer.headers);
          response.end(answer.body === undefined ? '' : JSON.stringify(answer.body));
        });
      });
    });
    this.#server.on('connection', () => this.connections++);
  }

  static async start(t: Test, answer: FakeVault['answer']): Promise<FakeVault> {
    const fake = new FakeVault(answer);
    fake.#server.listen(0, '127.0.0.1');
    await once(fake.#server, 'listening');
    t.teardown(() => {
      fake.#server.closeAllConnections();
      fake.#server.close();
    });
    return fake;
  }

  get address(): string {
    return `http://127.0.0.1:${String((this.#server.address() as AddressInfo).port)}`;
  }

  count(pattern: RegExp): number {
    return this.calls.filter(({ path }) => pattern.test(path)).length;
  }
}
