/** A collector as small as can be: takes OTLP over HTTP in its JSON form, keeps what came, and can refuse or go away. */
import { once } from 'node:events';
import http from 'node:http';
import type { AddressInfo } from 'node:net';
import type { Test } from 'tap';

export interface ReceivedSpan {
  readonly traceId: string;
  readonly spanId: string;
  readonly parentSpanId: string | undefined;
  readonly name: string;
  readonly kind: number;
  readonly attributes: Readonly<Record<string, string | number>>;
  readonly failed: boolean;
}

interface Wire {
  readonly resourceSpans: {
    readonly scopeSpans: {
      readonly spans: (Omit<ReceivedSpan, 'attributes' | 'failed'> & {
        readonly attributes: { readonly key: string; readonly value: Record<string, string | number> }[];
        readonly status: { readonly code?: number };
      })[];
    }[];
  }[];
}

export class OtlpReceiver {
  readonly url: string;
  /** Everything that came, as it came. */
  readonly bodies: Buffer[] = [];
  readonly authorizations = new Set<string | undefined>();
  readonly spans: ReceivedSpan[] = [];
  status = 200;
  readonly #server: http.Server;

  private constructor(server: http.Server) {
    this.#server = server;
    this.url = `http://127.0.0.1:${(server.address() as AddressInfo).port}/v1/traces`;
    server.on('request', (request, response) => {
      const chunks: Buffer[] = [];
      request.on('data', (chunk: Buffer) => chunks.push(chunk));
      request.on('end', () => {
        this.#take(Buffer.concat(chunks), request);
        response.writeHead(this.status, { 'content-type': 'application/json' }).end('{}');
      });
    });
  }

  static async start(t: Test): Promise<OtlpReceiver> {
    const server = http.createServer().listen(0, '127.0.0.1');
    await once(server, 'listening');
    t.teardown(() => {
      server.close();
      server.closeAllConnections();
    });
    return new OtlpReceiver(server);
  }

  #take(body: Buffer, { headers }: http.IncomingMessage): void {
    this.bodies.push(body, Buffer.from(JSON.stringify(headers)));
    this.authorizations.add(headers.authorization);
    if (this.status !== 200) return;
    for (const { scopeSpans } of (JSON.parse(body.toString()) as Wire).resourceSpans)
      for (const { spans } of scopeSpans)
        for (const { attributes, status, ...span } of spans)
          this.spans.push({
            ...span,
            attributes: Object.fromEntries(
              attributes.map(({ key, value }) => [key, Object.values(value)[0]!] as const),
            ),
            failed: status.code === 2,
          });
  }

  of(traceId: string): ReceivedSpan[] {
    return this.spans.filter((span) => span.traceId === traceId);
  }

  close(): void {
    this.#server.close();
    this.#server.closeAllConnections();
  }
}
