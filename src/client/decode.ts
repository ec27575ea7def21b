/** JSON of the KES v1 API → the client's types. Servers of all generations are read; what is missing is undefined. */
import { ClientError } from './errors.ts';
import type * as model from './model.ts';
import type { Answer } from './transport.ts';

type Fields = Readonly<Record<string, unknown>>;

/** What a server sends that is not an answer of this API (a proxy's page, a cut-off body) reads like one of KES clients. */
function unexpected(): ClientError {
  return new ClientError(502, 'answer of the server cannot be read');
}

export function json(answer: Answer): unknown {
  try {
    return JSON.parse(answer.body.toString('utf8'));
  } catch {
    throw unexpected();
  }
}

export function fieldsOf(value: unknown): Fields {
  if (typeof value !== 'object' || value === null || Array.isArray(value)) throw unexpected();
  return value as Fields;
}

function text(fields: Fields, name: string): string {
  return optionalText(fields, name) ?? '';
}

function optionalText(fields: Fields, name: string): string | undefined {
  const value = fields[name];
  return typeof value === 'string' && value !== '' ? value : undefined;
}

function number(fields: Fields, name: string): number {
  const value = fields[name];
  return typeof value === 'number' ? value : 0;
}

export function version(value: unknown): model.ServerVersion {
  const fields = fieldsOf(value);
  return { version: text(fields, 'version'), commit: text(fields, 'commit') };
}

export function status(value: unknown): model.ServerStatus {
  const fields = fieldsOf(value);
  const uptime = number(fields, 'uptime');
  const latency = fields['keystore_latency'];
  return {
    version: text(fields, 'version'),
    os: text(fields, 'os'),
    arch: text(fields, 'arch'),
    // Servers before 2023-10 send nanoseconds. A hundred years in seconds is 3.2e9, a minute in nanoseconds 6e10.
    uptimeSeconds: uptime > 1e10 ? Math.floor(uptime / 1e9) : uptime,
    cpus: number(fields, 'num_cpu'),
    usableCpus: number(fields, 'num_cpu_used'),
    heapBytes: number(fields, 'mem_heap_used'),
    stackBytes: number(fields, 'mem_stack_used'),
    keystoreLatencyMs: typeof latency === 'number' ? latency : undefined,
    keystoreReachable: fields['keystore_unreachable'] !== true && fields['keystore_unavailable'] !== true,
  };
}

export function routes(value: unknown): model.Route[] {
  if (!Array.isArray(value)) throw unexpected();
  return value.map(fieldsOf).map((fields) => ({
    method: text(fields, 'method'),
    path: text(fields, 'path'),
    maxBodyBytes: number(fields, 'max_body'),
    timeoutSeconds: number(fields, 'timeout'),
  }));
}

export function keyInfo(value: unknown): model.KeyInfo {
  const fields = fieldsOf(value);
  return {
    name: text(fields, 'name'),
    algorithm: optionalText(fields, 'algorithm'),
    createdAt: text(fields, 'created_at'),
    createdBy: optionalText(fields, 'created_by'),
  };
}

export function policyInfo(value: unknown): model.PolicyInfo {
  const fields = fieldsOf(value);
  return {
    name: text(fields, 'name'),
    createdAt: text(fields, 'created_at'),
    createdBy: optionalText(fields, 'created_by'),
  };
}

export function policy(value: unknown): model.Policy {
  const fields = fieldsOf(value);
  return { ...policyInfo(value), allow: patterns(fields['allow']), deny: patterns(fields['deny']) };
}

export function identityInfo(value: unknown, identity: string): model.IdentityInfo {
  const fields = fieldsOf(value);
  return {
    identity,
    admin: fields['admin'] === true,
    policy: optionalText(fields, 'policy'),
    createdAt: text(fields, 'created_at'),
    createdBy: optionalText(fields, 'created_by'),
  };
}

/** `policy` is a name with `allow` and `deny` beside it, or (KES since 2023-10) an object that holds them. */
export function selfInfo(value: unknown): model.SelfInfo {
  const fields = fieldsOf(value);
  const nested = fields['policy'];
  const info = identityInfo(value, text(fields, 'identity'));
  if (typeof nested !== 'object' || nested === null) {
    const name = info.policy ?? optionalText(fields, 'policy_name');
    return { ...info, policy: name, allow: patterns(fields['allow']), deny: patterns(fields['deny']) };
  }
  const inner = fieldsOf(nested);
  const name = optionalText(fields, 'policy_name') ?? optionalText(inner, 'name');
  return { ...info, policy: name, allow: patterns(inner['allow']), deny: patterns(inner['deny']) };
}

/** Objects keyed by pattern today, arrays before 2023-10. */
function patterns(value: unknown): string[] {
  if (Array.isArray(value)) return value.filter((entry) => typeof entry === 'string');
  return typeof value === 'object' && value !== null ? Object.keys(value) : [];
}

/** One page: `names` (`identities` for identities) and where the next begins. */
export function page(value: unknown, field: 'names' | 'identities'): { names: string[]; continueAt: string } {
  const fields = fieldsOf(value);
  const names = fields[field] ?? [];
  if (!Array.isArray(names) || names.some((name) => typeof name !== 'string')) throw unexpected();
  return { names: names as string[], continueAt: text(fields, 'continue_at') };
}

/** The form of servers before 2023-10: a line of JSON per entry, all of them at once. */
export function isLines({ contentType }: Answer): boolean {
  return contentType.startsWith('application/x-ndjson');
}

/** @throws ClientError when the last line says that the list is not whole */
export function lines(answer: Answer, field: 'names' | 'identities'): string[] {
  const entry = field === 'names' ? 'name' : 'identity';
  const found = answer.body
    .toString('utf8')
    .split('\n')
    .filter((line) => line !== '')
    .map((line) => {
      const fields = fieldsOf(json({ ...answer, body: Buffer.from(line) }));
      const failure = optionalText(fields, 'error');
      if (failure !== undefined) throw new ClientError(502, failure);
      return optionalText(fields, entry) ?? '';
    });
  if (found.includes('')) throw unexpected();
  return found.sort();
}

export function auditEvent(value: unknown): model.AuditEvent {
  const fields = fieldsOf(value);
  const request = fieldsOf(fields['request'] ?? {});
  const response = fieldsOf(fields['response'] ?? {});
  const duration = number(response, 'time');
  return {
    time: text(fields, 'time'),
    sourceIp: optionalText(request, 'ip'),
    path: text(request, 'path'),
    identity: optionalText(request, 'identity'),
    status: number(response, 'code'),
    // Milliseconds, but nanoseconds from servers before 2023-10; no request takes 10,000 s.
    durationMs: duration >= 1e7 ? duration / 1e6 : duration,
  };
}

export function errorEvent(value: unknown): model.ErrorEvent {
  return { message: text(fieldsOf(value), 'message') };
}
