/** Sello as its own process, started as people start it: `node src/main.ts serve --config FILE`. */
import { mkdir, readFile, writeFile } from 'node:fs/promises';
import { join, resolve } from 'node:path';
import { connect } from 'node:tls';
import {
  createAuthority,
  createApiKey,
  type ApiKey,
  type CertificateFiles,
  type TestAuthority,
} from './certificates.ts';
import { freePort, RunningProcess } from './process.ts';

const projectRoot = resolve(import.meta.dirname, '../..');

export type Policies = Readonly<Record<string, { allow: string[]; deny?: string[]; identities: string[] }>>;

/** What a configuration file has to name. */
export interface ConfigFacts {
  /** `127.0.0.1:PORT` */
  readonly address: string;
  readonly server: CertificateFiles;
  readonly adminIdentity: string;
  /** Folder of the master keys. */
  readonly keys: string;
  readonly policies: Policies;
}

export interface SelloOptions {
  /** For keys, logs, certificates and the configuration. */
  readonly folder: string;
  /** A CA that exists already. */
  readonly authority?: TestAuthority;
  /** Policies by name, as in a KES file. */
  readonly policies?: Policies;
  /** The configuration file's content, by default {@link kesConfig}. JSON is YAML. */
  readonly config?: (facts: ConfigFacts) => object;
  /** Prefix of the command line, such as `taskset -c 0`. */
  readonly wrapper?: readonly string[];
  readonly nodeOptions?: readonly string[];
  /** Variables beside the usual ones. */
  readonly env?: Readonly<Record<string, string>>;
}

/** A file as people have it from KES: keystore fs, one admin, `auth: off`, audit on. */
export function kesConfig(facts: ConfigFacts): Record<string, unknown> {
  return {
    version: 'v1',
    address: facts.address,
    admin: { identity: facts.adminIdentity },
    tls: { cert: facts.server.cert, key: facts.server.key },
    policy: facts.policies,
    cache: { expiry: { any: '5m', unused: '60s', offline: '0s' } },
    log: { error: 'on', audit: 'on' },
    keystore: { fs: { path: facts.keys } },
  };
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

  /** Writes the configuration and starts; the admin has an API key. */
  static async start(options: SelloOptions): Promise<Sello> {
    await mkdir(join(options.folder, 'keys'), { recursive: true });
    const authority = options.authority ?? (await createAuthority(join(options.folder, 'certs')));
    const sello = new Sello(options, await freePort(), authority, createApiKey());
    const config = (options.config ?? kesConfig)({
      address: `127.0.0.1:${String(sello.port)}`,
      server: await authority.issue('sello', 'server'),
      adminIdentity: sello.admin.identity,
      keys: sello.keys,
      policies: options.policies ?? {},
    });
    await writeFile(sello.#configFile, JSON.stringify(config, undefined, 2));
    await sello.run();
    return sello;
  }

  get #configFile(): string {
    return join(this.#options.folder, 'sello.yaml');
  }

  /** Starts the process (again) on the same port, keys and configuration. */
  async run(): Promise<void> {
    const { wrapper = [], nodeOptions = [] } = this.#options;
    const command = [...wrapper, process.execPath, ...nodeOptions, join(projectRoot, 'src/main.ts')];
    this.#process = await RunningProcess.start({
      command: command[0]!,
      args: [...command.slice(1), 'serve', '--config', this.#configFile],
      log: join(this.#options.folder, 'sello.log'),
      isReady: () => this.#answersHandshakes(),
      ...(this.#options.env === undefined ? {} : { env: this.#options.env }),
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
