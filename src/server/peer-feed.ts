/**
 * What a replica has to tell, in the order it came to know it, for peers to take from where they stopped. An item takes the place of
 * the one before about the same; what this replica saw itself is never displaced by what it was told.
 */
import {
  maxMessageBytes,
  maxMessageItems,
  type Cursor,
  type Page,
  type TenantItem,
} from '../api/peers/index.ts';
import { randomBytes } from 'node:crypto';
import { mostHolds, strictest, type PeerItem, type ToldState } from '../keys/index.ts';
import type { TenantName } from '../tenants/name.ts';

/** States of keys, per tenant and kind of source. The oldest go: peers have heard them long since, or read the store. */
const mostStates = 1000;
/** A page stays below what its reader takes, with room for what is around the items. */
const pageBytes = maxMessageBytes - 65_536;

interface Entry extends TenantItem {
  readonly sequence: number;
  readonly bytes: number;
}

export class PeerFeed {
  readonly #epoch = randomBytes(16).toString('hex');
  #sequence = 0;
  /** By tenant and kind, so that none crowds out another; each oldest first. */
  readonly #shelves = new Map<string, Map<string, Entry>>();

  add(tenant: TenantName, item: PeerItem, origin: 'here' | 'told'): void {
    const kind = `${item.kind} ${origin}`;
    const subject = item.kind === 'state' ? item.key : item.hold.id;
    if (item.kind === 'withdrawn') this.removeHold(tenant, subject);
    const shelf = this.#shelf(tenant, kind);
    const told =
      item.kind === 'state' && origin === 'told' ? withWhatWasTold(item, shelf.get(subject)?.item) : item;
    shelf.delete(subject);
    const bytes = JSON.stringify(told).length + tenant.length + 64;
    const relayed = origin === 'told' ? { isRelayed: true } : {};
    shelf.set(subject, { tenant, item: told, ...relayed, bytes, sequence: ++this.#sequence });
    const most = item.kind === 'state' ? mostStates : mostHolds;
    while (shelf.size > most) shelf.delete(shelf.keys().next().value!);
  }

  /** The store has it: peers will see it there. */
  removeHold(tenant: TenantName, id: string): void {
    for (const origin of ['here', 'told']) this.#shelf(tenant, `hold ${origin}`).delete(id);
  }

  page({ epoch, after }: Cursor): Page {
    const from = epoch === this.#epoch ? after : 0;
    const open = [...this.#shelves.values()]
      .flatMap((shelf) => [...shelf.values()].filter(({ sequence }) => sequence > from))
      .sort((a, b) => a.sequence - b.sequence);
    const items: TenantItem[] = [];
    let bytes = 0;
    let next = from;
    for (const { sequence, bytes: size, ...each } of open) {
      if (items.length > 0 && (items.length >= maxMessageItems || bytes + size > pageBytes)) break;
      items.push(each);
      bytes += size;
      next = sequence;
    }
    return { epoch: this.#epoch, next, more: items.length < open.length, items };
  }

  #shelf(tenant: TenantName, kind: string): Map<string, Entry> {
    const name = `${tenant}\0${kind}`;
    let shelf = this.#shelves.get(name);
    if (shelf === undefined) this.#shelves.set(name, (shelf = new Map()));
    return shelf;
  }
}

/** What is passed on of others is all that any of them restricts: nobody can hide a state behind a later one of his own. */
function withWhatWasTold(
  item: PeerItem & { readonly kind: 'state' },
  before: PeerItem | undefined,
): PeerItem {
  const isSameKey = ({ createdAt, id }: ToldState): boolean =>
    id === item.state.id && createdAt === item.state.createdAt;
  return before?.kind === 'state' && isSameKey(before.state)
    ? { ...item, state: strictest(before.state, item.state) }
    : item;
}
