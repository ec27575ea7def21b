/**
 * One audit record as one line of JSON with ECS field names (Elastic Common Schema 8.11; docs/audit.md lists them).
 *
 * Written by hand for three reasons: it is the allow-list (a field not named here cannot appear), it has one form
 * per record (keys sorted, no white space, ASCII only), and it is several times faster than a generic serializer.
 * Whatever the values hold, the line is one line, is at most {@link maxLineBytes} bytes and parses as JSON: everything
 * outside printable ASCII is escaped (line and paragraph separators, terminal controls, bidirectional marks), half a
 * surrogate pair becomes U+FFFD, and a long value is cut, marked, and named in `sello.cut`.
 */
import type { Operation } from '../access/operations.ts';
import { begunStatus, type AuditItem, type AuditRecord } from './record.ts';

/** Includes the newline. 4 KiB is also what POSIX promises to be one piece on a pipe (PIPE_BUF). */
export const maxLineBytes = 4096;

/**
 * Room for each free value, in bytes once escaped, quotes excluded. Their sum and the fixed text stay below
 * {@link maxLineBytes}; a test holds that.
 */
const room = {
  requestId: 64,
  traceId: 32,
  tenant: 63,
  identity: 64,
  certificateSerial: 64,
  certificateIssuer: 320,
  sourceIp: 64,
  face: 16,
  method: 16,
  path: 640,
  operation: 16,
  key: 96,
  bucket: 64,
  object: 512,
  contextSha256: 64,
  rule: 384,
  error: 64,
  reason: 384,
  vaultRequestId: 64,
} as const;

/** Bytes kept free for the mark of a cut value: `…(+12345)`, its ellipsis escaped. */
const markBytes = 18;

/** Anything that JSON must or that we choose to escape: all but printable ASCII without quote and backslash. */
const unsafe = /[^ !#-[\]-~]/;

/** ECS `event.category` and `event.type` of each operation. */
const events: Readonly<Record<Operation, string>> = {
  create: event('iam', 'creation'),
  import: event('iam', 'creation'),
  describe: event('iam', 'access'),
  list: event('iam', 'access'),
  delete: event('iam', 'deletion'),
  issue: event('iam', 'access'),
  encrypt: event('iam', 'access'),
  unwrap: event('iam', 'access'),
  mac: event('iam', 'access'),
  rewrap: event('iam', 'access'),
  rotate: event('iam', 'change'),
  state: event('iam', 'change'),
  seal: event('iam', 'access'),
  open: event('iam', 'access'),
  metrics: event('configuration', 'access'),
  status: event('configuration', 'access'),
  'read-audit': event('configuration', 'access'),
  admin: event('configuration', 'change'),
};

const noOperation = event('iam', 'access');

/** Which values of the line at hand were cut; module state, since a line is made in one go and mostly nothing is cut. */
let cut = '';

function event(category: string, type: string): string {
  return `"category":["${category}"],"duration":|,"kind":"event","outcome":"|","type":["${type}"`;
}

const eventParts = new Map<string, readonly [string, string, string]>();
for (const [operation, text] of [...Object.entries(events), ['', noOperation] as const]) {
  const [category = '', outcome = '', type = ''] = text.split('|');
  const action = operation === '' ? '' : `"action":"${operation}",`;
  eventParts.set(operation, [`"event":{${action}${category}`, outcome, type]);
}

/**
 * The record's line, newline included. ASCII only, so its length is its size in bytes. Never throws and never
 * looks at a property that {@link AuditRecord} does not name.
 */
export function auditLine(record: AuditRecord): string {
  cut = '';
  const { operation, status } = record;
  const known = eventParts.get(operation ?? '');
  const parts = known ?? eventParts.get('')!;

  let line = `{"@timestamp":"${timestamp(record.timeMs)}","ecs":{"version":"8.11"},`;
  if (record.error !== undefined) line += `"error":{"code":"${text(record.error, 'error')}"},`;
  line += parts[0] + whole(record.durationMs * 1e6) + parts[1];
  if (status === begunStatus) line += 'unknown';
  else line += status < 400 && record.decision !== 'deny' ? 'success' : 'failure';
  if (record.reason !== undefined) line += `","reason":"${text(record.reason, 'reason')}`;
  line +=
    parts[2] + (record.decision === 'allow' ? ',"allowed"' : record.decision === 'deny' ? ',"denied"' : '');
  line += `]},"http":{"request":{"id":"${text(record.requestId, 'requestId')}`;
  if (record.method !== undefined) line += `","method":"${text(record.method, 'method')}`;
  line += `"},"response":{"status_code":${whole(status)}}}`;
  if (record.tenant !== undefined) line += `,"organization":{"id":"${text(record.tenant, 'tenant')}"}`;
  if (record.rule !== undefined) line += `,"rule":{"name":"${text(record.rule, 'rule')}"}`;

  let own = '';
  if (record.aborted !== undefined) own += `"aborted":${record.aborted === true ? 'true' : 'false'},`;
  if (record.bytesIn !== undefined) own += `"bytes_in":${whole(record.bytesIn)},`;
  if (record.bytesOut !== undefined) own += `"bytes_out":${whole(record.bytesOut)},`;
  if (record.bucket !== undefined) {
    own += `"context":{"bucket":"${text(record.bucket, 'bucket')}"`;
    if (record.object !== undefined) own += `,"object":"${text(record.object, 'object')}"`;
    own += '},';
  }
  if (record.contextSha256 !== undefined)
    own += `"context_sha256":"${text(record.contextSha256, 'contextSha256')}",`;
  if (record.count !== undefined) own += `"count":${whole(record.count)},`;
  const face = text(record.face, 'face');
  let tail = `"face":"${face}"`;
  if (record.items !== undefined) tail += `,"items":[${record.items.map(itemText).join(',')}]`;
  if (record.key !== undefined) tail += `,"key":"${text(record.key, 'key')}"`;
  if (record.keyVersion !== undefined) tail += `,"key_version":${whole(record.keyVersion)}`;
  if (known === undefined) tail += `,"operation":"${text(operation!, 'operation')}"`;
  if (record.phase !== undefined) tail += `,"phase":"${record.phase === 'end' ? 'end' : 'release'}"`;
  if (record.scope !== undefined) tail += ',"scope":"bucket"';
  if (record.vaultRequestId !== undefined)
    tail += `,"vault_request_id":"${text(record.vaultRequestId, 'vaultRequestId')}"`;
  tail += '}';
  if (record.sourceIp !== undefined) {
    // Indexes type source.ip as an address and refuse the whole record when it is none.
    const name = address.test(record.sourceIp) ? 'ip' : 'address';
    tail += `,"source":{"${name}":"${text(record.sourceIp, 'sourceIp')}"}`;
  }
  if (record.certificateIssuer !== undefined || record.certificateSerial !== undefined) {
    tail += ',"tls":{"client":{';
    if (record.certificateIssuer !== undefined) {
      tail += `"issuer":"${text(record.certificateIssuer, 'certificateIssuer')}"`;
      if (record.certificateSerial !== undefined) tail += ',';
    }
    if (record.certificateSerial !== undefined) {
      tail += `"x509":{"serial_number":"${text(record.certificateSerial, 'certificateSerial')}"}`;
    }
    tail += '}}';
  }
  if (record.traceId !== undefined) tail += `,"trace":{"id":"${text(record.traceId, 'traceId')}"}`;
  if (record.path !== undefined) tail += `,"url":{"path":"${text(record.path, 'path')}"}`;
  if (record.identity !== undefined) tail += `,"user":{"id":"${text(record.identity, 'identity')}"}`;

  if (cut !== '') own += `"cut":[${cut}],`;
  return `${line},"sello":{${own}"decision":"${decision(record.decision)}",${tail}}\n`;
}

/** One entry of `sello.items`. */
export function itemText(item: AuditItem): string {
  let parts = '';
  if (item.bucket !== undefined) parts += `"bucket":"${text(item.bucket, 'bucket')}",`;
  if (item.contextSha256 !== undefined)
    parts += `"context_sha256":"${text(item.contextSha256, 'contextSha256')}",`;
  if (item.count !== undefined && item.count !== 1) parts += `"count":${whole(item.count)},`;
  if (item.key !== undefined) parts += `"key":"${text(item.key, 'key')}",`;
  if (item.keyVersion !== undefined) parts += `"key_version":${whole(item.keyVersion)},`;
  if (item.object !== undefined) parts += `"object":"${text(item.object, 'object')}",`;
  return `{${parts.slice(0, -1)}}`;
}

const address = /^[0-9a-fA-F:.]{2,45}$/;

function decision(value: AuditRecord['decision']): string {
  return value === 'allow' || value === 'deny' ? value : 'none';
}

/** A number as JSON; what is no sensible number is 0, since JSON has no NaN. */
export function whole(value: number): string {
  return value >= 0 && value < Number.MAX_SAFE_INTEGER ? Math.round(value).toString() : '0';
}

/** The year 9999: `toISOString` widens the year beyond it. */
const lastTimeMs = 253_402_300_799_999;

let secondOfPrefix = NaN;
let prefix = '';

/** RFC 3339 with milliseconds. The text up to the second is kept, because a busy second has thousands of records. */
export function timestamp(timeMs: number): string {
  const ms = timeMs >= 0 && timeMs <= lastTimeMs ? Math.floor(timeMs) : 0;
  const second = Math.floor(ms / 1000);
  if (second !== secondOfPrefix) {
    prefix = new Date(second * 1000).toISOString().slice(0, 20);
    secondOfPrefix = second;
  }
  const rest = ms - second * 1000;
  return `${prefix}${rest < 10 ? '00' : rest < 100 ? '0' : ''}${rest}Z`;
}

/** The value is written as it is. */
export function isPlain(value: string, field: keyof typeof room): boolean {
  return value.length <= room[field] && !unsafe.test(value);
}

function text(value: string, field: keyof typeof room): string {
  if (isPlain(value, field)) return value;
  return escapeAndCut(String(value), field);
}

/** The slow way, for values with anything unusual in them. Looks at no more characters than the field has room for. */
function escapeAndCut(value: string, field: keyof typeof room): string {
  const bytes = room[field];
  let escaped = '';
  /** `escaped` up to the last character after which a mark still fits, and how many UTF-16 units that is. */
  let markable = 0;
  let markableUnits = 0;
  let unit = 0;
  while (unit < value.length) {
    const point = value.codePointAt(unit)!;
    escaped += escapePoint(point);
    if (escaped.length > bytes) {
      const name = `"${fieldNames[field]}"`;
      // Of several items one is enough.
      if (!cut.includes(name)) cut += `${cut === '' ? '' : ','}${name}`;
      return `${escaped.slice(0, markable)}\\u2026(+${value.length - markableUnits})`;
    }
    unit += point > 0xffff ? 2 : 1;
    if (escaped.length <= bytes - markBytes) {
      markable = escaped.length;
      markableUnits = unit;
    }
  }
  return escaped;
}

/** RFC 8785's choice, so that a JSON library writes the same. */
const shortEscapes = new Map([
  [0x08, '\\b'],
  [0x09, '\\t'],
  [0x0a, '\\n'],
  [0x0c, '\\f'],
  [0x0d, '\\r'],
]);

function escapePoint(point: number): string {
  if (point === 0x22) return '\\"';
  if (point === 0x5c) return '\\\\';
  if (point >= 0x20 && point <= 0x7e) return String.fromCharCode(point);
  const short = shortEscapes.get(point);
  if (short !== undefined) return short;
  if (point >= 0xd800 && point <= 0xdfff) return '\\ufffd';
  if (point <= 0xffff) return unitEscape(point);
  const high = 0xd800 + ((point - 0x10000) >> 10);
  const low = 0xdc00 + ((point - 0x10000) & 0x3ff);
  return unitEscape(high) + unitEscape(low);
}

function unitEscape(unit: number): string {
  return `\\u${unit.toString(16).padStart(4, '0')}`;
}

/** Names that `sello.cut` uses. */
const fieldNames: Readonly<Record<keyof typeof room, string>> = {
  requestId: 'http.request.id',
  traceId: 'trace.id',
  vaultRequestId: 'sello.vault_request_id',
  tenant: 'organization.id',
  identity: 'user.id',
  certificateSerial: 'tls.client.x509.serial_number',
  certificateIssuer: 'tls.client.issuer',
  sourceIp: 'source.ip',
  face: 'sello.face',
  method: 'http.request.method',
  path: 'url.path',
  operation: 'event.action',
  key: 'sello.key',
  bucket: 'sello.context.bucket',
  object: 'sello.context.object',
  contextSha256: 'sello.context_sha256',
  rule: 'rule.name',
  error: 'error.code',
  reason: 'event.reason',
};
