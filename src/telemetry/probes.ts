/**
 * The plain listener for orchestrators and Prometheus: /livez, /readyz, /metrics, nothing else. No certificate is asked, so
 * it belongs on a network that clients do not reach. It holds no secret, reads no body, and is bounded in every way.
 */
import http from 'node:http';
import type { AddressInfo } from 'node:net';
import { wantsOpenMetrics, type MetricsPage } from './exposition.ts';
import type { HealthReport } from './health.ts';

export interface ProbeServer {
  readonly port: number;
  close(): Promise<void>;
}

/** Probes come from a kubelet, a balancer or two and Prometheus. */
const maxConnections = 64;
const maxHeaderBytes = 8_192;
const headersTimeoutMs = 5_000;
const requestTimeoutMs = 10_000;
const keepAliveTimeoutMs = 5_000;
const timeoutCheckMs = 1_000;
const maxRequestsPerSocket = 1_000;

interface Answer {
  readonly status: number;
  readonly type: string;
  readonly body: string;
}

/** What the probes show: of one process, or of a supervisor's workers. */
export interface Probed {
  /** False when what should answer does not. */
  alive(): boolean | Promise<boolean>;
  report(): HealthReport | Promise<HealthReport>;
  metrics(openMetrics: boolean): Promise<MetricsPage>;
}

/** @throws the listener's error, such as EADDRINUSE */
export async function createProbeServer(
  listen: {
    readonly host: string;
    readonly port: number;
  },
  probed: Probed,
): Promise<ProbeServer> {
  const rendering = new Map<boolean, Promise<Answer>>();

  /** However many ask at once, the numbers are rendered once. */
  const metricsPage = (openMetrics: boolean): Promise<Answer> => {
    const known = rendering.get(openMetrics);
    if (known !== undefined) return known;
    const page = probed
      .metrics(openMetrics)
      .then(({ contentType, body }) => ({ status: 200, type: contentType, body }))
      .finally(() => rendering.delete(openMetrics));
    rendering.set(openMetrics, page);
    return page;
  };

  const answer = async ({
    method = '',
    url: target = '',
    headers,
  }: http.IncomingMessage): Promise<Answer> => {
    const [path = '', query = ''] = target.split('?', 2);
    if (path !== '/livez' && path !== '/readyz' && path !== '/metrics') return text(404, 'not found');
    if (method !== 'GET' && method !== 'HEAD') return text(405, 'method not allowed');
    if (path === '/livez')
      return (await probed.alive()) ? text(200, 'ok') : text(503, 'a process does not answer');
    if (path === '/metrics') return metricsPage(wantsOpenMetrics(headers.accept));
    const { ready, failing } = await probed.report();
    const well = ready && !(query === 'strict' && failing.length > 0);
    const status = well ? (failing.length > 0 ? 'degraded' : 'ready') : 'unavailable';
    return {
      status: well ? 200 : 503,
      type: 'application/json',
      body: `${JSON.stringify({ status, failing })}\n`,
    };
  };

  const server = http.createServer(
    {
      maxHeaderSize: maxHeaderBytes,
      headersTimeout: headersTimeoutMs,
      requestTimeout: requestTimeoutMs,
      keepAliveTimeout: keepAliveTimeoutMs,
      connectionsCheckingInterval: timeoutCheckMs,
    },
    (request, response) => {
      answer(request).then(
        (a) => send(request, response, a),
        () => send(request, response, text(500, 'internal error')),
      );
    },
  );
  server.maxConnections = maxConnections;
  server.maxRequestsPerSocket = maxRequestsPerSocket;
  await new Promise<void>((resolve, reject) => {
    server.once('error', reject);
    server.listen({ port: listen.port, host: listen.host }, resolve);
  });
  return {
    port: (server.address() as AddressInfo).port,
    close: () =>
      new Promise((resolve) => {
        server.close(() => resolve());
        server.closeAllConnections();
      }),
  };
}

function text(status: number, body: string): Answer {
  return { status, type: 'text/plain; charset=utf-8', body: `${body}\n` };
}

function send(
  request: http.IncomingMessage,
  response: http.ServerResponse,
  { status, type, body }: Answer,
): void {
  const headers: http.OutgoingHttpHeaders = {
    'content-type': type,
    'content-length': Buffer.byteLength(body),
    'cache-control': 'no-store',
    'x-content-type-options': 'nosniff',
  };
  if (status === 405) headers.allow = 'GET, HEAD';
  // A body is never read: whoever sends one gets the answer and no second request.
  if (request.headers['content-length'] !== undefined || request.headers['transfer-encoding'] !== undefined) {
    headers.connection = 'close';
  }
  response.writeHead(status, headers);
  response.end(request.method === 'HEAD' ? undefined : body);
}
