/**
 * What a stock RustFS asks of Vault, as recorded (in ../shared), asked of Sello: the same answers but for what no two answers share. What a
 * recording takes for granted (keys and records made by calls that are not in it) is made first.
 */
import { existsSync, readFileSync } from 'node:fs';
import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join, resolve } from 'node:path';
import t, { type Test } from 'tap';
import { comparable, Peer, TransitSite, type PeerAnswer } from './site.ts';
import type { Step } from './corpus.ts';

interface Exchange {
  readonly seq: number;
  readonly request: {
    readonly method: string;
    readonly path: string;
    readonly headers: [string, string][];
    readonly body: string;
  };
  readonly response: { readonly status: number; readonly headers: [string, string][]; readonly body: string };
}

interface Recording {
  readonly kinds: readonly { readonly samples: readonly Exchange[] }[];
}

const folder = resolve(import.meta.dirname, '../../../../shared/vectors/rustfs');
const prefix = 'secret/data/rustfs/kms/transit-metadata/';

function exchangesOf(file: string): Exchange[] {
  const { kinds } = JSON.parse(readFileSync(join(folder, file), 'utf8')) as Recording;
  return kinds.flatMap(({ samples }) => samples).sort((a, b) => a.seq - b.seq);
}

function recorded({ response }: Exchange): PeerAnswer {
  const headers = Object.fromEntries(response.headers.map(([name, value]) => [name.toLowerCase(), value]));
  return { status: response.status, headers, body: response.body };
}

const dataOf = (body: string): Record<string, unknown> =>
  (JSON.parse(body) as { data: Record<string, unknown> | null }).data ?? {};

class Replay {
  readonly #peer: Peer;
  readonly #kept = new Map<string, string>();

  constructor(peer: Peer) {
    this.#peer = peer;
  }

  async call(ask: string, body?: unknown): Promise<PeerAnswer> {
    const step: Step = { ask, ...(body === undefined ? {} : { body }) };
    return this.#peer.ask(step, this.#kept);
  }

  /** Makes what the recorded answer says is there. */
  async prepare({ request, response }: Exchange): Promise<void> {
    const path = request.path.replace(/^\/v1\//, '').replace(/\?.*$/, '');
    const [, kind, name = ''] = path.split('/');
    if (request.method === 'LIST' && response.status === 200) await this.call('POST transit/keys/listed');
    if (path.startsWith('transit/') && response.status < 300 && name !== '') {
      const isMade = (await this.call(`GET transit/keys/${name}`)).status === 200;
      if (!isMade && !(kind === 'keys' && request.method === 'POST' && path.endsWith(`keys/${name}`)))
        await this.call(`POST transit/keys/${name}`, { type: 'aes256-gcm96' });
      const { latest_version: latest = 1 } = request.method === 'GET' ? dataOf(response.body) : {};
      for (let have = await this.#latest(name); have > 0 && have < Number(latest); have++)
        await this.call(`POST transit/keys/${name}/rotate`);
    }
    if (path.startsWith(prefix) && request.method === 'GET' && response.status === 200) {
      const { data, metadata } = dataOf(response.body) as { data: unknown; metadata: { version: number } };
      await this.#writeUntil(path, data, metadata.version);
    }
    if (path.includes('/metadata/') && request.method === 'GET' && response.status === 200) {
      const { current_version: version } = dataOf(response.body);
      await this.#writeUntil(path.replace('/metadata/', '/data/'), { some: 'data' }, Number(version));
    }
  }

  async #latest(name: string): Promise<number> {
    const answer = await this.call(`GET transit/keys/${name}`);
    return answer.status === 200 ? Number(dataOf(answer.body)['latest_version']) : 0;
  }

  /** Writes versions until `version` is there with this data. */
  async #writeUntil(path: string, data: unknown, version: number): Promise<void> {
    const metadata = await this.call(`GET ${path.replace('/data/', '/metadata/')}`);
    const have = metadata.status === 200 ? Number(dataOf(metadata.body)['current_version']) : 0;
    const stored = await this.call(`GET ${path}?version=${String(version)}`);
    const isThere =
      stored.status === 200 && JSON.stringify(dataOf(stored.body)['data']) === JSON.stringify(data);
    if (isThere || (have >= version && (data as { some?: string }).some !== undefined)) return;
    if (have >= version) await this.call(`DELETE ${path.replace('/data/', '/metadata/')}`);
    for (let i = have >= version ? 0 : have; i < version; i++) await this.call(`POST ${path}`, { data });
  }

  async replay(exchange: Exchange): Promise<PeerAnswer> {
    const { request, response } = exchange;
    const path = request.path.replace(/^\/v1\//, '');
    if (path.startsWith('transit/decrypt/')) {
      // A ciphertext of Vault's is Vault's: the same data and context, sealed here.
      const { associated_data } = JSON.parse(request.body) as { associated_data: string };
      const { plaintext } = dataOf(response.body);
      const sealed = await this.call(`POST ${path.replace('decrypt', 'encrypt')}`, {
        plaintext,
        associated_data,
      });
      const { ciphertext } = dataOf(sealed.body);
      return this.call(`POST ${path}`, { ciphertext, associated_data });
    }
    return this.call(`${request.method} ${path}`, request.body === '' ? undefined : request.body);
  }
}

/** Names in a list are as many as calls were recorded. */
function shape(answer: PeerAnswer, isList: boolean): unknown {
  const value = comparable(answer) as { body: { data?: { keys?: unknown } } };
  if (isList && value.body.data?.keys !== undefined) value.body.data.keys = 'names';
  return value;
}

async function replayAll(t: Test, file: string, skip: (exchange: Exchange) => boolean): Promise<void> {
  const place = await mkdtemp(join(tmpdir(), 'sello-rustfs-'));
  const site = await TransitSite.start(join(place, 'sello'));
  t.teardown(async () => {
    await site.stop();
    await rm(place, { recursive: true, force: true });
  });
  const peer = new Peer({
    origin: site.origin,
    token: await site.tokenOf(site.node),
    tls: await site.tls(site.node),
  });
  t.teardown(() => peer.close());
  const replay = new Replay(peer);
  for (const exchange of exchangesOf(file)) {
    if (skip(exchange)) continue;
    await replay.prepare(exchange);
    const found = await replay.replay(exchange);
    const isList = exchange.request.method === 'LIST';
    const { method, path } = exchange.request;
    if (exchange.response.status === 403) {
      // The recorded Vault's policy names no path but those of records; Sello's policies know no paths.
      t.same(found.body, '{"errors":[]}\n', `${String(exchange.seq)} ${method} ${path}: nothing is there`);
      continue;
    }
    t.same(
      shape(found, isList),
      shape(recorded(exchange), isList),
      `${String(exchange.seq)} ${method} ${path}`,
    );
  }
}

const reason = existsSync(folder) ? false : 'the recordings are not here: ../shared/vectors/rustfs';

t.test('a run of RustFS', { skip: reason, timeout: 120_000 }, (t) => replayAll(t, 'calls.json', () => false));
t.test('logins, and key ids that an attacker chose', { skip: reason, timeout: 120_000 }, (t) =>
  // Logins need this server's own ids; the differential test has them.
  replayAll(t, 'login-calls.json', ({ request }) => request.path.startsWith('/v1/auth/')),
);
