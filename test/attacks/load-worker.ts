/** Callers on a thread of their own, so that measuring does not wait for the server it measures. */
import { parentPort, workerData } from 'node:worker_threads';
import { pause, Session } from './client.ts';
import type { Credentials } from './pki.ts';

export interface LoadOrder {
  readonly port: number;
  readonly credentials: Credentials;
  readonly path: string;
  /** Calls at once, all on one session. */
  readonly callers: number;
  readonly durationMs: number;
  /** Between two calls of a caller. */
  readonly pauseMs: number;
}

export interface LoadReport {
  readonly statuses: Readonly<Record<string, number>>;
  readonly p99Ms: number;
}

async function load({
  port,
  credentials,
  path,
  callers,
  durationMs,
  pauseMs,
}: LoadOrder): Promise<LoadReport> {
  const session = await Session.open({ port, credentials });
  const statuses: Record<string, number> = {};
  const took: number[] = [];
  const ask = (): Promise<{ status: number }> => session.ask({ method: 'POST', path, body: '{}' });
  for (let i = 0; i < 20; i++) await ask();
  const endMs = performance.now() + durationMs;
  const call = async (): Promise<void> => {
    while (performance.now() < endMs) {
      const startMs = performance.now();
      const { status } = await ask().catch(() => ({ status: 0 }));
      took.push(performance.now() - startMs);
      statuses[status] = (statuses[status] ?? 0) + 1;
      if (pauseMs > 0) await pause(pauseMs);
    }
  };
  await Promise.all(Array.from({ length: callers }, call));
  session.close();
  took.sort((a, b) => a - b);
  return { statuses, p99Ms: took[Math.floor(took.length * 0.99)] ?? Infinity };
}

if (parentPort !== null) parentPort.postMessage(await load(workerData as LoadOrder));
