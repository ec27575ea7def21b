/** Replicas of one server as real processes on one real Vault, each behind a wire of its own, that know each other as peers. */
import { mkdir, readFile, writeFile } from 'node:fs/promises';
import { join, resolve } from 'node:path';
import type { Test } from 'tap';
import { issue, type Issued } from '../attacks/pki.ts';
import { Session, within, type Answer } from '../attacks/client.ts';
import { credentialsOf } from '../attacks/pki.ts';
import { Wire } from '../vault/wire.ts';
import { freePort, RunningProcess } from './process.ts';
import type { Vault } from './vault.ts';

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
  #running: RunningProcess | undefined;

  constructor(place: ReplicaPlace, wire: Wire, admin: Issued) {
    this.place = place;
    this.wire = wire;
    this.#admin = admin;
  }

  async run(): Promise<void> {
    const main = resolve(import.meta.dirname, '../../src/main.ts');
    this.#running = await RunningProcess.start({
      command: process.execPath,
      args: [main, 'serve', '--config', join(this.place.folder, 'sello.yaml')],
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
  const { admin, folder, keys, processes, vault } = options;
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
    await writeFile(join(place.folder, 'token'), vault.rootToken, { mode: 0o600 });
    const config = {
      version: 'sello/v1',
      processes: processes[i],
      propagation: `${String(propagationMs)}ms`,
      probes: `127.0.0.1:${String(place.probePort)}`,
      listeners: [
        { address: `127.0.0.1:${String(place.port)}`, tls: { cert: 'server.crt', key: 'server.key' } },
      ],
      peers: {
        address: `127.0.0.1:${String(place.peersPort)}`,
        tls: { cert: 'peer.crt', key: 'peer.key' },
        ca: 'ca.crt',
        name: peersName,
        // Itself is among them, as a DNS name for all of them would have it.
        urls: places.map(({ peersPort }) => `https://127.0.0.1:${String(peersPort)}`),
      },
      holds: { folder: 'holds' },
      audit: { mode: 'off' },
      tenants: [
        {
          name: 'alpha',
          clients: { auth: 'off' },
          admins: [admin.identity],
          cache: { expiry: '5m', unused: '5m', offline: '10m' },
          lifecycle: { deletionWait: '1h' },
          audit: { path: 'audit.jsonl' },
          keystore: {
            vaultKv: {
              addresses: [`http://127.0.0.1:${String(wire.port)}`],
              engine: 'kv',
              login: { token: { file: 'token' } },
              timeout: '10s',
              ping: '500ms',
            },
          },
        },
      ],
    };
    await writeFile(join(place.folder, 'sello.yaml'), JSON.stringify(config, undefined, 2));
    const replica = new Replica(place, wire, admin);
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

export async function auditOf({ place }: Replica): Promise<string> {
  return readFile(join(place.folder, 'audit.jsonl'), 'utf8');
}
