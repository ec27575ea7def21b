/** An answer of Vault's as bytes, and what its status and text mean. */
import { VaultError, type VaultProblem } from './errors.ts';

export interface WireAnswer {
  readonly status: number;
  readonly headers: Readonly<Record<string, string | string[] | undefined>>;
  /** Owned by whoever holds the answer; may hold secrets. */
  readonly bytes: Buffer;
}

/** What Vault answers, as far as Sello looks. Secrets are not taken from here (secret-json.ts). */
export interface VaultJson {
  readonly request_id?: unknown;
  readonly data?: unknown;
  readonly auth?: unknown;
  readonly wrap_info?: unknown;
  readonly errors?: unknown;
  readonly warnings?: unknown;
}

export class VaultAnswer {
  readonly status: number;
  readonly bytes: Buffer;
  readonly headers: WireAnswer['headers'];

  constructor({ status, bytes, headers }: WireAnswer) {
    this.status = status;
    this.bytes = bytes;
    this.headers = headers;
  }

  /** Everything as strings: for answers without secrets alone. */
  json(action: string): VaultJson {
    const parsed = parse(this.bytes);
    if (parsed === undefined) throw new VaultError({ problem: 'malformed', action, status: this.status });
    return parsed;
  }

  /** Vault's id of the call: the first member of nearly every answer. */
  get requestId(): string | undefined {
    return requestIdOf(this.bytes);
  }

  wipe(): void {
    this.bytes.fill(0);
  }
}

const requestIdLead = Buffer.from('"request_id":"');
const uuid = /^[0-9a-f]{8}(?:-[0-9a-f]{4}){3}-[0-9a-f]{12}$/;

export function requestIdOf(bytes: Buffer): string | undefined {
  const at = bytes.subarray(0, 64).indexOf(requestIdLead);
  if (at < 0) return undefined;
  const text = bytes.toString('latin1', at + requestIdLead.length, at + requestIdLead.length + 36);
  return uuid.test(text) ? text : undefined;
}

function parse(bytes: Buffer): VaultJson | undefined {
  if (bytes.length === 0) return {};
  try {
    const parsed: unknown = JSON.parse(bytes.toString('utf8'));
    return typeof parsed === 'object' && parsed !== null && !Array.isArray(parsed) ? parsed : undefined;
  } catch {
    return undefined; // no cause: its message would quote the answer
  }
}

/** The failure that an answer stands for; undefined when it is none. Only failures are parsed. */
export function failureOf({ status, bytes, headers }: WireAnswer, action: string): VaultError | undefined {
  if (status === 200 || status === 204) return undefined;
  const json = parse(bytes);
  const messages = textsOf(json?.errors);
  return new VaultError({
    problem: problemOf(status, json, messages),
    action,
    status,
    // KV says "Invalid path for a versioned K/V secrets engine" as a warning.
    messages: messages.length > 0 ? messages : textsOf(json?.warnings),
    vaultRequestId: requestIdOf(bytes),
    retryAfterMs: status === 429 ? retryAfterMs(headers['retry-after']) : undefined,
  });
}

function problemOf(status: number, json: VaultJson | undefined, messages: readonly string[]): VaultProblem {
  const said = messages.join(' ').toLowerCase();
  switch (status) {
    case 301:
    case 302:
    case 307:
    case 308:
      return 'redirected';
    case 403:
      return 'forbidden';
    case 404:
      if (json === undefined) return 'malformed';
      if (json.data !== undefined && json.data !== null) return 'deleted';
      // Only Vault's own empty answer means "not there": a load balancer's 404 must not make MinIO create a second key.
      return Array.isArray(json.errors) && messages.length === 0 && textsOf(json.warnings).length === 0
        ? 'absent'
        : 'no-mount';
    case 412:
      return 'stale';
    case 429:
      return 'rate-limited';
    case 472:
      return 'no-active-node'; // a disaster recovery secondary serves nothing
    case 501:
      return 'uninitialised';
    case 503:
      return said.includes('sealed')
        ? 'sealed'
        : said.includes('not initialized')
          ? 'uninitialised'
          : 'no-active-node';
  }
  if (status >= 500) {
    if (said.includes('sealed')) return 'sealed';
    return /not active|no active|active cluster node not found|active node/.test(said)
      ? 'no-active-node'
      : 'failed';
  }
  return 'refused';
}

function textsOf(list: unknown): string[] {
  return Array.isArray(list) ? list.filter((text): text is string => typeof text === 'string') : [];
}

/** RFC 9110 10.2.3, seconds; Vault sends no dates. */
function retryAfterMs(header: string | string[] | undefined): number | undefined {
  return typeof header === 'string' && /^\d{1,6}$/.test(header) ? Number(header) * 1000 : undefined;
}
