/** Sessions end, are bounded and leave nothing to steal in memory; guesses are bounded too. */
import t from 'tap';
import { failureBounds, Failures, failureWindowMs } from '../../../src/access/people/failures.ts';
import { CookieSeal, localPath, loginLifeMs } from '../../../src/access/people/login-flow.ts';
import {
  judgePerson,
  operationsOfRole,
  personId,
  roles,
  type Person,
} from '../../../src/access/people/roles.ts';
import { hasCsrf, maxSessions, maxSessionsPerPerson, Sessions } from '../../../src/access/people/sessions.ts';
import { parseStrictJson } from '../../../src/access/people/strict-json.ts';
import { operations, type Operation } from '../../../src/access/operations.ts';
import type { TenantName } from '../../../src/tenants/name.ts';
import { HandClock } from '../../audit/fixtures.ts';

const minuteMs = 60_000;
const acme = 'acme' as TenantName;

function person(subject: string): Person {
  return {
    issuer: 'https://idp.example',
    subject,
    displayName: subject,
    stableId: undefined,
    evidence: [],
    roles: new Map([[acme, 'auditor']]),
    authTimeMs: undefined,
  };
}

t.test('a session idles out, and ends however busy it is', async (t) => {
  const clock = new HandClock(t);
  const sessions = new Sessions(clock, { idleMs: 15 * minuteMs, absoluteMs: 60 * minuteMs });
  const idle = sessions.begin(person('a'));
  clock.advance(15 * minuteMs - 1);
  t.ok(sessions.find(idle.id), 'seen just in time');
  clock.advance(15 * minuteMs);
  t.equal(sessions.find(idle.id), undefined, 'idle');
  t.equal(sessions.find(idle.id), undefined);
  const busy = sessions.begin(person('a'));
  for (let i = 0; i < 59; i++) {
    clock.advance(minuteMs);
    t.ok(sessions.find(busy.id));
  }
  clock.advance(minuteMs);
  t.equal(sessions.find(busy.id), undefined, 'an hour is over');
});

t.test('ids are new, long, kept as hashes, and no other text finds a session', async (t) => {
  const sessions = new Sessions(new HandClock(t), { idleMs: minuteMs, absoluteMs: minuteMs });
  const { id, session } = sessions.begin(person('a'));
  const other = sessions.begin(person('a'));
  t.match(id, /^[\w-]{43}$/);
  t.not(id, other.id);
  t.not(session.csrf, other.session.csrf);
  for (const bad of [
    '',
    id.slice(1),
    `${id}A`,
    id.toLowerCase() === id ? '' : id.toLowerCase(),
    '__proto__',
    'constructor',
    ` ${id}`,
  ])
    t.equal(sessions.find(bad), undefined, bad);
  t.ok(hasCsrf(session, session.csrf));
  for (const bad of [undefined, '', other.session.csrf, `${session.csrf} `]) t.notOk(hasCsrf(session, bad));
  sessions.end(id);
  t.equal(sessions.find(id), undefined);
  t.ok(sessions.find(other.id), 'and the other one goes on');
});

t.test('there are never more sessions than fit', async (t) => {
  const sessions = new Sessions(new HandClock(t), { idleMs: minuteMs, absoluteMs: minuteMs });
  const mine = Array.from({ length: maxSessionsPerPerson + 3 }, () => sessions.begin(person('a')).id);
  t.same(
    mine.map((id) => sessions.find(id) !== undefined),
    mine.map((_, i) => i >= 3),
    'the first ones of a person go',
  );
  for (let i = 0; i < maxSessions + 50; i++) sessions.begin(person(`p${String(i)}`));
  t.equal(sessions.size, maxSessions);
});

t.test(
  'guesses are bounded, per name and source first; a person elsewhere is not locked out by them',
  async (t) => {
    const clock = new HandClock(t);
    const failures = new Failures(clock);
    const limited = { code: 'SELLO_RATE_LIMITED' };
    const guess = (name: string, source: string) => {
      failures.check(name, source);
      failures.begin(name, source);
    };
    for (let i = 0; i < failureBounds.nameAndSource; i++) guess(['Ann', 'ann', ' ANN '][i % 3]!, '10.0.0.1');
    t.throws(() => guess('ann', '10.0.0.1'), limited, 'however the name is written');
    t.doesNotThrow(() => guess('ann', '10.0.0.2'), 'from elsewhere');
    for (let i = failureBounds.nameAndSource; i < failureBounds.source; i++)
      guess(`n${String(i)}`, '10.0.0.1');
    t.throws(() => guess('somebody', '10.0.0.1'), limited, 'many names from one source');
    for (let i = 0; i < failureBounds.name - failureBounds.nameAndSource - 1; i++)
      guess('ann', `10.1.0.${String(i)}`);
    t.throws(() => guess('ann', '10.2.0.1'), limited, 'one name from many sources');
    clock.advance(failureWindowMs);
    t.doesNotThrow(() => guess('ann', '10.0.0.1'), 'time passes');
    failures.takeBack('ann', '10.0.0.1');
    for (let i = 0; i < failureBounds.nameAndSource; i++) guess('ann', '10.0.0.1');
    t.throws(() => guess('ann', '10.0.0.1'), limited, 'what was no guess is taken back once');
  },
);

t.test('a login cookie is for this process, this login, this time', async (t) => {
  const clock = new HandClock(t);
  const seal = new CookieSeal(clock);
  const pending = {
    provider: 'p',
    state: 's',
    nonce: 'n',
    verifier: 'v',
    returnTo: '/',
    expiresMs: clock.now() + loginLifeMs,
  };
  const closed = seal.close(JSON.stringify(pending));
  const wrong = { code: 'SELLO_LOGIN_REFUSED', reason: 'login state wrong' };
  const query = new URLSearchParams({ state: 's' });
  for (const cookie of [
    undefined,
    '',
    'x',
    `${closed}A`,
    closed.slice(0, -2),
    new CookieSeal(clock).close(JSON.stringify(pending)),
    'A'.repeat(10_000),
  ])
    t.throws(() => seal.open(cookie, query), wrong, cookie?.slice(0, 5) ?? 'none');
  for (const state of ['', 'S', 's2'])
    t.throws(() => seal.open(closed, new URLSearchParams({ state })), wrong, state);
  t.match(seal.open(closed, query), { provider: 'p', nonce: 'n', verifier: 'v' });
  t.throws(() => seal.open(closed, query), wrong, 'once');
  const late = seal.close(JSON.stringify({ ...pending, state: 'late' }));
  clock.advance(loginLifeMs);
  t.throws(() => seal.open(late, new URLSearchParams({ state: 'late' })), {
    reason: 'login expired',
    code: 'SELLO_LOGIN_REFUSED',
  });
});

t.test('paths that leave this origin are none', async (t) => {
  for (const good of ['/', '/a', '/a/b?c=d&e#f', '/a//b', '/%2f%2fevil']) t.equal(localPath(good), good);
  for (const bad of [
    '',
    'a',
    '//a',
    '/\\a',
    '\\/a',
    '/a\\b',
    'https://a',
    '/ä',
    '/\ta',
    '/a b',
    `/${'a'.repeat(600)}`,
    '/.//evil',
    '/..//evil',
  ])
    t.ok(new URL(localPath(bad), 'https://here.example').origin === 'https://here.example', bad);
  t.equal(localPath('//evil'), '/');
});

t.test('each role has what the one before it has, and none hands out data keys', async (t) => {
  const may = (role: (typeof roles)[number], operation: Operation): boolean =>
    judgePerson({ roles: new Map([[acme, role]]) }, acme, operation).allowed;
  for (const [i, role] of roles.entries()) {
    for (const operation of operations) {
      if (i > 0 && may(roles[i - 1]!, operation)) t.ok(may(role, operation), `${role} ${operation}`);
    }
    for (const operation of ['issue', 'encrypt', 'unwrap', 'mac', 'seal', 'open'] as const)
      t.notOk(may(role, operation), `${role} ${operation}`);
  }
  t.same([...operationsOfRole.auditor], ['describe', 'list', 'metrics', 'status', 'read-audit']);
  t.ok(
    may('operator', 'rotate') &&
      !may('operator', 'delete') &&
      !may('operator', 'import') &&
      !may('operator', 'admin'),
  );
  t.ok(may('administrator', 'delete'));
  t.match(judgePerson({ roles: new Map([[acme, 'administrator']]) }, 'globex' as TenantName, 'list'), {
    allowed: false,
    rule: 'no role in tenant',
  });
});

t.test('ids of people in records are not to be mixed up', async (t) => {
  t.match(personId({ issuer: 'a', subject: 'b' }), /^[0-9a-f]{64}$/);
  t.not(personId({ issuer: 'a', subject: 'bc' }), personId({ issuer: 'ab', subject: 'c' }));
  t.not(personId({ issuer: 'a', subject: 'b' }), personId({ issuer: 'b', subject: 'a' }));
});

t.test('strict JSON', async (t) => {
  t.same(parseStrictJson('{"a":[{"b":1},{"b":2}],"c":{"a":"\\"}:{"}}'), {
    a: [{ b: 1 }, { b: 2 }],
    c: { a: '"}:{' },
  });
  for (const bad of [
    '{"a":1,"a":1}',
    '{"a":{"b":1,"\\u0062":2}}',
    '[{"x":1},{"y":1,"y":2}]',
    '{"__proto__":1}',
    '{',
    '',
    'nul',
    '['.repeat(40) + ']'.repeat(40),
  ])
    t.throws(() => parseStrictJson(bad), SyntaxError, bad.slice(0, 20));
  t.throws(() => parseStrictJson('['.repeat(200_000)), 'deep, and not closed');
});
