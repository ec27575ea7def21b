/**
 * HTTP to Vault: an undici pool per address, which keeps connections alive and offers a client certificate. It follows no
 * redirects, asks no environment for a proxy or for leave to skip verification, and ends every call at its deadline.
 * Certificates are read again when a connection is made or {@link VaultTransport.refresh} is called, so that a renewed one needs no
 * restart.
 */
import { createHash } from 'node:crypto';
import { readFileSync } from 'node:fs';
import { buildConnector, Pool } from 'undici';
import { secretBytes } from '../crypto/index.ts';
import { SelloError } from '../errors.ts';
import type { WireAnswer } from './answer.ts';
import { VaultError } from './errors.ts';

export interface VaultTls {
  /** PEM; undefined: the system's CAs. */
  readonly caFile: string | undefined;
  readonly certFile: string | undefined;
  readonly keyFile: string | undefined;
  /** Name to ask for and to check, where it is not the address's own. */
  readonly serverName: string | undefined;
}

export interface TransportOptions {
  readonly tls: VaultTls;
  readonly connectTimeoutMs: number;
  /** Per address. */
  readonly maxConnections: number;
}

export interface WireCall {
  /** `https://host:port`, `http://host:port`, or `unix:/path`. */
  readonly address: string;
  readonly method: 'GET' | 'POST' | 'PUT' | 'DELETE' | 'PATCH';
  /** With `/v1/` and query. */
  readonly path: string;
  readonly headers: Readonly<Record<string, string>>;
  readonly body: Buffer | undefined;
  readonly timeoutMs: number;
  readonly signal?: AbortSignal | undefined;
  /** For errors. */
  readonly action: string;
}

/** Lists of 100,000 keys are 8 MB; KES takes 32 MiB. */
const maxAnswerBytes = 32 * 1024 * 1024;

/** Below the 5 minutes after which Vault ends an idle connection, and below what firewalls forget. */
const keepAliveMs = 60_000;

interface Material {
  readonly fingerprint: string;
  readonly ca: Buffer | undefined;
  readonly cert: Buffer | undefined;
  readonly key: Buffer | undefined;
}

export class VaultTransport {
  readonly #options: TransportOptions;
  readonly #pools = new Map<string, Pool>();
  #material: Material;
  #connector: buildConnector.connector;
  #closed = false;

  /** @throws SelloError SELLO_CONFIG_INVALID when a TLS file cannot be read */
  constructor(options: TransportOptions) {
    this.#options = options;
    this.#material = readMaterial(options.tls);
    this.#connector = this.#buildConnector();
  }

  /** Names what is offered and trusted; changes when a file does. */
  get certificateFingerprint(): string {
    return this.#material.fingerprint;
  }

  /**
   * Looks at the TLS files. When one changed, new calls use new connections; calls under way end on the old ones. A file that is
   * away or half written leaves things as they are.
   */
  refresh(): boolean {
    let fresh: Material;
    try {
      fresh = readMaterial(this.#options.tls);
    } catch {
      return false;
    }
    if (fresh.fingerprint === this.#material.fingerprint) return false;
    const before = { material: this.#material, connector: this.#connector };
    this.#material = fresh;
    try {
      this.#connector = this.#buildConnector();
    } catch {
      this.#material = before.material;
      this.#connector = before.connector;
      return false;
    }
    for (const pool of this.#pools.values()) void pool.close().catch(() => undefined);
    this.#pools.clear();
    return true;
  }

  /** @throws VaultError `unreachable`, `timeout`, `malformed` or `closed` */
  async call(call: WireCall): Promise<WireAnswer> {
    const { action } = call;
    if (this.#closed) throw new VaultError({ problem: 'closed', action });
    const ending = new AbortController();
    const timer = setTimeout(() => {
      ending.abort('deadline');
    }, call.timeoutMs);
    const onAbort = (): void => {
      ending.abort('caller');
    };
    if (call.signal?.aborted === true) onAbort();
    else call.signal?.addEventListener('abort', onAbort, { once: true });
    try {
      const response = await this.#pool(call.address).request({
        method: call.method,
        path: call.path,
        headers: call.headers,
        body: call.body ?? null,
        signal: ending.signal,
      });
      const bytes = await gather(response.body, action);
      return { status: response.statusCode, headers: response.headers, bytes };
    } catch (error) {
      if (error instanceof VaultError) throw error;
      if (ending.signal.reason === 'deadline')
        throw new VaultError({ problem: 'timeout', action, mayBeDone: true });
      if (ending.signal.reason === 'caller') {
        throw new VaultError({
          problem: 'closed',
          action,
          messages: ['given up by its caller'],
          mayBeDone: true,
        });
      }
      throw this.#closed ? new VaultError({ problem: 'closed', action }) : connectionError(error, action);
    } finally {
      clearTimeout(timer);
      call.signal?.removeEventListener('abort', onAbort);
    }
  }

  async close(): Promise<void> {
    this.#closed = true;
    const pools = [...this.#pools.values()];
    this.#pools.clear();
    await Promise.all(pools.map((pool) => pool.destroy().catch(() => undefined)));
  }

  #pool(address: string): Pool {
    let pool = this.#pools.get(address);
    if (pool === undefined) {
      const socketPath = address.startsWith('unix:') ? address.slice('unix:'.length) : undefined;
      pool = new Pool(socketPath === undefined ? address : 'http://localhost', {
        connections: this.#options.maxConnections,
        pipelining: 1,
        keepAliveTimeout: keepAliveMs,
        keepAliveMaxTimeout: keepAliveMs,
        // The call's own deadline ends both.
        headersTimeout: 0,
        bodyTimeout: 0,
        connect: (options, callback) => {
          this.refresh();
          (socketPath === undefined ? this.#connector : this.#socketConnector(socketPath))(options, callback);
        },
      });
      this.#pools.set(address, pool);
    }
    return pool;
  }

  #socketConnector(socketPath: string): buildConnector.connector {
    return buildConnector({ timeout: this.#options.connectTimeoutMs, socketPath });
  }

  #buildConnector(): buildConnector.connector {
    const { connectTimeoutMs, tls } = this.#options;
    const { ca, cert, key } = this.#material;
    return buildConnector({
      timeout: connectTimeoutMs,
      allowH2: false,
      // Whatever NODE_TLS_REJECT_UNAUTHORIZED and VAULT_SKIP_VERIFY say.
      rejectUnauthorized: true,
      minVersion: 'TLSv1.2',
      ...(ca === undefined ? {} : { ca }),
      ...(cert === undefined || key === undefined ? {} : { cert, key }),
      ...(tls.serverName === undefined ? {} : { servername: tls.serverName }),
    });
  }
}

/** Copies the answer into memory of its own, and wipes the pieces. */
async function gather(body: AsyncIterable<Buffer>, action: string): Promise<Buffer> {
  const chunks: Buffer[] = [];
  let length = 0;
  for await (const chunk of body) {
    length += chunk.length;
    if (length > maxAnswerBytes) {
      throw new VaultError({
        problem: 'malformed',
        action,
        messages: [`answer larger than ${String(maxAnswerBytes)} bytes`],
      });
    }
    chunks.push(chunk);
  }
  const bytes = secretBytes(length);
  let at = 0;
  for (const chunk of chunks) {
    at += chunk.copy(bytes, at);
    chunk.fill(0);
  }
  return bytes;
}

/** These come before a request is sent. */
const beforeSending =
  /^(?:ECONNREFUSED|ENOTFOUND|EAI_\w+|EHOSTUNREACH|ENETUNREACH|ENETDOWN|EHOSTDOWN|EADDRNOTAVAIL|ENOENT|EACCES|UND_ERR_CONNECT_TIMEOUT|ERR_TLS_\w+|ERR_SSL_\w+|\w*CERT\w*|UNABLE_TO_\w+|INVALID_CA|PATH_LENGTH_EXCEEDED)$/;

function connectionError(error: unknown, action: string): VaultError {
  const code = error instanceof Error && 'code' in error ? String(error.code) : 'unknown';
  // Only the code: messages of TLS errors may quote certificates, and undici's errors may hold the request.
  return new VaultError({
    problem: 'unreachable',
    action,
    messages: [code],
    mayBeDone: !beforeSending.test(code),
  });
}

function readMaterial({ caFile, certFile, keyFile }: VaultTls): Material {
  const hash = createHash('sha256');
  const read = (what: string, file: string | undefined): Buffer | undefined => {
    if (file === undefined) return undefined;
    let bytes: Buffer;
    try {
      bytes = readFileSync(file);
    } catch (cause) {
      const errno = cause instanceof Error && 'code' in cause ? String(cause.code) : 'unknown';
      throw new SelloError('SELLO_CONFIG_INVALID', { detail: `${what} '${file}' cannot be read (${errno})` });
    }
    hash.update(`${what} ${String(bytes.length)}\n`).update(bytes);
    return bytes;
  };
  const ca = read('CA file of Vault', caFile);
  const cert = read('client certificate for Vault', certFile);
  const key = read('client key for Vault', keyFile);
  return { fingerprint: hash.digest('hex'), ca, cert, key };
}
