/** Sello as its own process, started as people start it: `node src/main.ts serve --config FILE`. */
import { mkdir, readFile, writeFile } from 'node:fs/promises';
import { join, resolve } from 'node:path';
import { connect } from 'node:tls';
import { createAuthority, createApiKey, type ApiKey, type TestAuthority } from './certificates.ts';
import { freePort, RunningProcess } from './process.ts';

const projectRoot = resolve(import.meta.dirname, '../..');

/** A configuration file as KES reads it. JSON is YAML. */
export type KesConfig = Readonly<Record<string, unknown>>;

export interface SelloOptions {
  /** For keys, logs, certificates and the configuration. */
  readonly folder: string;
  /** Policies by name, as in a KES file. `identities` are given here too. */
  readonly policies?: Readonly<Record<string, { allow: string[]; deny?: string[]; identities: string[] }>>;
  /** Merged over the generated file's top level. */
  readonly config?: KesConfig;
  /** Prefix of the command line, such as `taskset -c 0`. */
  readonly wrapper?: readonly string[];
}

export class Sello {
  readonly endpoint: string;
  readonly port: number;
  readonly authority: TestAuthority;
  readonly admin: ApiKey;
  /** The master keys' folder (KES's fs layout: one file per key). */
  readonly keys: string;
  readonly #options: SelloOptions;
  #process: RunningProcess | undefined;

  private constructor(options: SelloOptions, port: number, authority: TestAuthority, admin: ApiKey) {
    this.#options = options;
    this.port = port;
    this.endpoint = `https://127.0.0.1:${String(port)}`;
    this.authority = authority;
    this.admin = admin;
    this.keys = join(options.folder, 'keys');
  }

  /** Starts with a KES file, keystore fs, one admin with an API key, `auth: off` as KES's default is. */
  static async start(options: SelloOptions & { authority?: TestAuthority }): Promise<Sello> {
    await mkdir(join(options.folder, 'keys'), { recursive: true });
    const authority = options.authority ?? (await createAuthority(join(options.folder, 'certs')));
    const sello = new Sello(options, await freePort(), authority, createApiKey());
    const server = await authority.issue('sello', 'server');
    const config: KesConfig = {
      version: 'v1',
      address: `127.0.0.1:${String(sello.port)}`,
      admin: { identity: sello.admin.identity },
      tls: { cert: server.cert, key: server.key },
      policy: options.policies ?? {},
      cache: { expiry: { any: '5m', unused: '60s', offline: '0s' } },
      log: { error: 'on', audit: 'on' },
      keystore: { fs: { path: sello.keys } },
      ...options.config,
    };
    await writeFile(sello.#configFile, JSON.stringify(config, undefined, 2));
    await sello.run();
    return sello;
  }

  get #configFile(): string {
    return join(this.#options.folder, 'sello.yaml');
  }

  /** Starts the process (again) on the same port, keys and configuration. */
  async run(): Promise<void> {
    const command = [...(this.#options.wrapper ?? []), process.execPath, join(projectRoot, 'src/main.ts')];
    this.#process = await RunningProcess.start({
      command: command[0]!,
      args: [...command.slice(1), 'serve', '--config', this.#configFile],
      log: join(this.#options.folder, 'sello.log'),
      isReady: () => this.#answersHandshakes(),
    });
  }

  get pid(): number {
    return this.#process!.pid;
  }

  async stop(signal: 'SIGTERM' | 'SIGKILL' = 'SIGTERM'): Promise<number | null> {
    return (await this.#process?.stop(signal)) ?? null;
  }

  /** Everything the server wrote to standard output and error: log and audit records. */
  async output(): Promise<string> {
    return (await this.#process?.output()) ?? '';
  }

  async #answersHandshakes(): Promise<boolean> {
    const ca = await readFile(this.authority.ca);
    return new Promise((done) => {
      const socket = connect({ host: '127.0.0.1', port: this.port, ca, timeout: 1000 }, () => {
        socket.destroy();
        done(true);
      });
      // A server that insists on a client certificate ends the handshake with an alert: it is there, too.
      socket.on('error', (error: NodeJS.ErrnoException) =>
        done(/alert/i.test(error.code ?? '') || /alert/.test(error.message)),
      );
      socket.on('timeout', () => {
        socket.destroy();
        done(false);
      });
    });
  }
}
