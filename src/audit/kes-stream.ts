/**
 * The two log streams of the KES face (`/v1/log/audit`, `/v1/log/error`): newline-delimited JSON in the form that today's
 * client library decodes. KES itself sends nothing there (a defect since 2023-10), so these are what its documents promise.
 */
import type { AuditRecord } from './record.ts';

/**
 * One audit event, newline included. `response.time` is in nanoseconds: that is how clients decode it, and what KES sent
 * until 2023-09; later versions say milliseconds in a field nobody could read.
 */
export function kesAuditLine(record: AuditRecord): string {
  const request = { ip: record.sourceIp, path: record.path ?? '', identity: record.identity };
  const response = { code: record.status, time: Math.max(0, Math.round(record.durationMs * 1e6)) };
  return `${JSON.stringify({ time: rfc3339Nano(record.timeMs), request, response })}\n`;
}

/** One error event, newline included. */
export function kesErrorLine(message: string): string {
  return `${JSON.stringify({ message })}\n`;
}

/** As Go prints it: no zeros at the end of the fraction, no fraction when it is zero. */
function rfc3339Nano(timeMs: number): string {
  const date = new Date(timeMs);
  if (Number.isNaN(date.getTime())) return '0001-01-01T00:00:00Z';
  return date.toISOString().replace(/\.?0*Z$/, 'Z');
}
