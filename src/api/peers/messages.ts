/** What goes over the wire between replicas: JSON, bounded, and of exactly this form. */
import { parsePeerItem, type PeerItem } from '../../keys/index.ts';
import { parseTenantName, type TenantName } from '../../tenants/name.ts';

/** Something that one replica has to tell of a tenant's keys. */
export interface TenantItem {
  readonly tenant: TenantName;
  readonly item: PeerItem;
  /** Somebody else told it. */
  readonly isRelayed?: boolean;
}

/** How far a replica has heard another one. */
export interface Cursor {
  /** Of a process: what it told before it began anew does not count. */
  readonly epoch: string;
  readonly after: number;
}

/** What a replica answers when it is asked. */
export interface Page {
  readonly epoch: string;
  /** To go on from. */
  readonly next: number;
  readonly more: boolean;
  readonly items: readonly TenantItem[];
}

export const maxMessageBytes = 1_048_576;
export const maxMessageItems = 1000;

const epochPattern = /^[0-9a-f]{32}$/;

/** @returns undefined when the text is no list of items; what is no item in a list of them makes the list none */
export function parseItems(body: unknown): readonly TenantItem[] | undefined {
  const list = (body as { items?: unknown } | null)?.items;
  if (!Array.isArray(list) || list.length > maxMessageItems) return undefined;
  const items: TenantItem[] = [];
  for (const each of list as readonly unknown[]) {
    const { isRelayed, item, tenant } = (each ?? {}) as Partial<Record<keyof TenantItem, unknown>>;
    const name = typeof tenant === 'string' ? parseTenantName(tenant) : undefined;
    const parsed = parsePeerItem(item);
    if (name === undefined || parsed === undefined) return undefined;
    items.push({ tenant: name, item: parsed, ...(isRelayed === true ? { isRelayed } : {}) });
  }
  return items;
}

export function parseCursor(body: unknown): Cursor | undefined {
  const { epoch, after } = (body ?? {}) as Partial<Record<keyof Cursor, unknown>>;
  if (typeof epoch !== 'string' || !(epoch === '' || epochPattern.test(epoch))) return undefined;
  return isSequence(after) ? { epoch, after } : undefined;
}

export function parsePage(body: unknown): Page | undefined {
  const { epoch, next, more } = (body ?? {}) as Partial<Record<keyof Page, unknown>>;
  const items = parseItems(body);
  if (items === undefined || typeof epoch !== 'string' || !epochPattern.test(epoch)) return undefined;
  return isSequence(next) && typeof more === 'boolean' ? { epoch, next, more, items } : undefined;
}

function isSequence(value: unknown): value is number {
  return typeof value === 'number' && Number.isSafeInteger(value) && value >= 0;
}
