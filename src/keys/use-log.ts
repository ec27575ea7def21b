/**
 * When each version of a key was used last, of all replicas together, so that ending one is a decision with data. It says "opened
 * within the last N days", never "so many are left": what was sealed and not opened since is unknown to everybody.
 *
 * Kept in memory and written to `use/NAME` now and then; a process that is killed loses what it had not written yet.
 */
import { hasCode } from '../errors.ts';
import type { RecordStore } from '../keystores/contract.ts';

/** Seconds since the epoch; 0: not since the key has a keyring. */
export interface VersionUse {
  readonly sealedAt: number;
  readonly openedAt: number;
  /** How often, of all replicas. */
  readonly opened: number;
}

export type KeyUse = ReadonlyMap<number, VersionUse>;

interface Counting {
  readonly id: string;
  readonly versions: Map<number, { sealedAt: number; openedAt: number; opened: number }>;
}

/** Keys whose use waits to be written, at most: a store that is away must not fill the memory. */
const mostKeys = 100_000;
const mostAttempts = 5;
const format = 1;

export class UseLog {
  readonly #records: RecordStore | undefined;
  readonly #now: () => number;
  #waiting = new Map<string, Counting>();

  /** @param now milliseconds since the epoch */
  constructor(records: RecordStore | undefined, now: () => number = Date.now) {
    this.#records = records;
    this.#now = now;
  }

  /** Hot path. Keys without a keyring have one version and nothing to decide. */
  note(name: string, id: string, version: number, kind: 'sealed' | 'opened'): void {
    let key = this.#waiting.get(name);
    if (key?.id !== id) {
      if (this.#records === undefined || this.#waiting.size >= mostKeys) return;
      this.#waiting.set(name, (key = { id, versions: new Map() }));
    }
    let use = key.versions.get(version);
    if (use === undefined) key.versions.set(version, (use = { sealedAt: 0, openedAt: 0, opened: 0 }));
    const at = Math.floor(this.#now() / 1000);
    if (kind === 'sealed') use.sealedAt = at;
    else {
      use.openedAt = at;
      use.opened++;
    }
  }

  /** Adds what was seen here to what the store knows. What cannot be written now waits for the next time. */
  async flush(): Promise<void> {
    const waiting = this.#waiting;
    this.#waiting = new Map();
    for (const [name, seen] of waiting) {
      try {
        await this.#write(name, seen);
      } catch {
        this.#putBack(name, seen);
      }
    }
  }

  /** What all replicas have written, and this one has seen. @throws SelloError when the store cannot be asked */
  async report(name: string, id: string): Promise<KeyUse> {
    const found = await this.#records?.read(pathOf(name));
    const known = found === undefined ? undefined : parse(found.value);
    const seen = this.#waiting.get(name);
    return merge(known?.id === id ? known : { id, versions: new Map() }, seen?.id === id ? seen : undefined)
      .versions;
  }

  async #write(name: string, seen: Counting): Promise<void> {
    const records = this.#records!;
    for (let attempt = 1; ; attempt++) {
      const found = await records.read(pathOf(name));
      const known = found === undefined ? undefined : parse(found.value);
      // A key that took the name of an ended one starts anew.
      const merged = merge(known?.id === seen.id ? known : { id: seen.id, versions: new Map() }, seen);
      try {
        await records.write(pathOf(name), serialize(merged), found?.revision ?? 0);
        return;
      } catch (error) {
        if (!hasCode(error, 'SELLO_RECORD_CONFLICT') || attempt === mostAttempts) throw error;
      }
    }
  }

  #putBack(name: string, seen: Counting): void {
    const newer = this.#waiting.get(name);
    if (newer === undefined) this.#waiting.set(name, seen);
    else if (newer.id === seen.id) this.#waiting.set(name, merge(seen, newer));
  }
}

function merge(known: Counting, seen: Counting | undefined): Counting {
  const versions = new Map([...known.versions].map(([version, use]) => [version, { ...use }]));
  for (const [version, use] of seen?.versions ?? []) {
    const before = versions.get(version);
    versions.set(version, {
      sealedAt: Math.max(before?.sealedAt ?? 0, use.sealedAt),
      openedAt: Math.max(before?.openedAt ?? 0, use.openedAt),
      opened: (before?.opened ?? 0) + use.opened,
    });
  }
  return { id: known.id, versions };
}

function pathOf(name: string): string {
  return `use/${name}`;
}

function serialize({ id, versions }: Counting): Buffer {
  return Buffer.from(JSON.stringify({ format, id, versions: Object.fromEntries(versions) }));
}

/** A damaged report is no reason to stop: it begins anew. */
function parse(value: Buffer): Counting | undefined {
  try {
    const { id, versions } = JSON.parse(value.toString()) as {
      id: string;
      versions: Record<string, VersionUse>;
    };
    return {
      id,
      versions: new Map(Object.entries(versions).map(([version, use]) => [Number(version), { ...use }])),
    };
  } catch {
    return undefined;
  }
}
