/** A folder with certificates and a configuration, and a server started on it as `sello serve` would. */
import { mkdirSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import os from 'node:os';
import path from 'node:path';
import { parseConfig } from '../../src/config/index.ts';
import type { Config } from '../../src/config/model.ts';
import { startServer, type Server } from '../../src/server/index.ts';
import type { Target } from './client.ts';
import { credentialsOf, serverCertificate, type Issued } from './pki.ts';

export class Site {
  readonly folder: string;
  #server: Server | undefined;

  constructor() {
    this.folder = mkdtempSync(path.join(os.tmpdir(), 'sello-attack-'));
    mkdirSync(this.file('audit'));
    this.installServerCertificate(serverCertificate());
  }

  installServerCertificate(made: Issued): void {
    this.write('server.crt', made.certificatePem);
    this.write('server.key', made.privateKeyPem);
  }

  file(name: string): string {
    return path.join(this.folder, name);
  }

  write(name: string, text: string): void {
    writeFileSync(this.file(name), text, { mode: 0o600 });
  }

  parse(text: string): Config {
    const config = parseConfig(text, { file: this.file('sello.yaml'), env: {} });
    return config.log.level === 'trace' ? config : { ...config, log: { ...config.log, level: 'error' } };
  }

  async start(text: string): Promise<Server> {
    this.#server = await startServer(this.parse(text), { logTo: this.file('sello.log') });
    return this.#server;
  }

  reload(text: string): Promise<void> {
    return this.server.reload(this.parse(text));
  }

  get server(): Server {
    if (this.#server === undefined) throw new Error('the server has not been started');
    return this.#server;
  }

  get port(): number {
    return this.server.ports[0]!;
  }

  /** How this leaf reaches the server. */
  as(leaf: Issued | undefined, ...behind: readonly Issued[]): Target {
    return { port: this.port, credentials: leaf === undefined ? undefined : credentialsOf(leaf, ...behind) };
  }

  async remove(): Promise<void> {
    await this.#server?.stop();
    rmSync(this.folder, { recursive: true, force: true });
  }
}

export const listenerYaml = `version: sello/v1
probes: off
listeners:
  - address: 127.0.0.1:0
    tls: {cert: server.crt, key: server.key, minVersion: TLSv1.2}
`;

/** A rule as it stands in a policy: operations of the vocabulary, or a KES pattern. */
export type RuleYaml = { operations: readonly string[]; keys?: readonly string[] } | { kes: string };

export interface PolicyYaml {
  readonly allow?: readonly RuleYaml[];
  readonly deny?: readonly RuleYaml[];
  readonly identities: readonly string[];
}

export interface TenantYaml {
  readonly name: string;
  readonly admins?: readonly string[];
  readonly clients: Readonly<Record<string, unknown>>;
  readonly policies?: Readonly<Record<string, PolicyYaml>>;
  readonly keystore?: Readonly<Record<string, unknown>>;
  readonly audit?: Readonly<Record<string, unknown>>;
  readonly [section: string]: unknown;
}

/** JSON is YAML: no quoting to get wrong. */
export function tenantsYaml(...tenants: readonly TenantYaml[]): string {
  const whole = tenants.map((tenant) => ({ keystore: { memory: {} }, audit: { mode: 'off' }, ...tenant }));
  return `tenants: ${JSON.stringify(whole)}\n`;
}

export const serverAuditOff = 'audit: {mode: off}\n';
