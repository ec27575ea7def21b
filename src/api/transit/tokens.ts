/**
 * Tokens of the Transit face. One is 24 random bytes behind `hvs.`, as Vault's clients expect; the keystore has its hash alone, with whom
 * it stands for and until when. Every process looks a token up again within half of `propagation`, so that its end reaches all of them;
 * a store that cannot be asked ends its use then, because a revoked token must not outlive its revocation.
 */
import { hash } from 'node:crypto';
import { takeRandom } from '../../crypto/index.ts';
import { hasCode, SelloError } from '../../errors.ts';
import { recordNames, removeRecord, type RecordStore } from '../../keystores/index.ts';

export interface TokenFacts {
  /** Not secret: names the token to its administrators. */
  readonly accessor: string;
  /** `cert`, `approle`, `kubernetes`, `jwt`. */
  readonly method: string;
  /** Path of the login, as Vault shows it. */
  readonly path: string;
  readonly role: string | undefined;
  /** Of the holder: of its certificate, or made from the role it logged in with. */
  readonly identity: string;
  /** Undefined: the policy of the identity. */
  readonly policy: string | undefined;
  /** The certificate it was given to: nobody else may use it. */
  readonly certificate: string | undefined;
  readonly metadata: Readonly<Record<string, string>>;
  /** Seconds since the epoch. */
  readonly createdAt: number;
  readonly expiresAt: number;
  readonly lastsUntil: number;
  /** Seconds that a renewal gives. */
  readonly ttl: number;
}

export interface Token extends TokenFacts {
  readonly hash: string;
}

const prefix = 'hvs.';
const tokenPattern = /^hvs\.[0-9A-Za-z_-]{32}$/;
const accessorBytes = 18;
const format = 1;

/** Remembered tokens of a tenant. */
const maxRemembered = 10_000;
/** Wrong tokens cost a look into the store: so many of them are remembered. */
const maxRefused = 1000;

interface Known {
  readonly token: Token;
  checkedAtMs: number;
}

export interface TokensOptions {
  readonly records: RecordStore;
  readonly tenant: string;
  readonly checkEveryMs: number;
  /** Milliseconds since the epoch. */
  readonly now?: () => number;
}

export class Tokens {
  readonly #options: TokensOptions;
  readonly #now: () => number;
  /** By hash, oldest first. */
  readonly #known = new Map<string, Known>();
  readonly #refused = new Map<string, number>();
  readonly #looking = new Map<string, Promise<Token | undefined>>();

  constructor(options: TokensOptions) {
    this.#options = options;
    this.#now = options.now ?? Date.now;
  }

  /** @returns the token's text, which is not kept, and what it stands for */
  async make(facts: Omit<TokenFacts, 'accessor'>): Promise<{ readonly text: string; readonly token: Token }> {
    const random = takeRandom(24);
    const text = prefix + random.toString('base64url');
    random.fill(0);
    const accessor = takeRandom(accessorBytes).toString('base64url');
    const token: Token = { ...facts, accessor, hash: this.#hashOf(text) };
    await this.#options.records.write(pathOf(token.hash), formatToken(token), 0);
    this.#remember(token);
    return { text, token };
  }

  /** The token if it is good now. At once when it was looked up lately. @throws SelloError SELLO_STORE_… */
  find(text: string): Token | undefined | Promise<Token | undefined> {
    if (!tokenPattern.test(text)) return undefined;
    const name = this.#hashOf(text);
    const nowMs = this.#now();
    const known = this.#known.get(name);
    if (known !== undefined && nowMs - known.checkedAtMs < this.#options.checkEveryMs)
      return known.token.expiresAt * 1000 > nowMs ? known.token : undefined;
    const refusedAt = this.#refused.get(name);
    if (refusedAt !== undefined && nowMs - refusedAt < this.#options.checkEveryMs) return undefined;
    return this.#look(name);
  }

  #look(name: string): Promise<Token | undefined> {
    let looking = this.#looking.get(name);
    if (looking === undefined) {
      looking = this.#read(name).finally(() => this.#looking.delete(name));
      this.#looking.set(name, looking);
    }
    return looking;
  }

  async #read(name: string): Promise<Token | undefined> {
    const startedMs = this.#now();
    const found = await this.#options.records.read(pathOf(name));
    const token = found === undefined ? undefined : parseToken(name, found.value);
    if (token === undefined || token.expiresAt * 1000 <= startedMs) {
      this.#known.delete(name);
      this.#refused.set(name, startedMs);
      if (this.#refused.size > maxRefused) this.#refused.delete(this.#refused.keys().next().value!);
      return undefined;
    }
    this.#remember(token, startedMs);
    return token;
  }

  #remember(token: Token, checkedAtMs = this.#now()): void {
    this.#known.delete(token.hash);
    this.#known.set(token.hash, { token, checkedAtMs });
    if (this.#known.size > maxRemembered) this.#known.delete(this.#known.keys().next().value!);
  }

  /** @returns the token with its new end; undefined when it is gone or may not be renewed any more */
  async renew({ hash: name }: Token, seconds: number): Promise<Token | undefined> {
    const { records } = this.#options;
    const found = await records.read(pathOf(name));
    const token = found === undefined ? undefined : parseToken(name, found.value);
    const now = Math.floor(this.#now() / 1000);
    if (token === undefined || found === undefined || token.expiresAt <= now) return undefined;
    const renewed = { ...token, expiresAt: Math.min(now + seconds, token.lastsUntil) };
    try {
      await records.write(pathOf(name), formatToken(renewed), found.revision);
    } catch (error) {
      // Another request of the same holder renewed it at the same time.
      if (!hasCode(error, 'SELLO_RECORD_CONFLICT')) throw error;
    }
    this.#remember(renewed);
    return renewed;
  }

  /** Ends a token for everybody. */
  async revoke(name: string): Promise<void> {
    const { records } = this.#options;
    this.#known.delete(name);
    this.#refused.set(name, this.#now());
    await removeRecord(records, pathOf(name));
  }

  /** By the name that is no secret. @returns false when there is none */
  async revokeByAccessor(accessor: string): Promise<boolean> {
    for await (const token of this.#all()) {
      if (token.accessor !== accessor) continue;
      await this.revoke(token.hash);
      return true;
    }
    return false;
  }

  /** Removes the records of tokens that have ended. */
  async sweep(): Promise<void> {
    const now = Math.floor(this.#now() / 1000);
    for await (const token of this.#all()) if (token.expiresAt <= now) await this.revoke(token.hash);
    for (const [name, { token }] of this.#known) if (token.expiresAt <= now) this.#known.delete(name);
  }

  async *#all(): AsyncGenerator<Token> {
    const { records } = this.#options;
    for await (const name of recordNames(records, folder)) {
      const found = await records.read(pathOf(name));
      const token = found === undefined ? undefined : parseToken(name, found.value);
      if (token !== undefined) yield token;
    }
  }

  #hashOf(text: string): string {
    return hash('sha256', `sello transit token v1\0${this.#options.tenant}\0${text}`);
  }
}

const folder = 'tokens';

function pathOf(name: string): string {
  return `${folder}/${name}`;
}

function formatToken({ hash: _, ...facts }: Token): Buffer {
  return Buffer.from(JSON.stringify({ format, ...facts }));
}

function parseToken(name: string, value: Buffer): Token | undefined {
  let parsed: Partial<Record<string, unknown>> | null;
  try {
    parsed = JSON.parse(value.toString()) as Partial<Record<string, unknown>> | null;
  } catch {
    parsed = null;
  }
  const isWhole =
    parsed !== null &&
    typeof parsed === 'object' &&
    parsed['format'] === format &&
    typeof parsed['identity'] === 'string' &&
    typeof parsed['accessor'] === 'string' &&
    Number.isSafeInteger(parsed['expiresAt']) &&
    Number.isSafeInteger(parsed['lastsUntil']);
  if (!isWhole) throw new SelloError('SELLO_STORED_KEY_UNREADABLE', { detail: 'token record' });
  const { format: _, ...facts } = parsed as unknown as TokenFacts & { format: number };
  return { ...facts, hash: name };
}
