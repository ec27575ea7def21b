/** The other replicas as this one reaches them: where they are, and a connection to each. */
import { lookup } from 'node:dns/promises';
import { X509Certificate } from 'node:crypto';
import { isIPv6 } from 'node:net';
import { setTimeout as delay } from 'node:timers/promises';
import { buildConnector, Pool } from 'undici';
import {
  maxMessageBytes,
  parsePage,
  peersPrefix,
  replicaHeader,
  type Cursor,
  type Page,
  type TenantItem,
} from '../api/peers/index.ts';
import type { PeersConfig } from '../config/model.ts';
import type { PeerTrust } from './peer-trust.ts';

/** Addresses of a DNS name that are taken; more replicas of one name are a mistake. */
const mostPeers = 64;

/** Of one peer in one round; it is asked for the rest in the next. One that always has more keeps nobody from the others. */
const mostPages = 20;

/** Idle connections are kept over some rounds. */
const keepAliveMs = 60_000;

interface Peer {
  readonly url: string;
  readonly pool: Pool;
  /** How far it was heard. */
  cursor: Cursor;
  /** It is this replica itself. */
  isSelf: boolean;
  isReachable: boolean;
}

export interface Reached {
  readonly known: number;
  readonly reachable: number;
}

export class PeerClient {
  readonly #config: PeersConfig;
  readonly #replica: string;
  readonly #timeoutMs: number;
  readonly #connector: buildConnector.connector;
  #peers = new Map<string, Peer>();
  #isDiscovered = false;
  #isClosed = false;
  #looking: Promise<void> | undefined;
  readonly #lookup: (host: string) => Promise<readonly string[]>;

  constructor(
    config: PeersConfig,
    trust: PeerTrust,
    replica: string,
    timeoutMs: number,
    lookUp: (host: string) => Promise<readonly string[]> = addressesOf,
  ) {
    this.#lookup = lookUp;
    this.#config = config;
    this.#replica = replica;
    this.#timeoutMs = timeoutMs;
    this.#connector = buildConnector({
      ...trust.context,
      timeout: timeoutMs,
      ...(trust.name === undefined ? {} : { servername: trust.name }),
      maxCachedSessions: 0,
      // undici does not take the option's own type for it: Node's does.
      checkServerIdentity: (_host: string, { raw }: { readonly raw: Buffer }) => {
        const reason = trust.refuses(new X509Certificate(raw), Date.now());
        return reason === undefined ? undefined : new Error(reason);
      },
    } as buildConnector.BuildOptions);
  }

  get reached(): Reached {
    const others = [...this.#peers.values()].filter(({ isSelf }) => !isSelf);
    return { known: others.length, reachable: others.filter(({ isReachable }) => isReachable).length };
  }

  /**
   * Looks where they are. A name that does not resolve now, or not in time, leaves those that are known: name servers are away when
   * more is.
   */
  async discover(): Promise<void> {
    if (this.#config.discover === undefined) this.#use(this.#config.urls);
    else if (!this.#isDiscovered) this.#use([...this.#config.urls, ...this.#peers.keys()]);
    // One look at a time: each occupies one of the few threads that also read files.
    this.#looking ??= this.#lookUp().finally(() => (this.#looking = undefined));
    const waiting = new AbortController();
    await Promise.race([
      this.#looking,
      delay(this.#timeoutMs, undefined, { signal: waiting.signal, ref: false }).catch(() => undefined),
    ]);
    waiting.abort();
  }

  async #lookUp(): Promise<void> {
    const { discover, urls } = this.#config;
    if (discover === undefined) return;
    try {
      const found = await this.#lookup(discover.host);
      const there = found
        .slice(0, mostPeers)
        .map((address) => `https://${isIPv6(address) ? `[${address}]` : address}:${String(discover.port)}`);
      if (!this.#isClosed) this.#use([...urls, ...there]);
      this.#isDiscovered = true;
    } catch {
      // Those that are known stay.
    }
  }

  #use(wanted: readonly string[]): void {
    const urls = new Set(wanted);
    for (const [url, { pool }] of this.#peers) {
      if (urls.has(url)) continue;
      this.#peers.delete(url);
      void pool.destroy().catch(() => undefined);
    }
    for (const url of urls) if (!this.#peers.has(url)) this.#peers.set(url, this.#peerOf(url));
  }

  /** Tells everybody. @returns how many of the others took it */
  async tell(items: readonly TenantItem[]): Promise<{ readonly known: number; readonly told: number }> {
    if (this.#peers.size === 0) await this.discover();
    const body = JSON.stringify({ items });
    const told = await Promise.all(
      this.#others.map(async (peer) => (await this.#ask(peer, 'tell', body)) !== undefined),
    );
    // Who is this replica itself is known after the answer.
    return { known: this.reached.known, told: told.filter(Boolean).length };
  }

  /** Asks everybody for what is new. */
  async pull(take: (items: readonly TenantItem[], url: string) => Promise<void>): Promise<void> {
    await Promise.all(this.#others.map((peer) => this.#pullOne(peer, take)));
  }

  async close(): Promise<void> {
    this.#isClosed = true;
    for (const { pool } of this.#peers.values()) await pool.destroy().catch(() => undefined);
    this.#peers = new Map();
  }

  get #others(): Peer[] {
    return [...this.#peers.values()].filter(({ isSelf }) => !isSelf);
  }

  async #pullOne(
    peer: Peer,
    take: (items: readonly TenantItem[], url: string) => Promise<void>,
  ): Promise<void> {
    const endMs = performance.now() + this.#timeoutMs;
    let isMore = true;
    for (let page = 0; isMore && page < mostPages && performance.now() < endMs; page++) {
      const text = await this.#ask(peer, 'pull', JSON.stringify(peer.cursor));
      const answer = text === undefined ? undefined : pageOf(text);
      // A peer of another release may tell what this one does not know; the store says it in the end.
      if (answer === undefined) return;
      const { epoch, items, more, next } = answer;
      await take(items, peer.url);
      // One that does not come forward would be asked for ever.
      isMore = more && next > peer.cursor.after;
      peer.cursor = { epoch, after: next };
    }
  }

  /** @returns the answer's body; undefined when there is none, or it is this replica's own */
  async #ask(peer: Peer, what: 'tell' | 'pull', body: string): Promise<string | undefined> {
    const signal = AbortSignal.timeout(this.#timeoutMs);
    try {
      const answer = await peer.pool.request({
        method: 'POST',
        path: peersPrefix + what,
        headers: { 'content-type': 'application/json' },
        body,
        signal,
      });
      const chunks: Buffer[] = [];
      let bytes = 0;
      for await (const chunk of answer.body as AsyncIterable<Buffer>) {
        bytes += chunk.length;
        if (bytes > maxMessageBytes) throw new RangeError('more than a message may have');
        chunks.push(chunk);
      }
      peer.isSelf = answer.headers[replicaHeader] === this.#replica;
      const isTaken = answer.statusCode < 300;
      // One that puts off what is asked of it is there.
      peer.isReachable = isTaken || answer.statusCode === 429;
      return peer.isSelf || !isTaken ? undefined : Buffer.concat(chunks).toString();
    } catch {
      peer.isReachable = false;
      return undefined;
    }
  }

  #peerOf(url: string): Peer {
    const pool = new Pool(url, {
      connect: this.#connector,
      connections: 1,
      pipelining: 1,
      keepAliveTimeout: keepAliveMs,
      keepAliveMaxTimeout: keepAliveMs,
      headersTimeout: this.#timeoutMs,
      bodyTimeout: this.#timeoutMs,
    });
    return { url, pool, cursor: { epoch: '', after: 0 }, isSelf: false, isReachable: false };
  }
}

async function addressesOf(host: string): Promise<readonly string[]> {
  return (await lookup(host, { all: true })).map(({ address }) => address);
}

function pageOf(text: string): Page | undefined {
  try {
    return parsePage(JSON.parse(text));
  } catch {
    return undefined;
  }
}
