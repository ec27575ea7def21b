/** The life of a token, with time injected: login, renewal, what happens when Vault says no, and when it says nothing. */
import t from 'tap';
import type { Clock } from '../../src/clock.ts';
import { VaultError, type VaultProblem } from '../../src/vault/index.ts';
import { TokenLife, type Grant, type TokenSource } from '../../src/vault/token.ts';

/** A clock that runs when told to, and lets promises settle in between. */
class Time implements Clock {
  #nowMs = 0;
  #timers: { atMs: number; run: () => void }[] = [];
  now = (): number => 1_700_000_000_000 + this.#nowMs;
  monotonic = (): number => this.#nowMs;
  setTimer(afterMs: number, run: () => void) {
    const timer = { atMs: this.#nowMs + afterMs, run };
    this.#timers.push(timer);
    return {
      cancel: () => void (this.#timers = this.#timers.filter((one) => one !== timer)),
      keepAlive: () => undefined,
    };
  }

  async pass(ms: number): Promise<void> {
    const endMs = this.#nowMs + ms;
    for (let steps = 0; steps < 10_000; steps++) {
      await settle();
      const next = this.#timers.filter(({ atMs }) => atMs <= endMs).sort((a, b) => a.atMs - b.atMs)[0];
      if (next === undefined) break;
      this.#timers = this.#timers.filter((timer) => timer !== next);
      this.#nowMs = Math.max(this.#nowMs, next.atMs);
      next.run();
    }
    this.#nowMs = endMs;
    await settle();
  }
}

async function settle(): Promise<void> {
  for (let i = 0; i < 20; i++) await Promise.resolve();
}

/** A Vault in miniature: which tokens it takes, and what it does when asked. */
class Issuer implements TokenSource {
  logins = 0;
  renewals = 0;
  lookups = 0;
  ttlMs = 60_000;
  renewable = true;
  failure: VaultProblem | undefined;
  /** Logins wait for this. */
  hold: Promise<void> | undefined;
  readonly valid = new Set<string>();

  async login(): Promise<Grant> {
    this.logins++;
    await this.hold;
    this.#fail('log in');
    const token = `token-${String(this.logins)}`;
    this.valid.add(token);
    return { token, ttlMs: this.ttlMs, renewable: this.renewable };
  }

  async renew(token: string): Promise<Grant> {
    this.renewals++;
    this.#fail('renew');
    if (!this.valid.has(token)) throw error('forbidden');
    return { token, ttlMs: this.ttlMs, renewable: true };
  }

  async lookup(token: string): Promise<Grant> {
    this.lookups++;
    this.#fail('lookup');
    if (!this.valid.has(token)) throw error('forbidden');
    return { token, ttlMs: this.ttlMs, renewable: true };
  }

  #fail(action: string): void {
    if (this.failure !== undefined) throw new VaultError({ problem: this.failure, action });
  }
}

function error(problem: VaultProblem): VaultError {
  return new VaultError({ problem, action: 'test' });
}

function life(random = 0.5) {
  const time = new Time();
  const issuer = new Issuer();
  const waits: number[] = [];
  const token = new TokenLife(
    issuer,
    {
      loggedIn: () => undefined,
      renewed: () => undefined,
      failed: (_what, _error, retryMs) => waits.push(retryMs),
    },
    time,
    () => random,
  );
  return { time, issuer, token, waits };
}

t.test('one login serves all who wait', async (t) => {
  const { issuer, token } = life();
  const got = await Promise.all(Array.from({ length: 100 }, () => token.get()));
  t.equal(issuer.logins, 1);
  t.strictSame(new Set(got), new Set(['token-1']));
});

t.test('tells how much of its life is left: never less than a fifth while renewal works', async (t) => {
  const { time, issuer, token } = life(0.999);
  t.equal(token.life, undefined, 'no token yet');
  await token.get();
  const leftShare = (): number => (token.life!.expiresAtMs - time.now()) / token.life!.ttlMs;
  t.equal(token.life!.ttlMs, 60_000);
  for (let i = 0; i < 120; i++) {
    await time.pass(1_000);
    t.ok(leftShare() > 0.2 && leftShare() <= 1, String(leftShare()));
  }
  issuer.failure = 'unreachable';
  await time.pass(55_000);
  t.ok(leftShare() < 0.2, 'and less once it fails');
});

t.test('renews at two thirds of its time, a tenth earlier or later', async (t) => {
  for (const [random, atMs] of [
    [0, 36_000],
    [0.5, 40_000],
    [0.999, 43_992],
  ] as const) {
    const { time, issuer, token } = life(random);
    await token.get();
    await time.pass(atMs - 10);
    t.equal(issuer.renewals, 0, `not before ${String(atMs)}`);
    await time.pass(20);
    t.equal(issuer.renewals, 1, `at ${String(atMs)}`);
    await time.pass(10 * 60_000);
    t.ok(issuer.renewals > 10, 'again and again');
    t.equal(issuer.logins, 1);
  }
});

t.test(
  'a token that cannot be renewed is replaced in time, and so is one near its longest life',
  async (t) => {
    const batch = life();
    batch.issuer.renewable = false;
    await batch.token.get();
    await batch.time.pass(41_000);
    t.equal(batch.issuer.logins, 2);
    t.equal(batch.issuer.renewals, 0);
    t.equal(await batch.token.get(), 'token-2');

    const old = life();
    await old.token.get();
    old.token.accepted('token-1');
    old.issuer.ttlMs = 20_000;
    await old.time.pass(41_000);
    t.equal(old.issuer.renewals, 1, 'was given a third of its time');
    t.equal(old.issuer.logins, 2);
  },
);

t.test('a refused token is replaced once, however many calls it was refused to', async (t) => {
  const { issuer, token } = life();
  const first = await token.get();
  token.accepted(first);
  issuer.valid.clear();
  const verdicts = await Promise.all(Array.from({ length: 200 }, () => token.refused(first)));
  t.strictSame(new Set(verdicts), new Set(['again']));
  t.equal(issuer.logins, 2);
  t.equal(await token.get(), 'token-2');
  t.equal(await token.refused(first), 'again', 'who comes late takes the new one');
  t.equal(issuer.logins, 2);
});

t.test('a good token that may not do something is kept, and not looked up each time', async (t) => {
  const { issuer, token, time } = life();
  const held = await token.get();
  for (let i = 0; i < 100; i++) t.equal(await token.refused(held), 'policy');
  t.equal(issuer.lookups, 1);
  t.equal(issuer.logins, 1);
  await time.pass(6_000);
  await token.refused(held);
  t.equal(issuer.lookups, 2);
});

t.test('the old token serves until the new one is known', async (t) => {
  const { issuer, token, time } = life();
  issuer.renewable = false;
  await token.get();
  token.accepted('token-1');
  // A standby that has not heard of new tokens.
  issuer.valid.delete = () => true;
  const add = issuer.valid.add.bind(issuer.valid);
  issuer.valid.add = (name) => (name === 'token-2' ? issuer.valid : add(name));
  await time.pass(42_000);
  t.equal(issuer.logins, 2);
  t.equal(await token.get(), 'token-1', 'still the old one');
  add('token-2');
  await time.pass(6_000);
  t.equal(await token.get(), 'token-2');
});

t.test('logins that fail are tried again, ever more seldom, and never given up', async (t) => {
  const { issuer, token, time, waits } = life();
  issuer.failure = 'sealed';
  await t.rejects(token.get(), { code: 'SELLO_STORE_UNREACHABLE', problem: 'no-login' });
  for (let i = 0; i < 1000; i++) await t.rejects(token.get(), { code: 'SELLO_STORE_UNREACHABLE' });
  t.equal(issuer.logins, 1, 'calls in between do not ask Vault');
  await time.pass(3600_000);
  t.ok(issuer.logins > 100 && issuer.logins < 200, `${String(issuer.logins)} logins in an hour`);
  t.ok(
    waits.every((wait, i) => wait <= 30_000 && wait >= 500 && wait >= (waits[i - 1] ?? 0)),
    'up to 30 s apart',
  );
  issuer.failure = undefined;
  await time.pass(30_000);
  t.match(await token.get(), /^token-/, 'and it is there again by itself');
});

t.test(
  'a renewal that fails of an outage is tried again until the token ends, which goes on serving',
  async (t) => {
    const { issuer, token, time } = life();
    await token.get();
    issuer.failure = 'unreachable';
    await time.pass(55_000);
    t.ok(issuer.renewals > 2);
    t.equal(issuer.logins, 1);
    t.equal(await token.get(), 'token-1');
    issuer.failure = undefined;
    await time.pass(30_000);
    t.equal(await token.get(), 'token-1');
  },
);

t.test('a token that Vault never accepts does not make a storm of logins', async (t) => {
  const { issuer, token, time } = life();
  issuer.valid.add = () => issuer.valid;
  for (let second = 0; second < 600; second++) {
    const held = await token.get();
    await token.refused(held);
    await time.pass(1_000);
  }
  t.ok(issuer.logins < 60, `${String(issuer.logins)} logins in ten minutes of refusals`);
});

t.test('a closed one asks nothing more', async (t) => {
  const { issuer, token, time } = life();
  await token.get();
  token.close();
  await time.pass(600_000);
  t.equal(issuer.renewals + issuer.logins, 1);
  await t.rejects(token.get(), { code: 'SELLO_STORE_UNREACHABLE' });
});
