/** `/v1/log/audit` and `/v1/log/error`: events as they happen, one JSON line each (broken in the last KES; wire/logs). */
import type { KesReply } from './direct-reply.ts';
import {
  begunStatus,
  kesAuditLine,
  kesErrorLine,
  type AuditRecord,
  type AuditStream,
} from '../../audit/index.ts';
import type { ServerInfo } from '../../server/info.ts';
import type { Tenant } from '../../tenants/tenant.ts';

/** A reader this far behind loses events rather than the server its memory. */
const maxBacklogBytes = 1 << 20;

/** A reader that may not read on gets nothing more after this time, also when nothing was reloaded: certificates expire. */
const rejudgeMs = 1000;

interface Sink {
  end(): void;
  readonly destroyed: boolean;
  readonly writableLength?: number;
  writeHead(status: number, headers: Record<string, string>): unknown;
  flushHeaders(): void;
  /** HTTP/2. */
  outlastSilence?(): void;
  write(line: string): boolean;
  on(event: 'close', listener: () => void): unknown;
}

export interface LogReader {
  readonly tenant: Tenant;
  /** The server's own audit stream, for the people of an only tenant: they may read what the logs say of everybody. */
  readonly strangers: AuditStream | undefined;
  readonly server: ServerInfo;
  readonly reply: KesReply;
  /** False once the reader's certificate or policy does not allow this any more. */
  readonly mayGoOn: () => boolean;
  readonly ended: () => void;
}

export function streamLog(
  kind: 'audit' | 'error',
  { tenant, strangers, server, reply, mayGoOn, ended }: LogReader,
): void {
  reply.hijack();
  if ((reply.raw as unknown as Sink).destroyed) {
    // The reader went away while its record was written: no 'close' will come any more.
    ended();
    return;
  }
  const sink = reply.raw as unknown as Sink;
  sink.writeHead(200, { 'content-type': 'application/x-ndjson' });
  sink.flushHeaders();
  sink.outlastSilence?.();
  let isOver = false;
  const end = (): void => {
    isOver = true;
    sink.end();
  };
  let judgedAtMs = performance.now();
  const rejudge = (): void => {
    judgedAtMs = performance.now();
    if (!mayGoOn()) end();
  };
  const send = (line: string): void => {
    if (isOver) return;
    if (performance.now() - judgedAtMs >= rejudgeMs) rejudge();
    if (!isOver && (sink.writableLength ?? 0) < maxBacklogBytes) sink.write(line);
  };
  const ofAudit = (record: AuditRecord): void => {
    // KES's clients know one event per request.
    if (record.status !== begunStatus) send(kesAuditLine(record));
  };
  const unsubscribe =
    kind === 'audit'
      ? [tenant.audit.subscribe(ofAudit), strangers?.subscribe(ofAudit)]
      : [
          server.onErrorLine((message, of) => {
            if (strangers !== undefined || of === tenant.name) send(kesErrorLine(message));
          }),
        ];
  const leave = server.openStream({ end, rejudge });
  sink.on('close', () => {
    for (const each of unsubscribe) each?.();
    leave();
    ended();
  });
}
