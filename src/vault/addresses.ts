/**
 * Vault's addresses and which of them serve: a breaker for each. An address that fails is asked no more until a look at `sys/health`
 * finds it well; those looks come more and more seldom up to {@link longestRestMs}. Calls stay with one address while it serves.
 * With all of them down a call fails at once, with the reason of the last failure.
 */
import type { Clock, Timer } from '../clock.ts';
import type { VaultError } from './errors.ts';

const shortestRestMs = 250;

/** So recovery is seen within this time and a look's own. */
const longestRestMs = 5_000;

interface State {
  readonly address: string;
  failure: VaultError | undefined;
  restMs: number;
  timer: Timer | undefined;
  /** Monotonic time of the last answer of any kind. */
  answeredAtMs: number;
}

export interface AddressBookOptions {
  readonly addresses: readonly string[];
  readonly clock: Clock;
  readonly random: () => number;
  /** Rejects while the address cannot serve. */
  readonly probe: (address: string) => Promise<void>;
  readonly onChange: (address: string, failure: VaultError | undefined) => void;
}

export class AddressBook {
  readonly #options: AddressBookOptions;
  readonly #states: readonly State[];
  #current = 0;
  #closed = false;

  constructor(options: AddressBookOptions) {
    this.#options = options;
    this.#states = options.addresses.map((address) => ({
      address,
      failure: undefined,
      restMs: shortestRestMs,
      timer: undefined,
      answeredAtMs: -Infinity,
    }));
  }

  /** The address to ask: the current one, else the next that serves. Undefined: all are down. */
  pick(): string | undefined {
    for (let i = 0; i < this.#states.length; i++) {
      const at = (this.#current + i) % this.#states.length;
      if (this.#states[at]!.failure !== undefined) continue;
      this.#current = at;
      return this.#states[at]!.address;
    }
    return undefined;
  }

  /** Why nothing can be asked; undefined while something can. */
  get failure(): VaultError | undefined {
    const failures = this.#states.map(({ failure }) => failure);
    return failures.includes(undefined) ? undefined : failures[this.#current];
  }

  has(address: string): boolean {
    return this.#states.some((state) => state.address === address);
  }

  /** It is not known to be down. */
  serves(address: string): boolean {
    return this.#find(address)?.failure === undefined;
  }

  /** The rest of a call goes to `address`, and later calls too. */
  prefer(address: string): void {
    const at = this.#states.findIndex((state) => state.address === address && state.failure === undefined);
    if (at >= 0) this.#current = at;
  }

  answered(address: string): void {
    const state = this.#find(address);
    if (state === undefined) return;
    state.answeredAtMs = this.#options.clock.monotonic();
  }

  answeredSince(address: string, sinceMs: number): boolean {
    return (this.#find(address)?.answeredAtMs ?? -Infinity) >= sinceMs;
  }

  fail(address: string, failure: VaultError): void {
    const state = this.#find(address);
    if (state === undefined || this.#closed) return;
    const isNew = state.failure === undefined;
    state.failure = failure;
    if (!isNew) return;
    state.restMs = shortestRestMs;
    this.#options.onChange(address, failure);
    this.#rest(state);
  }

  close(): void {
    this.#closed = true;
    for (const state of this.#states) state.timer?.cancel();
  }

  #find(address: string): State | undefined {
    return this.#states.find((state) => state.address === address);
  }

  /** Many processes that lost the same Vault do not come back in one moment: hence the jitter. */
  #rest(state: State): void {
    const waitMs = state.restMs * (0.75 + this.#options.random() * 0.5);
    state.restMs = Math.min(state.restMs * 2, longestRestMs);
    state.timer = this.#options.clock.setTimer(waitMs, () => {
      this.#options.probe(state.address).then(
        () => {
          state.failure = undefined;
          state.timer = undefined;
          if (!this.#closed) this.#options.onChange(state.address, undefined);
        },
        (error: unknown) => {
          if (this.#closed) return;
          if (state.failure !== undefined) state.failure = error as VaultError;
          this.#rest(state);
        },
      );
    });
    state.timer.keepAlive(false);
  }
}

/** An address as traces name it. */
export function serverOf(address: string): { 'server.address': string; 'server.port'?: number } {
  if (address.startsWith('unix:')) return { 'server.address': address.slice('unix:'.length) };
  const { hostname, port, protocol } = new URL(address);
  return {
    'server.address': hostname,
    'server.port': Number(port || (protocol === 'https:' ? 443 : 80)),
  };
}
