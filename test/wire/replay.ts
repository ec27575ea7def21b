/**
 * Replays recordings of running KES servers against Sello: same requests in the same order over TLS, each on a connection of
 * its own, and a list of every difference in status, headers or body beyond the values that change from run to run.
 */
import { mkdtempSync, mkdirSync, readFileSync, readdirSync, rmSync, symlinkSync, writeFileSync, existsSync, statSync } from 'node:fs';
import http2 from 'node:http2';
import os from 'node:os';
import path from 'node:path';
import tls from 'node:tls';
import { parseConfig } from '../../src/config/index.ts';
import { startServer, type Server } from '../../src/server/index.ts';

const pki = path.join(import.meta.dirname, '../fixtures/pki');

export interface Exchange {
  readonly id: string;
  readonly client: string;
  readonly keystore_before: readonly string[] | null;
  readonly request: {
    readonly method?: string;
    readonly path?: string;
    readonly headers?: readonly (readonly [string, string])[];
    readonly body?: string;
    readonly body_b64?: string;
    readonly body_generator?: { prefix: string; repeat: string; count: number; suffix: string };
    readonly chunked?: boolean;
    readonly http_version?: string;
    readonly raw?: string;
  };
  readonly response: {
    readonly status?: number;
    readonly headers?: readonly (readonly [string, string])[];
    readonly body?: string;
    readonly body_b64?: string;
    readonly body_length?: number;
    readonly connection_closed_by_server?: boolean;
    readonly tls?: { tls_version: string };
    readonly tls_error?: string;
    readonly closed_without_response?: boolean;
  } | null;
  readonly volatile: readonly string[];
  readonly defect?: string;
  readonly note?: string;
}

export interface Recording {
  readonly group: string;
  readonly server_config: string;
  readonly fixture_keys: Readonly<Record<string, string>>;
  readonly stored_keys_created_during_the_run?: Readonly<Record<string, string>>;
  readonly exchanges: readonly Exchange[];
}

export interface Difference {
  readonly id: string;
  readonly what: string;
}

interface Answer {
  readonly status?: number;
  readonly headers?: (readonly [string, string])[];
  readonly body?: Buffer;
  readonly refused?: string;
}

export function readRecording(file: string): Recording {
  return JSON.parse(readFileSync(file, 'utf8')) as Recording;
}

/** Starts Sello on the recording's own configuration, with its port replaced by a free one. */
async function start(recording: Recording, folder: string): Promise<Server> {
  for (const file of readdirSync(pki)) symlinkSync(path.join(pki, file), path.join(folder, file));
  mkdirSync(path.join(folder, 'keys'));
  const text = recording.server_config
    .replace(/^address: .*$/m, 'address: 127.0.0.1:0')
    .replaceAll(/(: |- )\.\//g, `$1${folder}/`);
  const config = parseConfig(text, { file: path.join(folder, 'server-config.yml'), env: {} });
  return startServer({ ...config, serverAudit: { ...config.serverAudit, mode: "off" }, tenants: config.tenants.map((tenant) => ({ ...tenant, audit: { ...tenant.audit, mode: "off" as const } })), log: { ...config.log, level: 'silent' } });
}

/** Makes the keystore hold what it held before this exchange was recorded. */
function arrange(recording: Recording, exchange: Exchange, folder: string): void {
  const keys = path.join(folder, 'keys');
  if (exchange.keystore_before === null) {
    rmSync(keys, { recursive: true, force: true });
    return;
  }
  if (!existsSync(keys)) mkdirSync(keys);
  if (recording.group === 'pagination') {
    if (existsSync(path.join(keys, 'a1'))) return;
    const stored = Object.values(recording.fixture_keys)[0]!;
    const names = ['a1', 'q1', 'z1', ...Array.from({ length: 1100 }, (_, i) => `p${String(i).padStart(4, '0')}`)];
    for (const name of names) writeFileSync(path.join(keys, name), stored);
    return;
  }
  const wanted = new Set(exchange.keystore_before);
  const created = exchange.response?.status === 200 ? /\/v1\/key\/create\/([^/]+)$/.exec(exchange.request.path ?? '')?.[1] : undefined;
  if (created !== undefined) wanted.delete(created);
  for (const name of readdirSync(keys)) if (!wanted.has(name) && !name.startsWith('.')) rmSync(path.join(keys, name), { recursive: true });
  for (const name of wanted) {
    const file = path.join(keys, name);
    const stored =
      recording.stored_keys_created_during_the_run?.[name] ??
      recording.fixture_keys[name] ??
      (existsSync(file) || name === 'a-dir' ? undefined : substitute(recording, exchange));
    if (name === 'a-dir') {
      if (!existsSync(file)) mkdirSync(file);
    } else if (stored !== undefined && (!existsSync(file) || (statSync(file).isFile() && readFileSync(file, 'utf8') !== stored))) {
      writeFileSync(file, stored, { mode: 0o600 });
    }
  }
}

/** A key that an exchange made which is not among the recorded ones: any of its algorithm serves. */
function substitute(recording: Recording, exchange: Exchange): string | undefined {
  const isChaCha = exchange.response?.body?.includes('"ChaCha20"') === true;
  return recording.fixture_keys[isChaCha ? 'chacha-key' : 'app-key'] ?? Object.values(recording.fixture_keys)[0];
}

function credentials(client: string): { cert?: Buffer; key?: Buffer } {
  if (client === 'none' || client.includes('plain')) return {};
  return { cert: readFileSync(path.join(pki, `${client}.crt`)), key: readFileSync(path.join(pki, `${client}.key`)) };
}

function bodyOf({ body, body_b64, body_generator }: Exchange['request']): Buffer {
  if (body_b64 !== undefined) return Buffer.from(body_b64, 'base64');
  if (body_generator !== undefined) {
    const { prefix, repeat, count, suffix } = body_generator;
    return Buffer.from(prefix + repeat.repeat(count) + suffix);
  }
  return Buffer.from(body ?? '');
}

/** Where the recording offered other protocols than HTTP/1.1 alone. */
const protocols: Readonly<Record<string, string[]>> = { 'tls/006': ['no-such-protocol'], 'tls/007': ['http/1.1', 'h2'] };

/** An answer later than this counts as none. */
const patienceMs = 5000;

function overHttp1(port: number, exchange: Exchange): Promise<Answer> {
  const { request } = exchange;
  const version = exchange.response?.tls?.tls_version === 'TLSv1.2' ? 'TLSv1.2' : undefined;
  return new Promise((resolve) => {
    const socket = tls.connect({
      host: '127.0.0.1',
      port,
      ...credentials(exchange.client),
      rejectUnauthorized: false,
      ALPNProtocols: protocols[exchange.id] ?? ['http/1.1'],
      ...(version === undefined ? {} : { maxVersion: version }),
    });
    const chunks: Buffer[] = [];
    let settled = false;
    const settle = (refused?: string): void => {
      if (settled) return;
      const parsed = parseResponse(Buffer.concat(chunks), request.method === 'HEAD', refused !== undefined);
      if (parsed === undefined && refused === undefined) return;
      settled = true;
      clearTimeout(timer);
      socket.destroy();
      resolve(parsed ?? { refused: refused ?? '' });
    };
    const timer = setTimeout(() => settle('no answer'), patienceMs);
    socket.on('error', (error: NodeJS.ErrnoException) => settle(error.code ?? error.message));
    socket.on('close', () => settle('closed'));
    socket.on('data', (chunk: Buffer) => {
      chunks.push(chunk);
      settle();
    });
    socket.once('secureConnect', () => {
      const lines = [`${request.method} ${request.path} HTTP/1.1`, ...(request.headers ?? []).map(([name, value]) => `${name}: ${value}`)];
      const body = bodyOf(request);
      socket.write(Buffer.from(`${lines.join('\r\n')}\r\n\r\n`, 'latin1'));
      if (request.chunked === true) {
        if (body.length > 0) socket.write(Buffer.concat([Buffer.from(`${body.length.toString(16)}\r\n`), body, Buffer.from('\r\n')]));
        socket.write('0\r\n\r\n');
      } else if (body.length > 0) socket.write(body);
    });
  });
}

function parseResponse(bytes: Buffer, head: boolean, ended: boolean): Answer | undefined {
  const end = bytes.indexOf('\r\n\r\n');
  if (end === -1) return undefined;
  const [first, ...lines] = bytes.toString('latin1', 0, end).split('\r\n');
  const status = Number(first!.split(' ')[1]);
  if (status === 100) return parseResponse(bytes.subarray(end + 4), head, ended);
  const headers = lines.map((line) => {
    const colon = line.indexOf(':');
    return [line.slice(0, colon), line.slice(colon + 1).trim()] as const;
  });
  const value = (name: string): string | undefined => headers.find(([key]) => key.toLowerCase() === name)?.[1];
  let body = bytes.subarray(end + 4);
  if (head) return { status, headers, body: Buffer.alloc(0) };
  if (value('transfer-encoding') === 'chunked') {
    const parts: Buffer[] = [];
    for (;;) {
      const line = body.indexOf('\r\n');
      if (line === -1) return undefined;
      const size = Number.parseInt(body.toString('latin1', 0, line), 16);
      if (body.length < line + 2 + size + 2) return undefined;
      if (size === 0) return { status, headers, body: Buffer.concat(parts) };
      parts.push(body.subarray(line + 2, line + 2 + size));
      body = body.subarray(line + 2 + size + 2);
    }
  }
  const length = value('content-length');
  if (length === undefined) return ended ? { status, headers, body } : undefined;
  return body.length >= Number(length) ? { status, headers, body: body.subarray(0, Number(length)) } : undefined;
}

function overHttp2(port: number, exchange: Exchange): Promise<Answer> {
  const { request } = exchange;
  return new Promise((resolve) => {
    const session = http2.connect(`https://127.0.0.1:${port}`, { ...credentials(exchange.client), rejectUnauthorized: false });
    const done = (answer: Answer): void => {
      session.destroy();
      resolve(answer);
    };
    session.on('error', (error) => done({ refused: error.message }));
    const body = bodyOf(request);
    const stream = session.request({ ':method': request.method, ':path': request.path }, { endStream: body.length === 0 });
    let headers: http2.IncomingHttpHeaders = {};
    const chunks: Buffer[] = [];
    stream.on('response', (received) => (headers = received));
    stream.on('data', (chunk: Buffer) => chunks.push(chunk));
    stream.on('end', () => {
      const list = Object.entries(headers).filter(([name]) => !name.startsWith(':'));
      done({ status: Number(headers[':status']), headers: list.map(([name, value]) => [name, String(value)] as const), body: Buffer.concat(chunks) });
    });
    stream.on('error', (error) => done({ refused: error.message }));
    if (body.length > 0) stream.end(body);
  });
}

/** Removes what the recording names as changing from run to run. */
function stable(body: string, volatile: readonly string[]): unknown {
  if (volatile.some((name) => name.startsWith('body'))) return 'volatile body';
  let value: unknown;
  try {
    value = JSON.parse(body);
  } catch {
    return body;
  }
  if (volatile.some((name) => name.startsWith('$ (array'))) {
    return Array.isArray(value) ? value.map((item) => JSON.stringify(item)).sort() : value;
  }
  for (const name of volatile) {
    const field = name.replace('$.', '');
    if (value !== null && typeof value === 'object' && field in value) (value as Record<string, unknown>)[field] = 'volatile';
  }
  return value;
}

function normalHeaders(headers: readonly (readonly [string, string])[], ignoreLength: boolean): string[] {
  return headers
    .map(([name, value]) => `${name.toLowerCase()}: ${value}`)
    .filter((line) => !line.startsWith('date:') && !line.startsWith('keep-alive:') && line !== 'connection: keep-alive')
    .filter((line) => !(ignoreLength && (line.startsWith('content-length:') || line.startsWith('transfer-encoding:'))))
    .sort();
}

function compare(exchange: Exchange, answer: Answer): string | undefined {
  const expected = exchange.response;
  if (expected === null || expected.status === undefined || expected.status === null) {
    return answer.status === undefined ? undefined : `recorded no answer, got ${answer.status} ${answer.body?.toString('utf8')}`;
  }
  if (answer.status === undefined) return `recorded ${expected.status}, got no answer (${answer.refused})`;
  const isCut = expected.body?.includes('(cut by the recorder)') === true;
  const expectedBody = expected.body_b64 === undefined ? (expected.body ?? '') : Buffer.from(expected.body_b64, 'base64').toString('utf8');
  const body = answer.body?.toString('utf8') ?? '';
  const ignoreLength = exchange.volatile.length > 0 || isCut;
  if (answer.status !== expected.status) return `status ${answer.status} instead of ${expected.status}: ${body.slice(0, 120)}`;
  if (!isCut) {
    const [got, want] = [stable(body, exchange.volatile), stable(expectedBody, exchange.volatile)];
    const exact = exchange.volatile.length === 0 ? body === expectedBody : JSON.stringify(got) === JSON.stringify(want);
    if (!exact) return `body ${JSON.stringify(body.slice(0, 200))} instead of ${JSON.stringify(expectedBody.slice(0, 200))}`;
  } else if (expected.body_length !== undefined && body.length !== expected.body_length) return `body of ${body.length} bytes instead of ${expected.body_length}`;
  const got = normalHeaders(answer.headers ?? [], ignoreLength).join('\n');
  const want = normalHeaders(expected.headers ?? [], ignoreLength).join('\n');
  return got === want ? undefined : `headers ${JSON.stringify(got)} instead of ${JSON.stringify(want)}`;
}

/** Plays a whole recording on one server and returns what differs. */
export async function replay(recording: Recording): Promise<Difference[]> {
  const folder = mkdtempSync(path.join(os.tmpdir(), 'sello-wire-'));
  const differences: Difference[] = [];
  const server = await start(recording, folder);
  try {
    for (const exchange of recording.exchanges) {
      if (exchange.request.method === undefined) continue;
      arrange(recording, exchange, folder);
      const answer =
        exchange.request.http_version === '2' ? await overHttp2(server.ports[0]!, exchange) : await overHttp1(server.ports[0]!, exchange);
      const what = compare(exchange, answer);
      if (what !== undefined) differences.push({ id: exchange.id, what });
    }
  } finally {
    await server.stop();
    rmSync(folder, { recursive: true, force: true });
  }
  return differences;
}
