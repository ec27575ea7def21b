/** Clients of Vault under the control of a test: a process each, a JSON line per call, all with the same operations. */
import { spawn, type ChildProcess } from 'node:child_process';
import { once } from 'node:events';
import { join } from 'node:path';
import { createInterface } from 'node:readline';
import type { CertificateFiles } from './certificates.ts';
import { needTools } from './tools.ts';

export interface VaultCall {
  /** Of a key, or of a login by certificate. */
  readonly name?: string;
  /** What the client sends beside the name. */
  readonly fields?: Readonly<Record<string, unknown>>;
  readonly path?: string;
  readonly data?: Readonly<Record<string, unknown>>;
  readonly cas?: number;
  readonly version?: number;
  /** Seconds. */
  readonly increment?: number;
  readonly roleId?: string;
  readonly secretId?: string;
  readonly plaintexts?: readonly string[];
}

/** What the client gave its caller. */
export interface VaultOutcome {
  readonly value?: unknown;
  /** Status 0: not an answer of the server. */
  readonly error?: { readonly status: number; readonly errors: readonly string[] | null };
}

export interface VaultServer {
  readonly address: string;
  readonly ca: string;
  readonly certificate: CertificateFiles;
}

const callWithinMs = 20_000;

export class VaultClient {
  readonly #child: ChildProcess;
  readonly #waiting = new Map<number, (outcome: VaultOutcome) => void>();
  #lastId = 0;

  constructor(command: readonly string[], server: VaultServer) {
    this.#child = spawn(command[0]!, command.slice(1), {
      env: {
        PATH: process.env['PATH'] ?? '',
        VAULT_ADDR: server.address,
        VAULT_CACERT: server.ca,
        VAULT_CLIENT_CERT: server.certificate.cert,
        VAULT_CLIENT_KEY: server.certificate.key,
      },
      stdio: ['pipe', 'pipe', 'inherit'],
    });
    createInterface({ input: this.#child.stdout! }).on('line', (line) => {
      const { id, ...outcome } = JSON.parse(line) as VaultOutcome & { id: number };
      this.#waiting.get(id)?.(outcome);
      this.#waiting.delete(id);
    });
    const fail = (): void => {
      for (const settle of this.#waiting.values())
        settle({ error: { status: 0, errors: ['the client process ended'] } });
    };
    this.#child.once('exit', fail).once('error', fail);
  }

  call(op: string, call: VaultCall = {}): Promise<VaultOutcome> {
    const id = ++this.#lastId;
    return new Promise((resolve, reject) => {
      const late = setTimeout(() => {
        reject(new Error(`no answer to ${op}`));
      }, callWithinMs);
      this.#waiting.set(id, (outcome) => {
        clearTimeout(late);
        resolve(outcome);
      });
      this.#child.stdin!.write(`${JSON.stringify({ id, op, ...call })}\n`);
    });
  }

  async close(): Promise<void> {
    if (this.#child.exitCode !== null || this.#child.signalCode !== null) return;
    const ended = once(this.#child, 'exit');
    this.#child.stdin!.end();
    const insist = setTimeout(() => void this.#child.kill('SIGKILL'), 3000);
    await ended;
    clearTimeout(insist);
  }
}

/** Command lines of the clients, by name; undefined after a skip, as {@link needTools}. */
export async function vaultClients(
  t: Parameters<typeof needTools>[0],
): Promise<Readonly<Record<string, readonly string[]>> | undefined> {
  const tools = await needTools(t, 'vaultGo', 'vaultPython', 'vaultRust');
  if (tools === undefined) return undefined;
  return {
    'Go, api': [tools.vaultGo],
    'Node.js, node-vault': [process.execPath, join(import.meta.dirname, 'vault-node.ts')],
    'Python, hvac': [tools.vaultPython],
    'Rust, vaultrs': [tools.vaultRust],
  };
}
