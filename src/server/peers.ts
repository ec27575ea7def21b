/**
 * Replicas tell one another of keys that may not be used any more, so that it does not take the store to hear of it: at once by telling
 * every peer, and by asking each a few times in `propagation`, for what was lost on the way. Processes of one server hear of it from
 * their supervisor. What an item may do here is keys/restraints.ts's business: it can restrict keys of its tenant.
 */
import { randomBytes } from 'node:crypto';
import type { Cursor, Page, TenantItem } from '../api/peers/index.ts';
import { maxMessageItems } from '../api/peers/index.ts';
import type { Config, PeersConfig } from '../config/model.ts';
import type { ItemToTell, PeerItem, SpreadCount } from '../keys/index.ts';
import type { TenantName } from '../tenants/name.ts';
import type { Tenant } from '../tenants/tenant.ts';
import type { ServerInfo } from './info.ts';
import { PeerClient } from './peer-client.ts';
import { PeerFeed } from './peer-feed.ts';
import { PeerListener } from './peer-listener.ts';
import { PeerTrust } from './peer-trust.ts';
import { SharedRate } from './shared-rate.ts';

/** What processes of one server tell each other of holds and told states. */
export type RestraintMessage =
  | ({ readonly kind: 'restraint'; readonly tenant: TenantName } & ItemToTell)
  | { readonly kind: 'settled'; readonly tenant: TenantName; readonly id: string }
  /** A process that has just begun: everything, please. */
  | { readonly kind: 'restraints-wanted' };

/** Peers are asked so many times in `propagation`, and have as long to answer: one answer that is lost is made up for. */
const roundsPerPropagation = 4;

/** Of all peers that tell, half of it of one: more is put off, and asked for later. */
const mostItemsPerSecond = 5000;

/** That all peers are given, half of it to one: a page is put together anew for each that asks. */
const mostGivenPerSecond = 20_000;

/** What peers pass on of others is one share: who lies to them uses up that one. */
const relayed = 'relayed';

/** Strangers that knock are told of in the log so often. */
const strangerEveryMs = 60_000;

const replicaVariable = 'SELLO_REPLICA';

/** Names this server among its peers: its processes share it. */
export function replicaId(): string {
  return (process.env[replicaVariable] ??= randomBytes(16).toString('hex'));
}

export interface PeersOptions {
  readonly server: ServerInfo;
  readonly tenants: () => ReadonlyMap<string, Tenant>;
  /** This process listens to peers and asks them, for the others of its server too. */
  readonly isLead: boolean;
  /** To the other processes of this server. */
  readonly tellProcesses: (message: RestraintMessage) => void;
}

export class Peers {
  readonly #options: PeersOptions;
  readonly #feed = new PeerFeed();
  #config: PeersConfig | undefined;
  #timeoutMs = 0;
  #client: PeerClient | undefined;
  #listener: PeerListener | undefined;
  #timer: NodeJS.Timeout | undefined;
  #round: Promise<void> | undefined;
  #outbox: TenantItem[] = [];
  #telling: Promise<SpreadCount> | undefined;
  #lastStrangerMs = -Infinity;
  readonly #told = new SharedRate(mostItemsPerSecond);
  readonly #given = new SharedRate(mostGivenPerSecond);
  port: number | undefined;

  constructor(options: PeersOptions) {
    this.#options = options;
    options.server.metrics.peers(() => this.#client?.reached ?? { known: 0, reachable: 0 });
  }

  /** What {@link TenantKeys} has to tell. */
  forTenant(tenant: TenantName) {
    return {
      onItem: (item: PeerItem, origin: 'here' | 'told', token?: string): void => {
        this.#feed.add(tenant, item, origin);
        this.#options.tellProcesses({
          kind: 'restraint',
          tenant,
          item,
          origin,
          ...(token === undefined ? {} : { token }),
        });
        if (origin === 'here') this.#tell({ tenant, item });
      },
      onSettled: (id: string): void => {
        this.#feed.removeHold(tenant, id);
        this.#options.tellProcesses({ kind: 'settled', tenant, id });
      },
      spread: (): Promise<SpreadCount> =>
        this.#telling ?? Promise.resolve({ known: this.#client?.reached.known ?? 0, told: 0 }),
    };
  }

  /** @throws SelloError SELLO_CONFIG_INVALID; when the port cannot be opened */
  async start(config: Config): Promise<void> {
    this.#use(config);
    if (this.#config !== undefined && this.#options.isLead) {
      const trust = new PeerTrust(this.#config);
      this.#listener = new PeerListener(this.#config, trust, {
        limits: config.limits,
        server: this.#options.server,
        replica: replicaId(),
        take: (items, teller) => this.#takeWhatWasTold(items, teller),
        page: (cursor, asker) => this.#page(cursor, asker),
        onStranger: (reason, address) => this.#stranger(reason, address),
      });
      this.port = await this.#listener.listen();
      // What peers know comes before this server's own holds are written: one may have been taken back.
      await Promise.race([
        this.#ask(),
        new Promise((resolve) => setTimeout(resolve, this.#timeoutMs).unref()),
      ]);
      this.#wait();
    }
    this.#options.tellProcesses({ kind: 'restraints-wanted' });
  }

  /** @throws SelloError SELLO_CONFIG_INVALID, and leaves all as it is */
  reload(config: Config): void {
    const before = this.#client;
    this.#use(config);
    if (this.#config !== undefined) this.#listener?.reload(new PeerTrust(this.#config));
    void before?.close();
  }

  /** Of another process of this server. */
  hear(message: RestraintMessage): void {
    if (message.kind === 'restraints-wanted') {
      for (const { name, keys } of this.#options.tenants().values())
        for (const each of keys.restraints.items())
          this.#options.tellProcesses({ kind: 'restraint', tenant: name, ...each });
      return;
    }
    const restraints = this.#options.tenants().get(message.tenant)?.keys.restraints;
    if (message.kind === 'settled') {
      this.#feed.removeHold(message.tenant, message.id);
      restraints?.settled(message.id, true);
      return;
    }
    this.#feed.add(message.tenant, message.item, message.origin);
    void restraints?.take(message.item, { kind: 'process', token: message.token });
  }

  async stop(): Promise<void> {
    clearTimeout(this.#timer);
    await this.#listener?.stop();
    await this.#client?.close();
    await this.#round;
  }

  #use({ peers, propagationMs }: Config): void {
    const trust = peers === undefined ? undefined : new PeerTrust(peers);
    this.#config = peers;
    this.#timeoutMs = propagationMs / roundsPerPropagation;
    this.#client =
      peers === undefined ? undefined : new PeerClient(peers, trust!, replicaId(), this.#timeoutMs);
  }

  #wait(): void {
    // A quarter earlier or later, so that replicas do not ask together.
    const waitMs = this.#timeoutMs * (0.75 + Math.random() / 4);
    this.#timer = setTimeout(() => {
      this.#round = this.#ask().finally(() => this.#wait());
    }, waitMs).unref();
  }

  async #ask(): Promise<void> {
    try {
      await this.#client?.discover();
      await this.#client?.pull(async (items, url) => void (await this.#take(items, url)));
    } catch (error) {
      this.#options.server.log.error({ err: error }, 'peers could not be asked');
    }
  }

  #page(cursor: Cursor, asker: string): Page {
    if (!this.#given.take(asker, 1)) throw Object.assign(new Error('too many items'), { statusCode: 429 });
    const page = this.#feed.page(cursor);
    this.#given.spend(asker, page.items.length);
    return page;
  }

  async #takeWhatWasTold(items: readonly TenantItem[], teller: string): Promise<void> {
    if (!this.#told.take(teller, items.length))
      throw Object.assign(new Error('too many items'), { statusCode: 429 });
    const refused = await this.#take(items, teller);
    // Who was asked for a hold counts the peers that have it.
    if (refused > 0) throw Object.assign(new Error('items refused'), { statusCode: 409 });
  }

  /** @returns how many were refused */
  async #take(items: readonly TenantItem[], teller: string): Promise<number> {
    const { metrics } = this.#options.server;
    const tenants = this.#options.tenants();
    let refused = 0;
    for (const { isRelayed, item, tenant: name } of items) {
      const tenant = tenants.get(name);
      if (tenant === undefined) {
        metrics.peerItem('unknown');
        continue;
      }
      const taken = await tenant.keys.restraints.take(item, {
        kind: 'peer',
        teller: isRelayed === true ? relayed : teller,
      });
      metrics.peerItem(taken);
      if (taken === 'taken' && item.kind !== 'state') await this.#record(tenant, item);
      if (taken !== 'refused') continue;
      refused++;
      if (refused === 1)
        this.#options.server.log.warn({ tenant: name, kind: item.kind, teller }, 'item of a peer refused');
    }
    return refused;
  }

  /** In force already: a record that cannot be written undoes no restriction. */
  async #record(tenant: Tenant, item: PeerItem & { readonly kind: 'hold' | 'withdrawn' }): Promise<void> {
    const { log, newRequestId } = this.#options.server;
    const isHold = item.kind === 'hold';
    const { by, id, key } = item.hold;
    log.warn(
      { tenant: tenant.name, hold: id, key, by },
      isHold ? 'key held by a peer’s word' : 'hold withdrawn by a peer’s word',
    );
    try {
      await tenant.audit.append({
        timeMs: Date.now(),
        requestId: newRequestId(),
        tenant: tenant.name,
        key,
        face: 'server',
        operation: 'state',
        decision: 'allow',
        rule: 'peer',
        status: 200,
        reason: `${isHold ? 'held' : 'withdrawn'} ${id} for ${by}`,
        durationMs: 0,
      });
    } catch (error) {
      log.error({ err: error, tenant: tenant.name }, 'audit record of a hold could not be written');
    }
  }

  #tell(item: TenantItem): void {
    if (this.#client === undefined || this.#outbox.length >= maxMessageItems) return;
    this.#outbox.push(item);
    if (this.#outbox.length > 1) return;
    this.#telling = Promise.resolve().then(() => {
      const items = this.#outbox;
      this.#outbox = [];
      return this.#client?.tell(items) ?? { known: 0, told: 0 };
    });
    this.#telling.catch(() => undefined);
  }

  #stranger(reason: string, address: string | undefined): void {
    this.#options.server.metrics.peerItem('stranger');
    if (performance.now() - this.#lastStrangerMs < strangerEveryMs) return;
    this.#lastStrangerMs = performance.now();
    this.#options.server.log.warn({ reason, address }, 'somebody who is no peer asked to be one');
  }
}
