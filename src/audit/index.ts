/** The door of audit/: what a record holds, where records go, and how KES's clients read them. */
export { recordsOfItems } from './items.ts';
export { auditLine, maxLineBytes } from './line.ts';
export { kesAuditLine, kesErrorLine } from './kes-stream.ts';
export { begunStatus, type AuditItem, type AuditRecord, type AuditStream } from './record.ts';
export { createServerAudit, type ServerAudit, type ServerAuditOptions } from './server-audit.ts';
export type { AuditFault, AuditFile, AuditObserver, AuditStreamOptions, ChainStatus } from './file.ts';
export { openAuditStream } from './stream.ts';
export { hungWriters } from './writer.ts';
export { objectOf, type ObjectName } from './context.ts';
export { formatAnchors, parseAnchors, readAnchors, type Anchor } from './anchor.ts';
export {
  formatNoteKey,
  isSignedBy,
  noteKeyNamed,
  parseCheckpoint,
  parseNoteKey,
  type Checkpoint,
  type NoteKey,
} from './checkpoint.ts';
export { checkProof, formatProof, parseProof, proveRecord } from './proof.ts';
export { searchTrail, type SearchFilter } from './search.ts';
export {
  followTimeMs,
  readRecords,
  searchTimeMs,
  verifyInThread,
  verifyTimeMs,
  type Reading,
  type SearchEnd,
  type SearchTask,
} from './reading.ts';
export { readDescription, streamFolders } from './segment.ts';
export {
  verifyTrail,
  type Finding,
  type StreamReport,
  type TrailReport,
  type VerifyOptions,
} from './verifier.ts';
