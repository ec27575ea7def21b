/**
 * A real Vault for tests: `vault server -dev` in memory, with its root token, over TLS or plain HTTP. `bao` on PATH is used where a
 * test asks for OpenBao. Calls here are the administrator's, made with plain `fetch`: never with the client under test.
 */
import { execFile } from 'node:child_process';
import { randomBytes } from 'node:crypto';
import { mkdir, readFile, writeFile } from 'node:fs/promises';
import { Agent, request } from 'node:https';
import http from 'node:http';
import { join } from 'node:path';
import { promisify } from 'node:util';
import { freePort, RunningProcess } from './process.ts';
import type { TestAuthority } from './certificates.ts';

export interface VaultAnswer {
  readonly status: number;
  readonly body: Record<string, unknown> & {
    readonly data?: Record<string, unknown> | null;
    readonly auth?: Record<string, unknown> | null;
    readonly errors?: string[];
  };
}

export interface StartVaultOptions {
  /** The program: `vault` or `bao`. */
  readonly program: string;
  /** For its log and certificates. */
  readonly folder: string;
  /** Over TLS, with certificates of this authority. */
  readonly authority?: TestAuthority;
  /** Ask clients for a certificate of the authority (needed for certificate logins) and insist on it. */
  readonly requireClientCertificate?: boolean;
  /** Every request takes this much longer. */
  readonly latencyMs?: number;
  readonly pluginFolder?: string;
  readonly port?: number;
  /** Prefix of the command line, such as `taskset -c 0`. */
  readonly wrapper?: readonly string[];
}

/** Starts take longer on a machine that is busy building. */
const readyWithinMs = 60_000;

export class Vault {
  readonly address: string;
  readonly port: number;
  readonly rootToken: string;
  readonly #options: StartVaultOptions;
  readonly #ca: Buffer | undefined;
  readonly #agent: http.Agent;
  #process: RunningProcess | undefined;

  private constructor(options: StartVaultOptions, port: number, ca: Buffer | undefined) {
    this.#options = options;
    this.port = port;
    this.#ca = ca;
    this.rootToken = `root-${randomBytes(8).toString('hex')}`;
    this.address = `${ca === undefined ? 'http' : 'https'}://127.0.0.1:${String(port)}`;
    this.#agent =
      ca === undefined ? new http.Agent({ keepAlive: false }) : new Agent({ keepAlive: false, ca });
  }

  static async start(options: StartVaultOptions): Promise<Vault> {
    await mkdir(options.folder, { recursive: true });
    const port = options.port ?? (await freePort());
    const ca = options.authority === undefined ? undefined : await readFile(options.authority.ca);
    const vault = new Vault(options, port, ca);
    await vault.run();
    return vault;
  }

  /** Starts the process. A Vault in development mode forgets everything when it stops. */
  async run(): Promise<void> {
    const { program, folder, authority, latencyMs, pluginFolder, wrapper = [] } = this.#options;
    const command = [...wrapper, program];
    const args = [
      'server',
      '-dev',
      '-dev-no-store-token',
      `-dev-root-token-id=${this.rootToken}`,
      '-log-level=warn',
    ];
    if (latencyMs !== undefined) args.push(`-dev-latency=${String(latencyMs)}`);
    if (pluginFolder !== undefined) args.push(`-dev-plugin-dir=${pluginFolder}`);
    if (authority === undefined) args.push(`-dev-listen-address=127.0.0.1:${String(this.port)}`);
    else {
      // The listener of its own, beside the one that development mode insists on.
      const server = await authority.issue(`vault-${String(this.port)}`, 'server');
      const config = {
        listener: {
          tcp: {
            address: `127.0.0.1:${String(this.port)}`,
            tls_cert_file: server.cert,
            tls_key_file: server.key,
            tls_client_ca_file: authority.ca,
            tls_require_and_verify_client_cert: this.#options.requireClientCertificate === true,
          },
        },
      };
      const file = join(folder, `vault-${String(this.port)}.json`);
      await writeFile(file, JSON.stringify(config));
      args.push(`-dev-listen-address=127.0.0.1:${String(await freePort())}`, `-config=${file}`);
    }
    this.#process = await RunningProcess.start({
      command: command[0]!,
      args: [...command.slice(1), ...args],
      log: join(folder, `vault-${String(this.port)}.log`),
      readyWithinMs,
      env: { VAULT_ADDR: '', ...(program.endsWith('bao') ? { BAO_ADDR: '' } : {}) },
      isReady: async () => (await this.call('GET', 'sys/health')).status === 200,
    });
  }

  get pid(): number {
    return this.#process!.pid;
  }

  async stop(signal: 'SIGTERM' | 'SIGKILL' = 'SIGTERM'): Promise<void> {
    await this.#process?.stop(signal);
    this.#process = undefined;
  }

  /** Stops answering without closing anything: as behind a firewall that drops packets. */
  freeze(): void {
    process.kill(this.pid, 'SIGSTOP');
  }

  thaw(): void {
    process.kill(this.pid, 'SIGCONT');
  }

  output(): Promise<string> {
    return this.#process!.output();
  }

  /** One call of the administrator. */
  async call(
    method: string,
    path: string,
    body?: unknown,
    options: { readonly token?: string; readonly headers?: Record<string, string> } = {},
  ): Promise<VaultAnswer> {
    const url = new URL(`/v1/${path}`, this.address);
    const payload = body === undefined ? undefined : JSON.stringify(body);
    return new Promise((resolve, reject) => {
      const call = (this.#ca === undefined ? http.request : request)(
        url,
        {
          method,
          agent: this.#agent,
          timeout: 30_000,
          headers: {
            'x-vault-token': options.token ?? this.rootToken,
            ...(payload === undefined ? {} : { 'content-type': 'application/json' }),
            ...options.headers,
          },
        },
        (response) => {
          const chunks: Buffer[] = [];
          response.on('data', (chunk: Buffer) => chunks.push(chunk));
          response.on('error', reject);
          response.on('end', () => {
            const text = Buffer.concat(chunks).toString();
            resolve({
              status: response.statusCode ?? 0,
              body: (text === '' ? {} : JSON.parse(text)) as VaultAnswer['body'],
            });
          });
        },
      );
      call.on('timeout', () => call.destroy(new Error(`${method} ${path}: no answer`)));
      call.on('error', reject);
      call.end(payload);
    });
  }

  /** {@link call} that has to succeed. */
  async must(method: string, path: string, body?: unknown): Promise<VaultAnswer['body']> {
    const answer = await this.call(method, path, body);
    if (answer.status >= 300) {
      throw new Error(`${method} ${path}: ${String(answer.status)} ${JSON.stringify(answer.body)}`);
    }
    return answer.body;
  }

  mountKv(path: string, version: 1 | 2): Promise<unknown> {
    return this.must('POST', `sys/mounts/${path}`, { type: 'kv', options: { version: String(version) } });
  }

  /** A token with these policy rules alone. */
  async tokenWith(name: string, policy: string, options: Record<string, unknown> = {}): Promise<string> {
    await this.must('PUT', `sys/policies/acl/${name}`, { policy });
    const made = await this.must('POST', 'auth/token/create', { policies: [name], ...options });
    return made.auth!['client_token'] as string;
  }

  async seal(): Promise<void> {
    await this.must('PUT', 'sys/seal');
  }

  /** With the key that development mode printed. */
  async unseal(): Promise<void> {
    const key = /Unseal Key: (\S+)/.exec(await this.output())?.[1];
    if (key === undefined) throw new Error('no unseal key in the log');
    await this.must('PUT', 'sys/unseal', { key });
  }
}

/** `bao` where it is on PATH. */
export async function findOpenBao(): Promise<string | undefined> {
  try {
    const { stdout } = await promisify(execFile)('sh', ['-c', 'command -v bao']);
    return stdout.trim() || undefined;
  } catch {
    return undefined;
  }
}
