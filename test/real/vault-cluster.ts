/**
 * Real Vault servers with raft storage, three unless said otherwise: one is active, the others forward to it. Calls here are the administrator's, to a server of
 * his choice.
 */
import { copyFile, mkdir, readFile, rename, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { Agent, fetch, type Response } from 'undici';
import type { CertificateFiles, TestAuthority } from './certificates.ts';
import { freePort, RunningProcess } from './process.ts';
import type { VaultAnswer } from './vault.ts';

interface Node {
  readonly id: string;
  readonly port: number;
  readonly address: string;
  readonly config: string;
  readonly folder: string;
  readonly certificate: CertificateFiles | undefined;
  process: RunningProcess | undefined;
}

export interface ClusterOptions {
  readonly program: string;
  readonly folder: string;
  readonly nodes?: number;
  /** Over TLS, with certificates of this authority. */
  readonly authority?: TestAuthority;
}

/** An election, on a machine that is busy. */
const electedWithinMs = 60_000;

export class VaultCluster {
  readonly #program: string;
  readonly #nodes: readonly Node[];
  readonly #authority: TestAuthority | undefined;
  readonly #agent: Agent;
  #key = '';
  rootToken = '';

  private constructor(
    program: string,
    nodes: readonly Node[],
    authority: TestAuthority | undefined,
    ca: Buffer | undefined,
  ) {
    this.#program = program;
    this.#nodes = nodes;
    this.#authority = authority;
    this.#agent = new Agent(ca === undefined ? {} : { connect: { ca } });
  }

  static async start({
    authority,
    folder,
    nodes: count = 3,
    program,
  }: ClusterOptions): Promise<VaultCluster> {
    const nodes: Node[] = [];
    for (let i = 0; i < count; i++) {
      const id = `n${String(i)}`;
      const port = await freePort();
      const clusterPort = await freePort();
      const place = join(folder, id);
      await mkdir(join(place, 'data'), { recursive: true });
      const config = join(place, 'vault.json');
      const address = `${authority === undefined ? 'http' : 'https'}://127.0.0.1:${String(port)}`;
      const certificate = await authority?.issue(id, 'server');
      await writeFile(
        config,
        JSON.stringify({
          // Leaders are missed as soon as Vault allows: what it recommends for production.
          storage: { raft: { path: join(place, 'data'), node_id: id, performance_multiplier: '1' } },
          listener: {
            tcp: {
              address: `127.0.0.1:${String(port)}`,
              cluster_address: `127.0.0.1:${String(clusterPort)}`,
              ...(certificate === undefined
                ? { tls_disable: true }
                : { tls_cert_file: certificate.cert, tls_key_file: certificate.key }),
            },
          },
          api_addr: address,
          cluster_addr: `https://127.0.0.1:${String(clusterPort)}`,
          disable_mlock: true,
          log_level: 'warn',
        }),
      );
      nodes.push({ id, port, address, config, folder: place, certificate, process: undefined });
    }
    const ca = authority === undefined ? undefined : await readFile(authority.ca);
    const cluster = new VaultCluster(program, nodes, authority, ca);
    try {
      await cluster.#begin();
    } catch (error) {
      await cluster.stop();
      throw error;
    }
    return cluster;
  }

  get addresses(): string[] {
    return this.#nodes.map(({ address }) => address);
  }

  async #begin(): Promise<void> {
    for (const node of this.#nodes) await this.#run(node);
    const [first, ...others] = this.#nodes as [Node, ...Node[]];
    const made = await this.#must(first, 'PUT', 'sys/init', { secret_shares: 1, secret_threshold: 1 });
    this.#key = (made as unknown as { keys: string[] }).keys[0]!;
    this.rootToken = (made as unknown as { root_token: string }).root_token;
    await this.#must(first, 'PUT', 'sys/unseal', { key: this.#key });
    await this.leader();
    for (const node of others) {
      await this.#must(node, 'POST', 'sys/storage/raft/join', { leader_api_addr: first.address });
      await this.#must(node, 'PUT', 'sys/unseal', { key: this.#key });
    }
    // A follower that has not caught up is no candidate: one that votes has.
    const voters = async (): Promise<number> => {
      const answer = await this.#call(first, 'GET', 'sys/storage/raft/configuration');
      const { config } = (answer.body.data ?? {}) as { config?: { servers?: { voter: boolean }[] } };
      return config?.servers?.filter(({ voter }) => voter).length ?? 0;
    };
    await until(async () => (await voters()) === this.#nodes.length);
    for (const node of others) await until(async () => (await this.#health(node)) === 429);
  }

  /** The address of the active server. */
  async leader(except?: string): Promise<string> {
    let active: Node | undefined;
    await until(async () => {
      for (const node of this.#nodes)
        if (node.process !== undefined && node.address !== except && (await this.#health(node)) === 200)
          active = node;
      return active !== undefined;
    });
    return active!.address;
  }

  /** The active server gives way to another one. */
  async stepDown(): Promise<void> {
    await this.#must(this.#at(await this.leader()), 'PUT', 'sys/step-down');
  }

  async killLeader(): Promise<string> {
    const node = this.#at(await this.leader());
    await node.process!.stop('SIGKILL');
    node.process = undefined;
    return node.address;
  }

  /** A server that was killed comes back as one that forwards. */
  async restart(address: string): Promise<void> {
    const node = this.#at(address);
    await this.#run(node);
    await this.#must(node, 'PUT', 'sys/unseal', { key: this.#key });
    await until(async () => [200, 429].includes(await this.#health(node)));
  }

  /** At the active server. */
  async must(method: string, path: string, body?: unknown): Promise<VaultAnswer['body']> {
    return this.#must(this.#at(await this.leader()), method, path, body);
  }

  /** New certificates of the same authority, read by servers that go on. */
  async renewCertificates(): Promise<void> {
    for (const node of this.#nodes) {
      const renewed = await this.#authority!.issue(node.id, 'server');
      for (const part of ['key', 'cert'] as const) {
        const place = node.certificate![part];
        await copyFile(renewed[part], `${place}.new`);
        await rename(`${place}.new`, place);
      }
      process.kill(node.process!.pid, 'SIGHUP');
    }
  }

  /** Of all that the active server has. */
  async snapshot(): Promise<Buffer> {
    const answer = await this.#raw('GET');
    return Buffer.from(await answer.arrayBuffer());
  }

  /** Puts back everything as it was then. */
  async restore(snapshot: Buffer): Promise<void> {
    await this.#raw('POST', snapshot);
    await this.leader();
  }

  async #raw(method: string, body?: Buffer): Promise<Response> {
    const answer = await fetch(`${await this.leader()}/v1/sys/storage/raft/snapshot`, {
      method,
      headers: { 'x-vault-token': this.rootToken },
      body: body ?? null,
      dispatcher: this.#agent,
    });
    if (!answer.ok) throw new Error(`snapshot: ${String(answer.status)} ${await answer.text()}`);
    return answer;
  }

  async stop(): Promise<void> {
    await this.#agent.destroy();
    await Promise.all(this.#nodes.map((node) => node.process?.stop('SIGKILL')));
  }

  async #run(node: Node): Promise<void> {
    node.process = await RunningProcess.start({
      command: this.#program,
      args: ['server', `-config=${node.config}`],
      log: join(node.folder, 'vault.log'),
      readyWithinMs: electedWithinMs,
      env: { VAULT_ADDR: '' },
      // Sealed, or without any key yet, it answers all the same.
      isReady: async () => (await this.#health(node)) > 0,
    });
  }

  async #health(node: Node): Promise<number> {
    try {
      return (
        await fetch(`${node.address}/v1/sys/health`, {
          dispatcher: this.#agent,
          signal: AbortSignal.timeout(2000),
        })
      ).status;
    } catch {
      return 0;
    }
  }

  #at(address: string): Node {
    return this.#nodes.find((node) => node.address === address)!;
  }

  async #call(node: Node, method: string, path: string, body?: unknown): Promise<VaultAnswer> {
    const response = await fetch(`${node.address}/v1/${path}`, {
      method,
      headers: { 'x-vault-token': this.rootToken, 'content-type': 'application/json' },
      ...(body === undefined ? {} : { body: JSON.stringify(body) }),
      dispatcher: this.#agent,
      signal: AbortSignal.timeout(30_000),
    });
    const text = await response.text();
    return {
      status: response.status,
      body: (text === '' ? {} : JSON.parse(text)) as VaultAnswer['body'],
    };
  }

  async #must(node: Node, method: string, path: string, body?: unknown): Promise<VaultAnswer['body']> {
    const answer = await this.#call(node, method, path, body);
    if (answer.status >= 300)
      throw new Error(`${method} ${path}: ${String(answer.status)} ${JSON.stringify(answer.body)}`);
    return answer.body;
  }
}

async function until(holds: () => Promise<boolean>): Promise<void> {
  const endMs = performance.now() + electedWithinMs;
  while (!(await holds())) {
    if (performance.now() > endMs) throw new Error('the cluster did not come to it in time');
    await sleep(50);
  }
}
