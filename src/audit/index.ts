/** The door of audit/: what a record holds, where records go, and how KES's clients read them. */
export { auditLine, maxLineBytes } from './line.ts';
export { kesAuditLine, kesErrorLine } from './kes-stream.ts';
export { begunStatus, type AuditRecord, type AuditStream } from './record.ts';
export { createServerAudit, type ServerAudit, type ServerAuditOptions } from './server-audit.ts';
export {
  openAuditStream,
  type AuditFault,
  type AuditFile,
  type AuditObserver,
  type AuditStreamOptions,
} from './stream.ts';
export { hungWriters } from './writer.ts';
