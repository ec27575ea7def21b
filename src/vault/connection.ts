/**
 * A connection to one Vault, for one tenant: node-vault makes the calls; what lies below it is ours: addresses, deadlines, the token,
 * and what each refusal means. Nothing here knows what is stored.
 */
import createNodeVault, { type client as NodeVault } from 'node-vault';
import type { Environment } from '../config/environment.ts';
import type { VaultConfig } from '../config/model.ts';
import { systemClock, type Clock, type Timer } from '../clock.ts';
import { correlation } from '../correlation.ts';
import { SelloError } from '../errors.ts';
import { AddressBook, serverOf } from './addresses.ts';
import { failureOf, VaultAnswer, type WireAnswer } from './answer.ts';
import { VaultError } from './errors.ts';
import { tokenSource } from './login.ts';
import { pathOf, type VaultPath } from './path.ts';
import { TokenLife } from './token.ts';
import { VaultTransport, type WireCall } from './transport.ts';

/** Where a connection tells what people should know. Fields hold no secrets. */
export interface VaultLog {
  info(fields: object, message: string): void;
  warn(fields: object, message: string): void;
  error(fields: object, message: string): void;
}

export interface VaultOptions {
  readonly clock?: Clock;
  readonly random?: () => number;
  readonly env?: Environment;
  readonly log?: VaultLog | undefined;
}

export interface VaultCall {
  readonly path: VaultPath;
  readonly query?: string;
  /** JSON; bytes of the caller's own where it holds secrets. */
  readonly body?: object | Buffer;
  /**
   * The call may be made again although Vault may have done it already. Reads may; writes may when the caller can tell its own
   * earlier attempt from somebody else's.
   */
  readonly isRepeatable?: boolean;
  readonly signal?: AbortSignal;
  /** Calls to `sys/` outside of any namespace. */
  readonly inRoot?: boolean;
}

/** What passes through node-vault beside the call. */
interface Passage {
  readonly namespace: string;
  /** `own`: the held token. */
  readonly token: 'own' | { readonly text: string | undefined };
  readonly action: string;
  readonly isRepeatable: boolean;
  readonly isPinned: string | undefined;
  readonly signal: AbortSignal | undefined;
}

interface PassingOptions {
  readonly method: WireCall['method'];
  readonly uri: string;
  readonly json?: object | Buffer;
  readonly sello: Passage;
}

/** Node-vault needs a base; which host is asked is decided below it. */
const base = 'http://vault.invalid';

/** Attempts of one call, whatever they fail of. */
const mostAttempts = 6;

/** How long a call waits for a cluster to choose its leader: MinIO parks a server that answers 502 for 30 s. */
const electionMs = 3_000;
const electionPollMs = 150;

/** 412 asks for the same again once the node has caught up. */
const staleWaitMs = 50;

const defaultRetryAfterMs = 1_000;

export class VaultConnection {
  readonly #config: VaultConfig;
  readonly #clock: Clock;
  readonly #random: () => number;
  readonly #transport: VaultTransport;
  readonly #addresses: AddressBook;
  readonly #token: TokenLife | undefined;
  readonly #vault: NodeVault;
  #ping: Timer | undefined;
  #calls = 0;
  #closed = false;

  private constructor(config: VaultConfig, options: VaultOptions) {
    const { clock = systemClock, random = Math.random, env = process.env, log } = options;
    this.#config = config;
    this.#clock = clock;
    this.#random = random;
    this.#transport = new VaultTransport(config);
    this.#addresses = new AddressBook({
      addresses: config.addresses,
      clock,
      random,
      probe: (address) => this.#probe(address),
      onChange: (address, failure) => {
        if (failure === undefined) log?.info({ address }, 'vault serves again');
        else
          log?.warn({ address, problem: failure.problem }, `vault does not serve: ${failure.detail ?? ''}`);
      },
    });
    this.#vault = silentNodeVault((passing) => this.#deliver(passing));
    const { login } = config;
    if (login.method !== 'none') {
      const source = tokenSource(login, {
        env,
        certificate: () => {
          this.#transport.refresh();
          return this.#transport.certificateFingerprint;
        },
        send: ({ method, path, body, namespace, token, action }) =>
          this.#send(method, path, body, {
            namespace: namespace === '/' ? '' : namespace,
            token: { text: token },
            action,
            isRepeatable: method === 'GET',
            isPinned: undefined,
            signal: undefined,
          }),
      });
      this.#token = new TokenLife(
        source,
        {
          loggedIn: (ttlMs) => log?.info({ method: login.method, ttl_s: ttlMs / 1000 }, 'vault: logged in'),
          renewed: () => undefined,
          failed: (what, error, retryMs) => {
            const detail = error instanceof SelloError ? (error.detail ?? error.message) : 'failed';
            const level = detail.includes('SECURITY') ? 'error' : 'warn';
            log?.[level](
              { method: login.method, retry_ms: Math.round(retryMs) },
              `vault: ${what} failed: ${detail}`,
            );
          },
        },
        clock,
        random,
      );
    }
  }

  /**
   * Connects and logs in. A Vault that is away is waited for in the background: the connection is there, and its calls fail until
   * Vault is back. A login that Vault refuses, or a secret that is missing, is a mistake that a person has to correct.
   * @throws SelloError SELLO_CONFIG_INVALID
   */
  static async open(config: VaultConfig, options: VaultOptions = {}): Promise<VaultConnection> {
    const connection = new VaultConnection(config, options);
    try {
      await connection.#token?.get();
    } catch (error) {
      const cause = connection.#token?.lastError;
      const isMistake =
        cause instanceof VaultError
          ? ['refused', 'forbidden', 'malformed', 'absent', 'no-mount'].includes(cause.problem) ||
            (cause.problem === 'no-login' && cause !== error)
          : cause instanceof SelloError;
      if (isMistake) {
        await connection.close();
        throw new SelloError('SELLO_CONFIG_INVALID', { detail: (cause as SelloError).detail ?? '', cause });
      }
    }
    connection.#planPing();
    return connection;
  }

  /** @throws VaultError */
  read({ path, query, ...call }: VaultCall): Promise<VaultAnswer> {
    return this.#pass(
      this.#vault.read(withQuery(path, query), this.#options('read', path, { ...call, isRepeatable: true })),
    );
  }

  /** The names directly below; folders end with `/`. @throws VaultError */
  list({ path, ...call }: VaultCall): Promise<VaultAnswer> {
    return this.#pass(this.#vault.list(path, this.#options('list', path, { ...call, isRepeatable: true })));
  }

  /** @throws VaultError */
  write({ path, body, ...call }: VaultCall): Promise<VaultAnswer> {
    return this.#pass(this.#vault.write(path, body ?? {}, this.#options('write', path, call)));
  }

  /** @throws VaultError */
  delete({ path, ...call }: VaultCall): Promise<VaultAnswer> {
    return this.#pass(
      this.#vault.delete(path, this.#options('delete', path, { ...call, isRepeatable: true })),
    );
  }

  /**
   * Resolves when some address serves and there is a token.
   * @throws VaultError that says which of the two is missing
   */
  async health(): Promise<void> {
    if (this.#closed) throw new VaultError({ problem: 'closed', action: 'look at its health' });
    const address = this.#addresses.pick();
    if (address === undefined) throw this.#addresses.failure!;
    await this.#probe(address);
    if (this.#token === undefined) return;
    await this.#token.get();
  }

  /** Calls sent so far, every attempt counted: for tests and the bench. */
  get calls(): number {
    return this.#calls;
  }

  /** When the token ends, wall clock; undefined: never, or there is none. */
  get tokenExpiresAtMs(): number | undefined {
    return this.#token?.expiresAtMs;
  }

  /** When the token ends and what its grant was; undefined: it does not end, or there is none. */
  get tokenLife(): { readonly expiresAtMs: number; readonly ttlMs: number } | undefined {
    return this.#token?.life;
  }

  /** For people: the addresses, without secrets. */
  get location(): string {
    return this.#config.addresses.join(', ');
  }

  async close(): Promise<void> {
    this.#closed = true;
    this.#ping?.cancel();
    this.#token?.close();
    this.#addresses.close();
    await this.#transport.close();
  }

  #options(verb: string, path: VaultPath, call: Omit<VaultCall, 'path'>): { sello: Passage } {
    return {
      sello: {
        namespace: call.inRoot === true || this.#config.namespace === '/' ? '' : this.#config.namespace,
        token: 'own',
        action: `${verb} ${path}`,
        isRepeatable: call.isRepeatable === true,
        isPinned: undefined,
        signal: call.signal,
      },
    };
  }

  async #pass(passed: Promise<unknown>): Promise<VaultAnswer> {
    return (await passed) as VaultAnswer;
  }

  #send(
    method: 'GET' | 'POST',
    path: VaultPath,
    body: Buffer | undefined,
    sello: Passage,
  ): Promise<VaultAnswer> {
    const options = { sello };
    return this.#pass(
      method === 'GET' ? this.#vault.read(path, options) : this.#vault.write(path, body ?? {}, options),
    );
  }

  /** Below node-vault: one call, with all its attempts. */
  async #deliver({ method, uri, json, sello }: PassingOptions): Promise<VaultAnswer> {
    const { action } = sello;
    const path = uri.slice(base.length);
    const body =
      json === undefined ? undefined : Buffer.isBuffer(json) ? json : Buffer.from(JSON.stringify(json));
    const startMs = this.#clock.monotonic();
    const endMs = startMs + this.#config.timeoutMs;
    let failure: VaultError | undefined;
    let mayLogInAgain = true;
    for (let attempt = 0; attempt < mostAttempts;) {
      if (this.#closed) throw new VaultError({ problem: 'closed', action });
      attempt++;
      const leftMs = endMs - this.#clock.monotonic();
      const address = sello.isPinned ?? this.#addresses.pick();
      if (address === undefined || leftMs <= 0) {
        if (failure !== undefined) throw failure;
        throw leftMs <= 0 ? new VaultError({ problem: 'timeout', action }) : this.#unreachable(action);
      }
      const token = sello.token === 'own' ? await this.#ownToken(leftMs, action) : sello.token.text;
      const sentAtMs = this.#clock.monotonic();
      const context = correlation.getStore();
      const span = context?.span?.child(`vault ${method}`, 'client', {
        'http.request.method': method,
        'http.request.resend_count': attempt === 1 ? undefined : attempt - 1,
        'url.path': path.split('?', 1)[0]!,
        ...serverOf(address),
      });
      let answer: WireAnswer;
      try {
        this.#calls++;
        answer = await this.#transport.call({
          address,
          method,
          path,
          headers: this.#headers(sello, token, body, span?.traceparent),
          body,
          // With somewhere else to go, a silent address gets its share of the time and no more.
          timeoutMs: Math.max(
            1,
            this.#config.addresses.length > 1 ? Math.min(leftMs, this.#config.timeoutMs / 2) : leftMs,
          ),
          signal: sello.signal,
          action,
        });
      } catch (error) {
        failure = error as VaultError;
        span?.end(failure.problem);
        if (failure.problem === 'unreachable' || failure.problem === 'timeout') {
          // A connection that broke while others answer says nothing about the address.
          if (sello.isPinned === undefined && !this.#addresses.answeredSince(address, sentAtMs))
            this.#addresses.fail(address, failure);
          if (sello.isPinned === undefined && (sello.isRepeatable || !failure.mayBeDone)) {
            if (this.#addresses.pick() === undefined) throw failure;
            continue;
          }
        }
        throw failure;
      }
      this.#addresses.answered(address);
      failure = failureOf(answer, action);
      const result = new VaultAnswer(answer);
      if (context !== undefined) context.vaultRequestId = result.requestId ?? context.vaultRequestId;
      span?.set({ 'http.response.status_code': answer.status, 'sello.vault_request_id': result.requestId });
      span?.end(failure?.problem);
      if (failure === undefined) {
        if (token !== undefined && sello.token === 'own') this.#token?.accepted(token);
        return result;
      }
      result.wipe();
      const next =
        sello.isPinned === undefined
          ? await this.#afterRefusal(failure, {
              address,
              answer,
              token,
              sello,
              endMs,
              startMs,
              mayLogInAgain,
            })
          : failure;
      if (next !== 'again' && next !== 'waited') throw next;
      if (failure.problem === 'forbidden') mayLogInAgain = false;
      // Bounded by its time, not by their number.
      if (next === 'waited') attempt--;
    }
    throw failure ?? new VaultError({ problem: 'failed', action });
  }

  /** What to do after an answer that is a refusal: `again` once it makes sense, `waited` for an election, or the error to throw. */
  async #afterRefusal(
    failure: VaultError,
    at: {
      readonly address: string;
      readonly answer: WireAnswer;
      readonly token: string | undefined;
      readonly sello: Passage;
      readonly startMs: number;
      readonly endMs: number;
      readonly mayLogInAgain: boolean;
    },
  ): Promise<'again' | 'waited' | VaultError> {
    const { address, sello, token, endMs } = at;
    const leftMs = endMs - this.#clock.monotonic();
    switch (failure.problem) {
      case 'forbidden': {
        if (sello.token !== 'own' || token === undefined || this.#token === undefined) return failure;
        if (!at.mayLogInAgain) return failure;
        const verdict = await this.#token.refused(token);
        if (verdict === 'again') return 'again';
        return verdict === 'policy' ? failure : (this.#token.trouble ?? this.#loginLost(failure));
      }
      case 'redirected': {
        const target = redirectTarget(at.answer, address);
        if (target !== undefined && target !== address && this.#addresses.has(target)) {
          // A leader that died is named until another one is found.
          if (!this.#addresses.serves(target))
            return this.#awaitElection(failure, address, at.startMs, leftMs);
          this.#addresses.prefer(target);
          return 'again';
        }
        // A standby that does not forward, and a leader we were not told of: never a reason to send it a token.
        this.#addresses.fail(address, failure);
        return this.#addresses.pick() === undefined ? failure : 'again';
      }
      case 'stale':
        return this.#pause(staleWaitMs * (1 + this.#random()), leftMs, failure);
      case 'rate-limited':
        return this.#pause(
          (failure.retryAfterMs ?? defaultRetryAfterMs) * (1 + this.#random() * 0.1),
          leftMs,
          failure,
        );
      case 'sealed':
      case 'uninitialised':
        this.#addresses.fail(address, failure);
        return this.#addresses.pick() === undefined ? failure : 'again';
      case 'no-active-node':
        return this.#awaitElection(failure, address, at.startMs, leftMs);
      case 'failed':
        return sello.isRepeatable
          ? this.#pause(staleWaitMs * (1 + this.#random()), leftMs, failure)
          : failure;
      default:
        return failure;
    }
  }

  async #awaitElection(
    failure: VaultError,
    address: string,
    startMs: number,
    leftMs: number,
  ): Promise<'again' | 'waited' | VaultError> {
    if (this.#clock.monotonic() - startMs < electionMs) {
      const waited = await this.#pause(electionPollMs * (1 + this.#random()), leftMs, failure);
      if (waited === 'again') return 'waited';
    }
    this.#addresses.fail(address, failure);
    return this.#addresses.pick() === undefined ? failure : 'again';
  }

  async #pause(waitMs: number, leftMs: number, failure: VaultError): Promise<'again' | VaultError> {
    if (waitMs >= leftMs) return failure;
    await new Promise<void>((resolve) => void this.#clock.setTimer(waitMs, resolve));
    return 'again';
  }

  #headers(
    sello: Passage,
    token: string | undefined,
    body: Buffer | undefined,
    traceparent: string | undefined,
  ): Record<string, string> {
    // Vault's own protection against forged requests by browsers; agents can insist on it.
    const headers: Record<string, string> = { 'x-vault-request': 'true' };
    const requestId = correlation.getStore()?.requestId;
    headers['x-correlation-id'] = requestId ?? crypto.randomUUID();
    if (traceparent !== undefined) headers['traceparent'] = traceparent;
    if (token !== undefined) headers['x-vault-token'] = token;
    if (sello.namespace !== '') headers['x-vault-namespace'] = sello.namespace;
    if (body !== undefined) headers['content-type'] = 'application/json';
    return headers;
  }

  /** Waits for a first login no longer than the call may take. */
  async #ownToken(leftMs: number, action: string): Promise<string | undefined> {
    if (this.#token === undefined) return undefined;
    let timer: Timer | undefined;
    const late = new Promise<never>((_, reject) => {
      timer = this.#clock.setTimer(leftMs, () => reject(new VaultError({ problem: 'timeout', action })));
    });
    try {
      return await Promise.race([this.#token.get(), late]);
    } finally {
      timer?.cancel();
    }
  }

  #unreachable(action: string): VaultError {
    const last = this.#addresses.failure;
    return new VaultError({
      problem: last?.problem ?? 'unreachable',
      action,
      status: last?.status,
      messages: last === undefined ? [] : [`not asked: ${last.detail ?? last.problem}`],
    });
  }

  #loginLost(cause: VaultError): VaultError {
    return new VaultError({
      problem: 'no-login',
      action: 'get a new token',
      messages: cause.messages,
      cause,
    });
  }

  /** `sys/health` of one address. A standby is well: it forwards. It is asked in no namespace, with no token. */
  async #probe(address: string): Promise<void> {
    const path = pathOf('sys/health');
    const answer = this.#vault.read(`${path}?standbyok=true&perfstandbyok=true`, {
      sello: {
        namespace: '',
        token: { text: undefined },
        action: 'look at its health',
        isRepeatable: true,
        isPinned: address,
        signal: undefined,
      } satisfies Passage,
    });
    try {
      await answer;
    } catch (error) {
      if (error instanceof VaultError && !this.#closed) this.#addresses.fail(address, error);
      throw error;
    }
  }

  /** So that an outage is known before a request meets it. */
  #planPing(): void {
    if (this.#closed) return;
    const waitMs = this.#config.pingMs * (0.9 + this.#random() * 0.2);
    this.#ping = this.#clock.setTimer(waitMs, () => {
      const address = this.#addresses.pick();
      const isIdle =
        address !== undefined &&
        !this.#addresses.answeredSince(address, this.#clock.monotonic() - this.#config.pingMs);
      (isIdle ? this.#probe(address) : Promise.resolve())
        .catch(() => undefined)
        .finally(() => {
          this.#planPing();
        });
    });
    this.#ping.keepAlive(false);
  }
}

/**
 * node-vault without what would harm: no debug output (it prints tokens and data), no environment, a transport of ours. It must never
 * hold a token or a namespace: both are added below it, call by call.
 */
function silentNodeVault(deliver: (passing: PassingOptions) => Promise<VaultAnswer>): NodeVault {
  const vault = createNodeVault({
    endpoint: base,
    debug: () => undefined,
    noCustomHTTPVerbs: true,
    'request-promise': {
      defaults: () => async (passing: PassingOptions) => ({
        statusCode: 200,
        body: await deliver(passing),
        request: { path: '' },
      }),
    },
  } as Parameters<typeof createNodeVault>[0]);
  Object.assign(vault, { token: '', namespace: '', pathPrefix: '' });
  return vault;
}

function withQuery(path: VaultPath, query: string | undefined): string {
  return query === undefined ? path : `${path}?${query}`;
}

/** The origin that a redirect leads to. */
function redirectTarget({ headers }: WireAnswer, from: string): string | undefined {
  const { location } = headers;
  if (typeof location !== 'string' || !URL.canParse(location, from)) return undefined;
  return new URL(location, from).origin;
}
