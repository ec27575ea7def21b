/**
 * The answer to a small key call, written without Fastify's reply. What Fastify does with a request and its answer in general (looking
 * up a route that is known already, hooks, content types, serializers) is 3 to 5 µs of some 60, and storage nodes make such a call for each object they
 * list. The bytes on the wire are the same: the recordings of test/wire are answered this way too.
 */
import type { FastifyReply } from 'fastify';
import type { ServerResponse } from 'node:http';
import type { Http2Response } from '../../server/http2-exchange.ts';
import type { LaneResponse } from '../../server/http1-lane.ts';

export type SmallResponse = ServerResponse | Http2Response | LaneResponse;

/** What a KES exchange asks of its answer; Fastify's reply has it too. */
export interface KesReply {
  readonly raw: FastifyReply['raw'];
  readonly sent: boolean;
  code(status: number): unknown;
  header(name: string, value: string | undefined): unknown;
  send(body?: Buffer): unknown;
  hijack(): unknown;
}

export class DirectReply implements KesReply {
  readonly #raw: SmallResponse;
  readonly #headers: Record<string, string | number> = {};
  #status = 200;
  #hijacked = false;

  constructor(raw: SmallResponse) {
    this.#raw = raw;
  }

  get raw(): FastifyReply['raw'] {
    return this.#raw as unknown as FastifyReply['raw'];
  }

  get sent(): boolean {
    return this.#hijacked || this.#raw.writableEnded;
  }

  code(status: number): void {
    this.#status = status;
  }

  header(name: string, value: string | undefined): void {
    if (value !== undefined) this.#headers[name] = value;
  }

  send(body?: Buffer): void {
    const headers = this.#headers;
    headers['content-length'] = body === undefined ? '0' : body.length;
    this.#raw.writeHead(this.#status, headers);
    this.#raw.end(body);
  }

  hijack(): void {
    this.#hijacked = true;
  }
}
