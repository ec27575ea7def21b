/** `/v1/log/audit` and `/v1/log/error`: events as they happen, one JSON line each (broken in the last KES; wire/logs). */
import type { FastifyReply } from 'fastify';
import { kesAuditLine, kesErrorLine } from '../../audit/index.ts';
import type { ServerInfo } from '../../server/info.ts';
import type { Tenant } from '../../tenants/tenant.ts';

/** A reader this far behind loses events rather than the server its memory. */
const maxBacklogBytes = 1 << 20;

interface Sink {
  readonly writableLength?: number;
  writeHead(status: number, headers: Record<string, string>): unknown;
  flushHeaders(): void;
  write(line: string): boolean;
  on(event: 'close', listener: () => void): unknown;
}

export function streamLog(kind: 'audit' | 'error', tenant: Tenant, server: ServerInfo, reply: FastifyReply, ended: () => void): void {
  reply.hijack();
  const sink = reply.raw as unknown as Sink;
  sink.writeHead(200, { 'content-type': 'application/x-ndjson' });
  sink.flushHeaders();
  const send = (line: string): void => {
    if ((sink.writableLength ?? 0) < maxBacklogBytes) sink.write(line);
  };
  const unsubscribe =
    kind === 'audit'
      ? tenant.audit.subscribe((record) => send(kesAuditLine(record)))
      : server.onErrorLine((message) => send(kesErrorLine(message)));
  const leave = server.openStream(sink as unknown as { end(): void });
  sink.on('close', () => {
    unsubscribe();
    leave();
    ended();
  });
}
