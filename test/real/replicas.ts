/**
 * Replicas of one server as real processes on one real Vault, each behind a wire of its own, that know each other as peers:
 * config/sello-replicas.yaml, as it is.
 */
import { mkdir, readdir, readFile, writeFile } from 'node:fs/promises';
import { join, resolve } from 'node:path';
import type { Test } from 'tap';
import { issue, type Issued } from '../attacks/pki.ts';
import { Session, within, type Answer } from '../attacks/client.ts';
import { credentialsOf } from '../attacks/pki.ts';
import { Wire } from '../vault/wire.ts';
import type { TestAuthority } from './certificates.ts';
import { freePort, RunningProcess } from './process.ts';
import type { Vault } from './vault.ts';

const root = resolve(import.meta.dirname, '../..');

export const peersName = 'sello-peers.test';
export const propagationMs = 4_000;

export interface ReplicaPlace {
  readonly folder: string;
  readonly port: number;
  readonly peersPort: number;
  readonly probePort: number;
}

export interface ReplicasOptions {
  readonly vault: Vault;
  readonly vaultAuthority: TestAuthority;
  /** Who issued the administrator's certificate. */
  readonly clients: Issued;
  readonly folder: string;
  readonly admin: Issued;
  /** Of each replica. */
  readonly processes: readonly number[];
  readonly keys: readonly string[];
}

export class Replica {
  readonly place: ReplicaPlace;
  readonly wire: Wire;
  readonly #admin: Issued;
  readonly #env: Readonly<Record<string, string>>;
  #running: RunningProcess | undefined;

  constructor(place: ReplicaPlace, wire: Wire, admin: Issued, env: Readonly<Record<string, string>>) {
    this.#env = env;
    this.place = place;
    this.wire = wire;
    this.#admin = admin;
  }

  async run(): Promise<void> {
    this.#running = await RunningProcess.start({
      command: process.execPath,
      args: [join(root, 'src/main.ts'), 'serve', '--config', join(root, 'config/sello-replicas.yaml')],
      env: this.#env,
      log: join(this.place.folder, 'sello.log'),
      readyWithinMs: 60_000,
      isReady: async () => {
        const response = await fetch(`http://127.0.0.1:${String(this.place.probePort)}/livez`);
        if (response.status !== 200) return false;
        return (await this.ask('GET', '/v1/status')).status === 200;
      },
    });
  }

  stop(signal: 'SIGTERM' | 'SIGKILL' = 'SIGTERM'): Promise<number | null> | undefined {
    return this.#running?.stop(signal);
  }

  output(): Promise<string> {
    return this.#running!.output();
  }

  /** On a connection of its own: with several processes any of them answers. */
  async ask(
    method: string,
    path: string,
    body?: unknown,
  ): Promise<Answer & { json: Record<string, unknown> }> {
    const session = await Session.open({ port: this.place.port, credentials: credentialsOf(this.#admin) });
    try {
      const answer = await session.ask({
        method,
        path,
        ...(body === undefined ? {} : { body: JSON.stringify(body) }),
      });
      let json = {};
      try {
        json = JSON.parse(answer.body.toString()) as object;
      } catch {
        // Some answers are none.
      }
      return { ...answer, json };
    } finally {
      session.close();
    }
  }

  async issue(key: string): Promise<number> {
    return (await this.ask('POST', `/v1/key/generate/${key}`, {})).status;
  }

  admin(method: string, path: string, body?: unknown) {
    return this.ask(method, `/admin/v1/${path}`, body ?? (method === 'POST' ? {} : undefined));
  }

  async metrics(): Promise<string> {
    return (await fetch(`http://127.0.0.1:${String(this.place.probePort)}/metrics`)).text();
  }

  async metric(name: string): Promise<number[]> {
    const text = await this.metrics();
    return [...text.matchAll(new RegExp(`^${name}(?:\\{[^}]*\\})? (\\S+)$`, 'gm'))].map(([, value]) =>
      Number(value),
    );
  }
}

/** Starts them all, with keys that exist and are in memory in every process. */
export async function startReplicas(t: Test, options: ReplicasOptions): Promise<Replica[]> {
  const { admin, clients, folder, keys, processes, vault, vaultAuthority } = options;
  const { roleId, secretId } = await login(vault, folder);
  const authority = issue('peers', { ca: true, extendedKeyUsage: [] });
  const places: ReplicaPlace[] = [];
  for (const i of processes.keys())
    places.push({
      folder: join(folder, `r${String(i)}`),
      port: await freePort(),
      peersPort: await freePort(),
      probePort: await freePort(),
    });
  const replicas: Replica[] = [];
  for (const [i, place] of places.entries()) {
    const wire = await Wire.start(t, vault.port);
    await mkdir(place.folder, { recursive: true });
    const server = issue('server', {
      keyKind: 'p256',
      extendedKeyUsage: ['serverAuth'],
      dnsNames: ['localhost'],
      ipAddresses: ['127.0.0.1'],
    });
    const peer = issue(`replica ${String(i)}`, {
      issuer: authority,
      keyKind: 'p256',
      extendedKeyUsage: ['serverAuth', 'clientAuth'],
      dnsNames: [peersName],
    });
    for (const [name, { certificatePem, privateKeyPem }] of [
      ['server', server],
      ['peer', peer],
    ] as const) {
      await writeFile(join(place.folder, `${name}.crt`), certificatePem);
      await writeFile(join(place.folder, `${name}.key`), privateKeyPem, { mode: 0o600 });
    }
    await writeFile(join(place.folder, 'ca.crt'), authority.certificatePem);
    await writeFile(join(place.folder, 'clients.crt'), clients.certificatePem);
    const file = (name: string): string => join(place.folder, name);
    const env = {
      SELLO_PROPAGATION: `${String(propagationMs)}ms`,
      SELLO_PROCESSES: String(processes[i]),
      SELLO_ADDRESS: `127.0.0.1:${String(place.port)}`,
      SELLO_TLS_CERT: file('server.crt'),
      SELLO_TLS_KEY: file('server.key'),
      SELLO_PEERS_ADDRESS: `127.0.0.1:${String(place.peersPort)}`,
      SELLO_PEER_CERT: file('peer.crt'),
      SELLO_PEER_KEY: file('peer.key'),
      SELLO_PEER_CA: file('ca.crt'),
      SELLO_PEER_NAME: peersName,
      ...Object.fromEntries(
        places.map(({ peersPort }, k) => [
          `SELLO_PEER_${String(k + 1)}`,
          `https://127.0.0.1:${String(peersPort)}`,
        ]),
      ),
      SELLO_HOLDS: file('holds'),
      SELLO_PROBES: `127.0.0.1:${String(place.probePort)}`,
      SELLO_AUDIT: file('audit'),
      SELLO_ADMIN: admin.identity,
      SELLO_CLIENT_CA: file('clients.crt'),
      VAULT_ADDR: `https://localhost:${String(wire.port)}`,
      VAULT_CACERT: vaultAuthority.ca,
      SELLO_ROLE_ID: roleId,
      SELLO_SECRET_ID: secretId,
    };
    const replica = new Replica(place, wire, admin, env);
    t.teardown(async () => {
      await replica.stop();
    });
    replicas.push(replica);
  }
  await Promise.all(replicas.map((replica) => replica.run()));
  for (const key of keys) await replicas[0]!.ask('POST', `/v1/key/create/${key}`);
  for (const replica of replicas) for (const key of keys) await warm(replica, key);
  for (const replica of replicas) {
    const reached = async (): Promise<boolean> =>
      (await replica.metric('sello_peers_reachable')).some((count) => count === replicas.length - 1);
    if (!(await within(20_000, reached))) throw new Error(`peers not reached: ${await replica.output()}`);
  }
  return replicas;
}

/** Into the memory of every process. */
async function warm(replica: Replica, key: string): Promise<void> {
  for (let i = 0; i < 12; i++) await replica.issue(key);
}

/** Files with what the replicas log in with. */
async function login(vault: Vault, folder: string): Promise<{ roleId: string; secretId: string }> {
  await vault.must('POST', 'sys/auth/approle', { type: 'approle' });
  await vault.must('PUT', 'sys/policies/acl/replicas', {
    policy: 'path "kv/*" { capabilities = ["create", "read", "update", "delete", "list"] }',
  });
  await vault.must('POST', 'auth/approle/role/sello', { token_policies: ['replicas'], token_ttl: '1h' });
  const role = await vault.must('GET', 'auth/approle/role/sello/role-id');
  const secret = await vault.must('POST', 'auth/approle/role/sello/secret-id', {});
  const files = { roleId: join(folder, 'role-id'), secretId: join(folder, 'secret-id') };
  await writeFile(files.roleId, role.data!['role_id'] as string);
  await writeFile(files.secretId, secret.data!['secret_id'] as string, { mode: 0o600 });
  return files;
}

/** Everything of the tenant's trail. */
export async function auditOf({ place }: Replica): Promise<string> {
  const folder = join(place.folder, 'audit/acme');
  const files = (await readdir(folder, { recursive: true, withFileTypes: true })).filter((each) =>
    each.isFile(),
  );
  return (
    await Promise.all(files.map(({ name, parentPath }) => readFile(join(parentPath, name), 'utf8')))
  ).join('');
}
