/**
 * What restrains one tenant's keys in this process beside their records in the store, and puts it on the keys in memory at once:
 *
 * - **Holds**: asked for by an administrator while the store could not be reached; here, or at another replica. One ends when the
 *   store has it, or when it is withdrawn by who has its token. A peer's word alone ends none.
 * - **Told states**: a peer knows a newer keyring of a key that is in memory here. Believed as far as it restricts, until the store has
 *   been read again: a record as new lifts it, and so does a store that goes on knowing nothing of it.
 *
 * Everything is bounded; what comes of a peer can restrict keys, and do nothing else.
 */
import { randomBytes } from 'node:crypto';
import { SelloError } from '../errors.ts';
import { EndedHolds, type Withdrawal } from './ended-holds.ts';
import type { HoldFiles } from './hold-files.ts';
import { newKeyring } from './keyring-reader.ts';
import type { Keyring } from './keyring.ts';
import type { KeyName } from './names.ts';
import type { PeerItem } from './peer-item.ts';
import {
  holdIdOf,
  isOfKey,
  lockOf,
  restrained,
  strictest,
  type Hold,
  type HoldChange,
  type ToldState,
} from './restraint.ts';
import { hasHold, type OpenHold } from './settle-holds.ts';
import { TellerQuotas } from './teller-quotas.ts';

export interface RestraintsOptions {
  /** What the cache holds of a key, in its life or past it. */
  readonly held: (name: KeyName) => Keyring | undefined;
  readonly files?: HoldFiles | undefined;
  /** A told state that the store does not confirm ends this long after it was heard, once the store has been read. */
  readonly lapseMs: number;
  /** Milliseconds since the epoch. */
  readonly now: () => number;
  /** Something to tell the other processes of this server, and where it was made here the peers. */
  readonly onItem: (item: PeerItem, origin: 'here' | 'told', token?: string) => void;
  /** Another process of this server need not look after it any more. */
  readonly onSettled: (id: string) => void;
}

/** A hold as who asked for it is answered. */
export interface Held {
  readonly hold: Hold;
  readonly token: string;
  /** It outlives a restart. */
  readonly isOnDisk: boolean;
}

export interface ItemToTell {
  readonly item: PeerItem;
  /** Asked for in this server, or told by a peer. */
  readonly origin: 'here' | 'told';
  /** For the other processes of this server alone. */
  readonly token?: string | undefined;
}

export type Taken =
  | 'taken'
  | 'known'
  /** Not about a key of this replica, or older than what it knows. */
  | 'ignored'
  /** It would loosen something, or there is no room. */
  | 'refused';

/** Whom an item comes from: another process of this server, or a peer, by what its share is counted under. */
export type Source =
  | { readonly kind: 'process'; readonly token?: string | undefined }
  | { readonly kind: 'peer'; readonly teller: string };

/**
 * Of one tenant, asked for here; those that peers tell of are bounded apart (teller-quotas.ts). An administrator in an outage stops
 * some keys, no more.
 */
export const mostHolds = 1000;

interface Told {
  readonly state: ToldState;
  readonly sinceMs: number;
}

export class KeyRestraints {
  readonly #options: RestraintsOptions;
  readonly #holds = new Map<string, Hold>();
  readonly #byKey = new Map<KeyName, readonly Hold[]>();
  /** Of holds that were asked for in this server. */
  readonly #tokens = new Map<string, string>();
  readonly #ended = new EndedHolds((id) => this.#removeFile(id));
  readonly #quotas = new TellerQuotas();
  readonly #told = new WeakMap<Keyring, Told>();

  constructor(options: RestraintsOptions) {
    this.#options = options;
  }

  /** What this server knew when it was stopped. @throws when the folder cannot be read, or holds what is no hold */
  async load(): Promise<void> {
    const kept = (await this.#options.files?.load(this.#seconds())) ?? [];
    for (const { endedAt, hold, isOurs, token } of kept) {
      if (endedAt === undefined) this.#add(hold, token);
      else this.#ended.add(hold.id, { hold, token: token! }, endedAt, !isOurs);
    }
  }

  get holds(): readonly Hold[] {
    return [...this.#holds.values()];
  }

  of(name: KeyName): readonly Hold[] {
    return this.#byKey.get(name) ?? [];
  }

  /** For the store. */
  open(name: KeyName): readonly OpenHold[] {
    return this.of(name).map((hold) => ({ ...hold, isOurs: this.isOurs(hold) }));
  }

  isOurs({ id }: Hold): boolean {
    return this.#tokens.has(id);
  }

  /** Everything another process of this server, or a peer, has to know. */
  *items(): Generator<ItemToTell> {
    for (const hold of this.#holds.values()) {
      const token = this.#tokens.get(hold.id);
      const item = { kind: 'hold', hold } as const;
      yield token === undefined ? { item, origin: 'told' } : { item, origin: 'here', token };
    }
    for (const { isTold, withdrawal } of this.#ended.withdrawals())
      yield { item: { kind: 'withdrawn', ...withdrawal }, origin: isTold ? 'told' : 'here' };
  }

  /** In force from now on, in this process. @throws SelloError SELLO_RATE_LIMITED when there are too many */
  async hold(name: KeyName, change: HoldChange, by: string): Promise<Held> {
    const same = this.of(name).find((each) => isSameChange(each.change, change) && this.isOurs(each));
    if (same !== undefined) return this.#kept(same, this.#tokens.get(same.id)!);
    // Apart from those that peers tell of: none of them can keep an administrator here from stopping a key.
    if (this.#tokens.size >= mostHolds)
      throw new SelloError('SELLO_RATE_LIMITED', { detail: `${String(mostHolds)} holds wait for the store` });
    const token = randomBytes(32).toString('hex');
    const key = this.#options.held(name);
    const said = {
      lock: lockOf(token),
      key: name,
      ...(key?.stored === undefined ? {} : { keyId: key.stored.id }),
      ...(key === undefined ? {} : { createdAt: Math.max(0, key.first.createdAt.seconds) }),
      change,
      by,
      at: this.#seconds(),
    };
    const hold: Hold = { id: holdIdOf(said), ...said };
    this.#add(hold, token);
    this.#options.onItem({ kind: 'hold', hold }, 'here', token);
    return this.#kept(hold, token);
  }

  async #kept(hold: Hold, token: string): Promise<Held> {
    const isOnDisk = (await this.#options.files?.write({ hold, token, isOurs: true })) ?? false;
    return { hold, token, isOnDisk };
  }

  /**
   * Ends the holds of a key that `isMeant` names and this server has, or is given, the token of.
   * @returns which ended, and which of those meant could not be ended here
   */
  async withdraw(
    name: KeyName,
    isMeant: (change: HoldChange) => boolean,
    given?: string,
  ): Promise<{ readonly ended: readonly Hold[]; readonly left: readonly Hold[] }> {
    const meant = this.of(name).filter(({ change }) => isMeant(change));
    const givenLock = given === undefined ? undefined : lockOf(given);
    const ended: Hold[] = [];
    for (const hold of meant) {
      const token = hold.lock === givenLock ? given : this.#tokens.get(hold.id);
      if (token === undefined) continue;
      ended.push(hold);
      this.#options.onItem({ kind: 'withdrawn', hold, token }, 'here');
      await this.#withdrawn(hold, token, false);
    }
    return { ended, left: meant.filter((hold) => !ended.includes(hold)) };
  }

  async take(item: PeerItem, from: Source): Promise<Taken> {
    switch (item.kind) {
      case 'hold':
        return this.#takeHold(item.hold, from);
      case 'withdrawn':
        return this.#takeWithdrawn(item, from);
      case 'state':
        return this.#takeState(item, from.kind);
    }
  }

  async #takeHold(hold: Hold, from: Source): Promise<Taken> {
    if (this.#ended.has(hold.id)) return 'known';
    const token = from.kind === 'process' ? from.token : undefined;
    if (this.#holds.has(hold.id)) {
      if (token !== undefined) this.#tokens.set(hold.id, token);
      return 'known';
    }
    const stored = this.#options.held(hold.key)?.stored;
    // Told again after its end, of a process that has begun since.
    if (stored !== undefined && hasHold(stored, hold)) return 'known';
    if (from.kind === 'peer' && !this.#quotas.mayHold(from.teller, hold.id)) return 'refused';
    this.#add(hold, token);
    if (from.kind === 'peer') {
      this.#options.onItem({ kind: 'hold', hold }, 'told');
      await this.#options.files?.write({ hold, isOurs: false });
    }
    return 'taken';
  }

  async #takeWithdrawn(item: PeerItem & { readonly kind: 'withdrawn' }, from: Source): Promise<Taken> {
    const { hold, token } = item;
    // A peer may not loosen anything on its word: only who asked for the hold has what it is locked with.
    if (lockOf(token) !== hold.lock) return 'refused';
    if (this.#ended.has(hold.id)) return 'known';
    if (from.kind === 'peer' && !this.#quotas.mayEnd(from.teller)) return 'refused';
    if (from.kind === 'process') this.#end(hold, { hold, token }, true);
    else {
      const isKnown = this.#holds.has(hold.id);
      this.#options.onItem(item, 'told');
      if (isKnown) await this.#withdrawn(hold, token, true);
      else this.#end(hold, { hold, token }, true);
    }
    return 'taken';
  }

  #takeState(item: PeerItem & { readonly kind: 'state' }, origin: Source['kind']): Taken {
    const { key: name, state } = item;
    const key = this.#options.held(name);
    const isNews = key !== undefined && state.generation > key.generation && isOfKey(key, state);
    if (isNews) {
      const before = this.#told.get(key);
      const merged = before === undefined ? state : strictest(before.state, state);
      this.#told.set(key, { state: merged, sinceMs: before?.sinceMs ?? performance.now() });
      this.#put(name, key);
    }
    // Another process may have in memory what this one has not.
    if (origin === 'peer') this.#options.onItem(item, 'told');
    return isNews ? 'taken' : 'ignored';
  }

  /** Puts what is in force on a key that was just read of the store. */
  read(name: KeyName, key: Keyring): Keyring {
    const { stored } = key;
    if (stored !== undefined)
      for (const hold of this.of(name)) if (hasHold(stored, hold)) this.settled(hold.id);
    const before = this.#options.held(name);
    const told = before === undefined ? undefined : this.#told.get(before);
    // A standby of the store may lag behind what a peer has seen of its leader.
    if (
      told !== undefined &&
      !this.#isOver(told) &&
      told.state.generation > key.generation &&
      isOfKey(key, told.state)
    )
      this.#told.set(key, told);
    this.#put(name, key);
    return key;
  }

  /** The store was read, and has the same record as before. */
  confirm(name: KeyName, key: Keyring): void {
    const told = this.#told.get(key);
    if (told !== undefined && this.#isOver(told)) this.#told.delete(key);
    this.#put(name, key);
  }

  /** The store has it, or has no such key. */
  settled(id: string, isTold = false): void {
    const hold = this.#holds.get(id);
    if (hold === undefined) return;
    this.#end(hold, undefined, !this.isOurs(hold));
    if (!isTold) this.#options.onSettled(id);
    this.#removeFile(id);
  }

  #isOver({ sinceMs }: Told): boolean {
    return performance.now() - sinceMs > this.#options.lapseMs;
  }

  #put(name: KeyName, key: Keyring): void {
    const told = this.#told.get(key);
    const holds = this.of(name).filter(({ createdAt, keyId: id }) => isOfKey(key, { id, createdAt }));
    const { first, stored } = key;
    const base = () => newKeyring(first, { by: first.createdBy, at: 0 });
    key.restrict(restrained(stored, base, holds, told === undefined ? [] : [told.state]));
  }

  #add(hold: Hold, token: string | undefined): void {
    this.#holds.set(hold.id, hold);
    this.#byKey.set(hold.key, [...this.of(hold.key), hold]);
    if (token !== undefined) this.#tokens.set(hold.id, token);
    this.#apply(hold.key);
  }

  async #withdrawn(hold: Hold, token: string, isTold: boolean): Promise<void> {
    const isOurs = this.isOurs(hold);
    this.#end(hold, { hold, token }, isTold);
    const endedAt = this.#seconds();
    await this.#options.files?.write({ hold, token, isOurs: isOurs || !isTold, endedAt });
  }

  #removeFile(id: string): void {
    void this.#options.files?.remove(id);
  }

  #end({ id, key }: Hold, withdrawal: Withdrawal | undefined, isTold: boolean): void {
    const wasHeld = this.#holds.delete(id);
    this.#tokens.delete(id);
    this.#quotas.ended(id);
    this.#ended.add(id, withdrawal, this.#seconds(), isTold);
    if (!wasHeld) return;
    const left = this.of(key).filter((each) => each.id !== id);
    if (left.length === 0) this.#byKey.delete(key);
    else this.#byKey.set(key, left);
    this.#apply(key);
  }

  /** Puts what is held on every key in memory. */
  applyAll(): void {
    for (const name of this.#byKey.keys()) this.#apply(name);
  }

  #apply(name: KeyName): void {
    const key = this.#options.held(name);
    if (key !== undefined) this.#put(name, key);
  }

  #seconds(): number {
    return Math.floor(this.#options.now() / 1000);
  }
}

function isSameChange(one: HoldChange, other: HoldChange): boolean {
  if (one.kind !== other.kind) return false;
  if (one.kind === 'set-version' && other.kind === 'set-version')
    return one.version === other.version && one.state === other.state;
  return true;
}
