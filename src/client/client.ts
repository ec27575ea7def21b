/** The KES v1 API as calls. */
import { AdminClient } from './admin.ts';
import * as decode from './decode.ts';
import { ClientError } from './errors.ts';
import type * as model from './model.ts';
import { readBase64Field, writeBase64Fields } from './secret-json.ts';
import type { Transport } from './transport.ts';

/**
 * A key server as its clients see it. Every method rejects with {@link ClientError} when the server refuses and with
 * `ConnectionError` when no endpoint answers. One client holds one shared connection per endpoint: make one, use it
 * for everything, `close` it at the end.
 */
export class SelloClient {
  readonly #transport: Transport;
  /** Versions, states and rotation of keys: Sello alone has them. */
  readonly admin: AdminClient;

  constructor(transport: Transport) {
    this.#transport = transport;
    this.admin = new AdminClient(transport);
  }

  async version(): Promise<model.ServerVersion> {
    return decode.version(await this.#get('/version'));
  }

  async status(): Promise<model.ServerStatus> {
    return decode.status(await this.#get('/v1/status'));
  }

  /** Resolves when the server can reach its key store; rejects with status 502 or 504 otherwise. */
  async ready(): Promise<void> {
    await this.#transport.call({ method: 'GET', path: '/v1/ready' });
  }

  /** The routes of the server. */
  async api(): Promise<model.Route[]> {
    return decode.routes(await this.#get('/v1/api'));
  }

  /** Prometheus text. */
  async metrics(): Promise<string> {
    const answer = await this.#transport.call({ method: 'GET', path: '/v1/metrics' });
    return answer.body.toString('utf8');
  }

  async createKey(name: string): Promise<void> {
    await this.#transport.call({ method: 'PUT', path: `/v1/key/create/${keySegment(name)}` });
  }

  /** Stores 32 bytes of key material under a new name. */
  async importKey(name: string, key: Uint8Array, algorithm: model.KeyAlgorithm = 'AES256'): Promise<void> {
    await this.#put(`/v1/key/import/${keySegment(name)}`, { key, cipher: algorithm });
  }

  async describeKey(name: string): Promise<model.KeyInfo> {
    return decode.keyInfo(await this.#get(`/v1/key/describe/${keySegment(name)}`));
  }

  /** Names of keys that start with `prefix`, in order; pages are fetched as they are consumed. */
  async *listKeys(prefix = ''): AsyncGenerator<string, void, void> {
    // KES takes no pattern that ends in `-`, though names may well go on after one: asked for without, and sorted out here.
    const asked = prefix.replace(/-+$/, '');
    // An empty prefix is `*`, for every generation of servers; a star after a prefix would be part of it.
    for await (const name of this.#list('/v1/key/list/', asked === '' ? '*' : asked, 'names')) {
      if (name.startsWith(prefix)) yield name;
    }
  }

  async deleteKey(name: string): Promise<void> {
    await this.#transport.call({ method: 'DELETE', path: `/v1/key/delete/${keySegment(name)}` });
  }

  /** A new data key under a master key, bound to `context`. */
  async generateKey(name: string, context?: Uint8Array): Promise<model.DataKey> {
    const answer = await this.#put(`/v1/key/generate/${keySegment(name)}`, { context });
    return { plaintext: bytesOf(answer, 'plaintext'), ciphertext: bytesOf(answer, 'ciphertext', true) };
  }

  async encrypt(name: string, plaintext: Uint8Array, context?: Uint8Array): Promise<Buffer> {
    const answer = await this.#put(`/v1/key/encrypt/${keySegment(name)}`, { plaintext, context });
    return bytesOf(answer, 'ciphertext', true);
  }

  /** Opens what {@link encrypt} or {@link generateKey} made under the same key and context. Wipe the result after use. */
  async decrypt(name: string, ciphertext: Uint8Array, context?: Uint8Array): Promise<Buffer> {
    const answer = await this.#put(`/v1/key/decrypt/${keySegment(name)}`, { ciphertext, context });
    return bytesOf(answer, 'plaintext', true);
  }

  /** HMAC-SHA-256 under the key's own MAC key. */
  async hmac(name: string, message: Uint8Array): Promise<Buffer> {
    return bytesOf(await this.#put(`/v1/key/hmac/${keySegment(name)}`, { message }), 'hmac', true);
  }

  async describePolicy(name: string): Promise<model.PolicyInfo> {
    return decode.policyInfo(await this.#get(`/v1/policy/describe/${segment(name, 'policy name')}`));
  }

  async readPolicy(name: string): Promise<model.Policy> {
    return decode.policy(await this.#get(`/v1/policy/read/${segment(name, 'policy name')}`));
  }

  listPolicies(prefix = ''): AsyncGenerator<string, void, void> {
    return this.#list('/v1/policy/list/', `${prefix}*`, 'names');
  }

  async describeIdentity(identity: string): Promise<model.IdentityInfo> {
    const answer = await this.#get(`/v1/identity/describe/${segment(identity, 'identity')}`);
    return decode.identityInfo(answer, identity);
  }

  /** Who this client is to the server. */
  async describeSelf(): Promise<model.SelfInfo> {
    return decode.selfInfo(await this.#get('/v1/identity/self/describe'));
  }

  listIdentities(prefix = ''): AsyncGenerator<string, void, void> {
    return this.#list('/v1/identity/list/', `${prefix}*`, 'identities');
  }

  /** Audit events as they happen. Ends when `signal` aborts, the loop is left or the server closes. */
  async *auditLog(signal?: AbortSignal): AsyncGenerator<model.AuditEvent, void, void> {
    for await (const event of this.#events('/v1/log/audit', signal)) yield decode.auditEvent(event);
  }

  /** Error log lines as they happen. */
  async *errorLog(signal?: AbortSignal): AsyncGenerator<model.ErrorEvent, void, void> {
    for await (const event of this.#events('/v1/log/error', signal)) yield decode.errorEvent(event);
  }

  /** Closes the connections. Requests in flight end on their own. */
  close(): void {
    this.#transport.close();
  }

  async #get(path: string): Promise<unknown> {
    return decode.json(await this.#transport.call({ method: 'GET', path }));
  }

  /** The body may hold a secret: it is wiped once sent, and the answer's is the caller's to wipe. */
  async #put(path: string, fields: Parameters<typeof writeBase64Fields>[0]): Promise<Buffer> {
    const body = writeBase64Fields(fields);
    try {
      return (await this.#transport.call({ method: 'PUT', path, body })).body;
    } finally {
      body.fill(0);
    }
  }

  async *#list(
    path: string,
    first: string,
    field: 'names' | 'identities',
  ): AsyncGenerator<string, void, void> {
    let from = first;
    for (;;) {
      const target = path + encodeURIComponent(from).replaceAll('*', '%2A');
      const received = await this.#transport.call({ method: 'GET', path: target });
      if (decode.isLines(received)) {
        // Servers before 2023-10 take patterns for the whole name: a beginning alone is a name to them.
        if (from.endsWith('*')) {
          yield* decode.lines(received, field);
          return;
        }
        from = `${from}*`;
        continue;
      }
      const answer = decode.page(decode.json(received), field);
      yield* answer.names;
      // `continue_at` is opaque. One that repeats itself would never end.
      if (answer.continueAt === '' || answer.continueAt === from) return;
      from = answer.continueAt;
    }
  }

  async *#events(path: string, signal: AbortSignal | undefined): AsyncGenerator<unknown, void, void> {
    const decoder = new TextDecoder();
    let rest = '';
    for await (const chunk of this.#transport.stream({ method: 'GET', path }, signal)) {
      const lines = (rest + decoder.decode(chunk, { stream: true })).split('\n');
      rest = lines.pop() ?? '';
      for (const line of lines) {
        if (line.trim() !== '') yield JSON.parse(line) as unknown;
      }
    }
  }
}

/** Takes a base64 field out of an answer; `last` wipes the answer afterwards. */
function bytesOf(answer: Buffer, field: string, last = false): Buffer {
  try {
    const value = readBase64Field(answer, field);
    if (value === undefined) throw new ClientError(502, 'answer of the server cannot be read');
    return value;
  } finally {
    if (last) answer.fill(0);
  }
}

function keySegment(name: string): string {
  return segment(name, 'key name');
}

/** A name as one segment of a path. `''`, `.` and `..` would change the path itself: refused as the server refuses names. */
function segment(name: string, what: string): string {
  if (name === '' || name === '.' || name === '..') {
    throw new ClientError(400, `${what} '${name}' is empty, too long or contains invalid characters`);
  }
  return encodeURIComponent(name);
}
