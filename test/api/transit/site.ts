/** A server with the Transit face, and a client that asks it and a real Vault alike. */
import { readFile } from 'node:fs/promises';
import { Agent } from 'undici';
import { createAuthority, type CertificateFiles, type TestAuthority } from '../../real/certificates.ts';
import { freePort } from '../../real/process.ts';
import { Sello, type ConfigFacts } from '../../real/sello.ts';
import type { Step } from './corpus.ts';

/** Rows of docs/vault-compatibility.md. */
export const differences: ReadonlySet<string> = new Set([
  'other-types', 'convergent', 'export', 'names', 'field-errors', 'rewrap-associated-data',
  'json-errors', 'outside-the-subset', 'kv-warnings', 'cluster', 'mounts', 'namespaces',
]); // prettier-ignore

export interface PeerAnswer {
  readonly status: number;
  readonly headers: Readonly<Record<string, string>>;
  readonly body: string;
}

/** Headers that both have to have alike. */
const comparedHeaders = ['cache-control', 'content-type', 'strict-transport-security', 'retry-after'];

/** Names of values that no two answers share, and of such as are this server's own. */
const volatileNames = new Set([
  'request_id', 'created_time', 'updated_time', 'creation_time', 'issue_time', 'expire_time', 'deletion_time', 'client_id', 'accessor',
  'id', 'client_token', 'entity_id', 'secret_id', 'secret_id_accessor', 'role_id', 'random_bytes', 'hmac', 'server_time_utc', 'uuid', 'ttl',
]); // prettier-ignore

export function comparable({ body, headers, status }: PeerAnswer): unknown {
  const shown = Object.fromEntries(comparedHeaders.map((name) => [name, headers[name] ?? null]));
  let value: unknown;
  try {
    value = JSON.parse(body);
  } catch {
    value = body;
  }
  return { status, headers: shown, body: masked(value, '') };
}

function masked(value: unknown, name: string): unknown {
  if (Array.isArray(value)) return value.map((each) => masked(each, name));
  if (typeof value === 'object' && value !== null)
    return Object.fromEntries(
      Object.entries(value).map(([each, entry]) => [
        each,
        // Times of versions.
        name === 'keys' && typeof entry === 'number' ? 'time' : masked(entry, each),
      ]),
    );
  if (volatileNames.has(name)) return value === '' || value === null ? value : `some ${typeof value}`;
  if (name === 'ciphertext' && typeof value === 'string') return value.replace(/^(vault:v\d+:).*$/, '$1…');
  if (name === 'plaintext' && typeof value === 'string' && value.length > 20)
    return `key of ${String(value.length)}`;
  return value;
}

export interface PeerOptions {
  readonly origin: string;
  readonly token: string;
  readonly tls?: { readonly ca: Buffer; readonly cert?: Buffer; readonly key?: Buffer };
}

export class Peer {
  readonly #options: PeerOptions;
  readonly #agent: Agent;

  constructor(options: PeerOptions) {
    this.#options = options;
    this.#agent = new Agent({
      allowH2: options.tls !== undefined,
      ...(options.tls === undefined ? {} : { connect: options.tls }),
    });
  }

  async ask(step: Step, kept: Map<string, string>): Promise<PeerAnswer> {
    const fill = (text: string): string =>
      text.replace(/\{\{(\w+)\}\}/g, (_, name: string) => kept.get(name) ?? 'nothing');
    const [method = '', path = ''] = step.ask.split(' ');
    const { body, headers, token = 'root' } = step;
    const text =
      body === undefined ? undefined : fill(typeof body === 'string' ? body : JSON.stringify(body));
    const sent =
      token === 'root'
        ? this.#options.token
        : token === 'none'
          ? undefined
          : token === 'wrong'
            ? `hvs.${'x'.repeat(24)}`
            : fill(token);
    const response = await this.#agent.request({
      origin: this.#options.origin,
      path: `/v1/${path}`,
      method: method as 'GET',
      headers: { ...(sent === undefined ? {} : { 'x-vault-token': sent }), ...headers },
      ...(text === undefined ? {} : { body: text }),
    });
    const answer = {
      status: response.statusCode,
      headers: response.headers as Record<string, string>,
      body: await response.body.text(),
    };
    for (const [name, place] of Object.entries(step.keep ?? {})) {
      const value = place
        .split('.')
        .reduce<unknown>(
          (at, part) => (at as Record<string, unknown> | undefined)?.[part],
          safeJson(answer.body),
        );
      if (typeof value === 'string') kept.set(name, value);
    }
    return answer;
  }

  async close(): Promise<void> {
    await this.#agent.close();
  }
}

function safeJson(text: string): unknown {
  try {
    return JSON.parse(text);
  } catch {
    return {};
  }
}

/** One tenant with the face, on a process of its own. */
export class TransitSite {
  readonly sello: Sello;
  readonly origin: string;
  readonly admin: CertificateFiles;
  readonly node: CertificateFiles;
  readonly #ca: string;

  private constructor(
    sello: Sello,
    origin: string,
    admin: CertificateFiles,
    node: CertificateFiles,
    ca: string,
  ) {
    this.sello = sello;
    this.origin = origin;
    this.admin = admin;
    this.node = node;
    this.#ca = ca;
  }

  /** @param more fields of the tenant */
  static async start(folder: string, authority?: TestAuthority, more: object = {}): Promise<TransitSite> {
    const { mkdir } = await import('node:fs/promises');
    await mkdir(folder, { recursive: true });
    const root = authority ?? (await createAuthority(`${folder}/certs`));
    const [admin, node] = [
      await root.issue('transit-admin', 'client'),
      await root.issue('transit-node', 'client'),
    ];
    const openPort = await freePort();
    const sello = await Sello.start({
      folder,
      authority: root,
      config: ({ address, adminIdentity, server }: ConfigFacts) => ({
        version: 'sello/v1',
        probes: 'off',
        listeners: [
          { address, tls: { cert: server.cert, key: server.key } },
          {
            address: `127.0.0.1:${String(openPort)}`,
            clientCertificate: 'optional',
            tenant: 'acme',
            tls: { cert: server.cert, key: server.key },
          },
        ],
        tenants: [
          {
            name: 'acme',
            admins: [adminIdentity, admin.identity],
            clients: { auth: 'off' },
            keystore: { memory: {} },
            policies: {
              node: {
                identities: [node.identity],
                allow: [{ operations: ['*'] }],
                deny: [{ operations: ['admin'] }],
              },
            },
            transit: { approle: { node: { policy: 'node' } } },
            ...more,
          },
        ],
      }),
    });
    const site = new TransitSite(sello, sello.endpoint, admin, node, root.ca);
    site.openOrigin = `https://127.0.0.1:${String(openPort)}`;
    return site;
  }

  /** Takes callers without a certificate. */
  openOrigin = '';

  async tls(
    files: CertificateFiles | undefined = this.admin,
  ): Promise<{ ca: Buffer; cert?: Buffer; key?: Buffer }> {
    const ca = await readFile(this.#ca);
    return files === undefined
      ? { ca }
      : { ca, cert: await readFile(files.cert), key: await readFile(files.key) };
  }

  /** A login by certificate. */
  async tokenOf(files: CertificateFiles): Promise<string> {
    const peer = new Peer({ origin: this.origin, token: '', tls: await this.tls(files) });
    try {
      const kept = new Map<string, string>();
      const answer = await peer.ask(
        { ask: 'POST auth/cert/login', token: 'none', keep: { token: 'auth.client_token' } },
        kept,
      );
      const token = kept.get('token');
      if (token === undefined) throw new Error(`login: ${String(answer.status)} ${answer.body}`);
      return token;
    } finally {
      await peer.close();
    }
  }

  adminToken(): Promise<string> {
    return this.tokenOf(this.admin);
  }

  async stop(): Promise<void> {
    await this.sello.stop();
  }
}
