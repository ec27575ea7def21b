import { readFileSync } from 'node:fs';
import { resolve } from 'node:path';
import fc from 'fast-check';
import t from 'tap';
import type { OperationRuleConfig, PolicyConfig, RuleConfig } from '../../src/config/model.ts';
import type { Identity } from '../../src/access/identity.ts';
import { kesRouteOf, kesRoutes } from '../../src/access/kes-routes.ts';
import { operations } from '../../src/access/operations.ts';
import type { Face, Operation } from '../../src/access/operations.ts';
import { compileAccess, explain } from '../../src/access/policy.ts';
import type { AccessRequest } from '../../src/access/policy.ts';
import { hasCode } from '../../src/errors.ts';

const admin = 'a'.repeat(64) as Identity;
const app = 'b'.repeat(64) as Identity;
const other = 'c'.repeat(64) as Identity;
const noonMs = Date.UTC(2026, 0, 1, 12);

const kes = (pattern: string, matching: 'prefix' | 'glob' = 'prefix'): RuleConfig => ({
  kind: 'kes',
  pattern,
  matching,
});
const rule = (
  ops: readonly (Operation | '*')[],
  keys: readonly string[] = [],
  conditions: OperationRuleConfig['conditions'] = {},
): RuleConfig => ({ kind: 'operations', operations: ops, keys, conditions });
const policy = (
  allow: RuleConfig[],
  deny: RuleConfig[] = [],
  name = 'app',
  identities = [app],
): PolicyConfig => ({
  name,
  allow,
  deny,
  identities,
});
const access = (allow: RuleConfig[], deny: RuleConfig[] = []) =>
  compileAccess({ admins: [admin], policies: [policy(allow, deny)] });

function onPath(path: string, identity = app): AccessRequest {
  const route = kesRouteOf(path);
  return {
    identity,
    face: 'kes',
    operation: route?.operation ?? 'admin',
    path,
    key: route === undefined || route.argument === 'none' ? undefined : path.slice(route.path.length),
    context: undefined,
    sourceIp: '192.0.2.1',
    nowMs: noonMs,
  };
}

function onFace(
  face: Face,
  operation: Operation,
  key?: string,
  rest: Partial<AccessRequest> = {},
): AccessRequest {
  return {
    identity: app,
    face,
    operation,
    path: undefined,
    key,
    context: () => ({}),
    sourceIp: '192.0.2.1',
    nowMs: noonMs,
    ...rest,
  };
}

t.test('an admin may do everything on every face; a stranger nothing', async (t) => {
  const { decide } = access([kes('*')]);
  for (const operation of operations) {
    for (const face of ['kes', 'transit', 'objects', 'admin'] as const) {
      t.same(decide(onFace(face, operation, 'k', { identity: admin })), { allowed: true, rule: 'admin' });
      t.same(decide(onFace(face, operation, 'k', { identity: other })), {
        allowed: false,
        rule: 'no policy',
      });
    }
  }
});

t.test('KES patterns as KES answers them', async (t) => {
  const { decide } = access(
    [kes('/v1/key/generate/app*'), kes('/v1/key/describe/one'), kes('/v1/key/list/'), kes('/v1/key/*/mid')],
    [kes('/v1/key/generate/app-internal*'), kes('/v1/key/*/app-key')],
  );
  const cells: [path: string, allowed: boolean, rule: string][] = [
    ['/v1/key/generate/app-key', true, 'policy app: allow /v1/key/generate/app*'],
    ['/v1/key/generate/app/below', true, 'policy app: allow /v1/key/generate/app*'],
    ['/v1/key/generate/app-internal', false, 'policy app: deny /v1/key/generate/app-internal*'],
    ['/v1/key/generate/other', false, 'no rule of policy app'],
    ['/v1/key/describe/one', true, 'policy app: allow /v1/key/describe/one'],
    ['/v1/key/describe/one2', false, 'no rule of policy app'],
    ['/v1/key/list/', true, 'policy app: allow /v1/key/list/'],
    ['/v1/key/list/*', false, 'no rule of policy app'],
    ['/v1/key/encrypt/mid', false, 'no rule of policy app'],
    ['/v1/key/*/mid', true, 'policy app: allow /v1/key/*/mid'],
  ];
  for (const [path, allowed, text] of cells) {
    const decision = decide(onPath(path));
    t.same([decision.allowed, decision.rule], [allowed, text], path);
  }
});

t.test('recorded: every decision that KES took, taken again', async (t) => {
  const file = resolve(import.meta.dirname, '../fixtures/kes-decisions.json');
  const recorded = JSON.parse(readFileSync(file, 'utf8')) as {
    admin: Identity;
    policies: Record<string, { allow?: string[]; deny?: string[]; identities?: Identity[] }>;
    decisions: [id: string, identity: Identity, path: string, allowed: boolean][];
  };
  const patterns = (all: string[] = []) => all.map((each) => kes(each));
  const { decide } = compileAccess({
    admins: [recorded.admin],
    policies: Object.entries(recorded.policies).map(([name, { allow, deny, identities = [] }]) =>
      policy(patterns(allow), patterns(deny), name, identities),
    ),
  });
  t.equal(recorded.decisions.length, 94);
  for (const [id, identity, path, allowed] of recorded.decisions) {
    t.equal(decide(onPath(path, identity)).allowed, allowed, `wire ${id}: ${path}`);
  }
});

t.test('each single permission grants its own operation and no other', async (t) => {
  for (const granted of operations) {
    const { decide } = access([rule([granted], ['app*'])]);
    for (const asked of operations) {
      for (const face of ['kes', 'transit', 'objects', 'admin'] as const) {
        t.equal(
          decide(onFace(face, asked, 'app-1')).allowed,
          asked === granted,
          `${granted} asked for ${asked}`,
        );
      }
    }
  }
});

t.test('each single KES route pattern grants its own route, on the KES face alone', async (t) => {
  for (const granted of kesRoutes) {
    const path = granted.argument === 'none' ? granted.path : `${granted.path}x`;
    const { decide } = access([kes(path)]);
    for (const asked of kesRoutes) {
      const askedPath = asked.argument === 'none' ? asked.path : `${asked.path}x`;
      t.equal(
        decide(onPath(askedPath)).allowed,
        asked.path === granted.path,
        `${path} asked for ${askedPath}`,
      );
    }
    for (const face of ['transit', 'objects', 'admin'] as const) {
      t.equal(
        decide(onFace(face, granted.operation, 'x')).allowed,
        false,
        `${path} grants nothing on ${face}`,
      );
    }
  }
});

t.test('a KES allow of everything grants no other face', async (t) => {
  const { decide } = access([kes('*')]);
  t.equal(decide(onPath('/v1/key/generate/any')).allowed, true);
  for (const operation of operations)
    t.equal(decide(onFace('transit', operation, 'any')).allowed, false, operation);
});

t.test('a KES deny acts on its operation on every face', async (t) => {
  const denied = (pattern: RuleConfig, operation: Operation, key?: string) =>
    !access([rule(['*'])], [pattern]).decide(onFace('transit', operation, key)).allowed;

  for (const route of kesRoutes) {
    const path = route.argument === 'none' ? route.path : `${route.path}app-internal*`;
    for (const operation of operations) {
      t.equal(
        denied(kes(path), operation, 'app-internal-1'),
        operation === route.operation,
        `${path} on ${operation}`,
      );
    }
  }
  t.equal(denied(kes('/v1/key/generate/app-internal*'), 'issue', 'app-key'), false);
  t.equal(
    denied(kes('/v1/key/generate/app-internal*'), 'issue'),
    true,
    'a request without a key cannot be cleared',
  );
  t.equal(denied(kes('/v1/key/generate/one'), 'issue', 'one'), true);
  t.equal(denied(kes('/v1/key/generate/one'), 'issue', 'one2'), false);

  const keyOperations = new Set(
    kesRoutes.filter((route) => route.argument === 'key').map((route) => route.operation),
  );
  for (const operation of operations) {
    t.equal(
      denied(kes('/v1/key/*'), operation, 'k'),
      (keyOperations as Set<Operation>).has(operation),
      operation,
    );
    t.equal(
      denied(kes('/v1/key/de*'), operation, 'k'),
      ['describe', 'delete', 'unwrap'].includes(operation),
      operation,
    );
    t.equal(denied(kes('/v1/key/*/secret', 'glob'), operation, 'secret'),
      (keyOperations as Set<Operation>).has(operation), `glob ${operation}`); // prettier-ignore
  }
  t.equal(denied(kes('/v1/key/*/secret', 'glob'), 'issue', 'open'), false);
  t.equal(
    denied(kes('/v1/key/*/secret'), 'issue', 'secret'),
    false,
    'a * in the middle is an ordinary character',
  );

  t.equal(denied(kes('/v1/key/list/secret*'), 'list', ''), true, 'the whole list would show secret names');
  t.equal(denied(kes('/v1/key/list/secret*'), 'list', 'secret-1'), true);
  t.equal(denied(kes('/v1/key/list/secret*'), 'list', 'app'), false);
  t.equal(denied(kes('/v1/key/*/secret', 'glob'), 'list', 'sec'), true);
  t.equal(denied(kes('/v1/key/*/secret', 'glob'), 'list', 'app'), false);
});

t.test('on the KES face a deny works on the path, and decrypt covers bulk decrypt', async (t) => {
  const { decide } = access([kes('*')], [kes('/v1/api'), kes('/v1/key/decrypt/app-internal*')]);
  t.equal(decide(onPath('/v1/status')).allowed, true, '/v1/api is not /v1/status');
  t.equal(decide(onPath('/v1/api')).allowed, false);
  t.equal(decide(onPath('/v1/key/decrypt/app-internal')).allowed, false);
  t.equal(decide(onPath('/v1/key/bulk/decrypt/app-internal')).allowed, false);
  t.equal(decide(onPath('/v1/key/bulk/decrypt/app')).allowed, true);
});

t.test('the old glob rules are there by setting', async (t) => {
  const { decide } = access([kes('/v1/key/*/app-k?y', 'glob')], [kes('/v1/key/delete/[a-c]*', 'glob')]);
  t.equal(decide(onPath('/v1/key/generate/app-key')).allowed, true);
  t.equal(decide(onPath('/v1/key/generate/app-keey')).allowed, false);
  t.equal(decide(onPath('/v1/key/bulk/decrypt/app-key')).allowed, false, '* stops at /');
  t.equal(decide(onPath('/v1/key/delete/app-key')).allowed, false);
});

t.test('keys of an operation rule: exact, prefix, listings', async (t) => {
  const { decide } = access([rule(['issue', 'list', 'status'], ['app*', 'one'])]);
  const cells: [Operation, string | undefined, boolean][] = [
    ['issue', 'app', true],
    ['issue', 'app-1', true],
    ['issue', 'ap', false],
    ['issue', 'one', true],
    ['issue', 'one1', false],
    ['issue', undefined, false],
    ['list', 'app-', true],
    ['list', 'a', false],
    ['list', '', false],
    ['list', 'one', false],
    ['status', undefined, true],
    ['metrics', undefined, false],
  ];
  for (const [operation, key, allowed] of cells) {
    t.equal(decide(onFace('kes', operation, key)).allowed, allowed, `${operation} ${key}`);
  }
});

t.test(
  'a deny of keys denies them, a listing that would show them, and a request without a key',
  async (t) => {
    const { decide } = access([rule(['*'])], [rule(['*'], ['secret*', 'one'])]);
    t.equal(decide(onFace('transit', 'issue', 'secret-1')).allowed, false);
    t.equal(decide(onFace('transit', 'issue', 'open')).allowed, true);
    t.equal(decide(onFace('transit', 'issue')).allowed, false);
    t.equal(decide(onFace('transit', 'list', '')).allowed, false);
    t.equal(decide(onFace('transit', 'list', 'on')).allowed, false);
    t.equal(decide(onFace('transit', 'list', 'open')).allowed, true);
    t.equal(decide(onFace('transit', 'status')).allowed, true, 'with keys, * means the operations on a key');
  },
);

t.test('conditions fail closed on both sides', async (t) => {
  const allowing = access([rule(['issue', 'list'], [], { context: { bucket: 'a*', team: 'x' } })]);
  const denying = access([rule(['*'])], [rule(['issue'], [], { context: { bucket: 'a*' } })]);
  const withContext = (context: AccessRequest['context']) => onFace('kes', 'issue', 'k', { context });
  t.equal(allowing.decide(withContext(() => ({ bucket: 'a/1', team: 'x', more: '' }))).allowed, true);
  t.equal(allowing.decide(withContext(() => ({ bucket: 'a/1', team: 'xy' }))).allowed, false);
  t.equal(allowing.decide(withContext(() => ({ bucket: 'b', team: 'x' }))).allowed, false);
  t.equal(allowing.decide(withContext(() => ({ bucket: 'a' }))).allowed, false);
  t.equal(
    allowing.decide(withContext(() => Object.create({ bucket: 'a', team: 'x' }))).allowed,
    false,
    'own entries only',
  );
  t.equal(denying.decide(withContext(() => ({ bucket: 'a' }))).allowed, false);
  t.equal(denying.decide(withContext(() => ({ bucket: 'b' }))).allowed, true);
  for (const context of [
    undefined,
    () => undefined,
    () => {
      throw new Error('not JSON');
    },
  ]) {
    // prettier-ignore
    t.equal(allowing.decide(withContext(context)).allowed, false, 'an allow rule does not apply');
    t.equal(denying.decide(withContext(context)).allowed, false, 'a deny rule applies');
  }
  t.equal(allowing.decide(onFace('kes', 'list', '', { context: undefined })).allowed, false);
  t.equal(
    access([rule(['*'])], [rule(['*'], [], { context: { bucket: 'a' } })]).decide(
      onFace('kes', 'list', '', { context: undefined }),
    ).allowed,
    true,
    'with a context condition, * means the operations that carry a context',
  );

  const fromOffice = { sources: ['10.0.0.0/8', '2001:db8::/32'] };
  const sourceAllows = access([rule(['issue'], [], fromOffice)]);
  const sourceDenies = access([rule(['issue'])], [rule(['issue'], [], fromOffice)]);
  const cells: [string | undefined, boolean, boolean][] = [
    ['10.1.2.3', true, false],
    ['::ffff:10.1.2.3', true, false],
    ['11.0.0.0', false, true],
    ['2001:db8:1::1', true, false],
    ['2001:db9::1', false, true],
    [undefined, false, false],
    ['not an address', false, false],
  ];
  for (const [sourceIp, allows, clears] of cells) {
    t.equal(
      sourceAllows.decide(onFace('kes', 'issue', 'k', { sourceIp })).allowed,
      allows,
      `allow from ${sourceIp}`,
    );
    t.equal(
      sourceDenies.decide(onFace('kes', 'issue', 'k', { sourceIp })).allowed,
      clears,
      `deny from ${sourceIp}`,
    );
  }
});

t.test('the time of day is UTC and may cross midnight', async (t) => {
  const at = (timeOfDay: string, hours: number, minutes: number) =>
    access([rule(['issue'], [], { timeOfDay })]).decide(
      onFace('kes', 'issue', 'k', { nowMs: Date.UTC(2026, 5, 1, hours, minutes) }),
    ).allowed;
  t.same([at('08:00-18:00', 7, 59), at('08:00-18:00', 8, 0), at('08:00-18:00', 17, 59), at('08:00-18:00', 18, 0)],
    [false, true, true, false]); // prettier-ignore
  t.same([at('22:00-06:00', 21, 59), at('22:00-06:00', 23, 0), at('22:00-06:00', 5, 59), at('22:00-06:00', 6, 0)],
    [false, true, true, false]); // prettier-ignore
  t.equal(at('00:00-24:00', 23, 59), true);
});

t.test('a rate is counted per identity, refills, and is told apart from a refusal', async (t) => {
  const limited = compileAccess({
    admins: [],
    policies: [policy([rule(['issue'], [], { ratePerSecond: 2 })], [], 'app', [app, other])],
  });
  const ask = (nowMs: number, identity = app) =>
    limited.decide(onFace('kes', 'issue', 'k', { nowMs, identity }));
  t.same([ask(noonMs).allowed, ask(noonMs).allowed, ask(noonMs).allowed], [true, true, false]);
  t.match(ask(noonMs), { allowed: false, rateLimited: true, rule: /rate exceeded/ });
  t.equal(ask(noonMs, other).allowed, true, 'another identity has its own');
  t.equal(ask(noonMs + 400).allowed, false);
  t.same([ask(noonMs + 500).allowed, ask(noonMs + 500).allowed], [true, false]);
  const request = onFace('kes', 'issue', 'k', { nowMs: noonMs + 5000 });
  for (let times = 0; times < 5; times += 1)
    t.equal(explain(limited, request).decision.allowed, true, 'explaining is free');
  t.equal(limited.decide(request).allowed, true);
  t.equal(ask(noonMs - 86_400_000).allowed, true, 'a clock that steps back neither refills nor blocks');
  t.equal(ask(noonMs - 86_400_000).allowed, false);
  t.equal(ask(noonMs - 86_400_000 + 1000).allowed, true);
});

t.test('a configuration that contradicts itself is refused', async (t) => {
  const refused = (config: Parameters<typeof compileAccess>[0]) => {
    try {
      compileAccess(config);
      return undefined;
    } catch (error) {
      return hasCode(error, 'SELLO_CONFIG_INVALID') ? error.detail : error;
    }
  };
  const bad = (conditions: OperationRuleConfig['conditions'], keys: string[] = []) =>
    refused({ admins: [], policies: [policy([rule(['issue'], keys, conditions)])] });
  t.match(refused({ admins: [app], policies: [policy([])] }), /admin b+ is also in policy app/);
  t.match(
    refused({ admins: [], policies: [policy([]), policy([], [], 'two')] }),
    /in policy app and in policy two/,
  );
  t.match(refused({ admins: [], policies: [policy([]), policy([], [], 'app', [])] }), /is there twice/);
  t.match(
    refused({ admins: [], policies: [policy([], [rule(['issue'], [], { ratePerSecond: 1 })])] }),
    /no meaning on a deny/,
  );
  t.match(bad({}, ['a*b']), /not at its end/);
  t.match(bad({}, ['']), /empty/);
  t.match(bad({ ratePerSecond: 0 }), /not a positive number/);
  for (const source of ['10.0.0.1/8', '10.0.0.0/33', 'x', '10.0.0/8', '::1/129', ''])
    t.match(bad({ sources: [source] }), /network/);
  for (const time of ['8:00-18:00', '08:00-25:00', '08:00', '08:00-08:00', '24:00-01:00', '08:00-24:30']) {
    t.match(bad({ timeOfDay: time }), /time of day/, time);
  }
});

t.test('what KES read routes need', async (t) => {
  const compiled = access(
    [kes('/v1/b'), kes('/v1/a'), rule(['issue', 'unwrap'], ['app*'], { ratePerSecond: 5 })],
    [kes('/v1/c')],
  );
  t.same(compiled.policyNames, ['app']);
  t.same(compiled.identities, [admin, app]);
  t.equal(compiled.policyOf(app), 'app');
  t.equal(compiled.policyOf(admin), undefined);
  t.equal(compiled.policy('none'), undefined);
  t.same(compiled.policy('app'), {
    name: 'app',
    allowPatterns: ['/v1/b', '/v1/a'],
    denyPatterns: ['/v1/c'],
    allowRules: ['issue, unwrap on app* when rate 5/s'],
    denyRules: [],
    identities: [app],
  });
});

t.test('explain names every rule and why', async (t) => {
  const compiled = access(
    [kes('/v1/key/generate/app*'), rule(['issue'], ['x*'])],
    [rule(['issue'], [], { sources: ['10.0.0.0/8'] })],
  );
  t.same(explain(compiled, onPath('/v1/key/generate/app-1')), {
    policy: 'app',
    rules: [
      {
        effect: 'deny',
        rule: 'issue when source 10.0.0.0/8',
        matched: false,
        because: 'source is not in 10.0.0.0/8',
      },
      {
        effect: 'allow',
        rule: '/v1/key/generate/app*',
        matched: true,
        because: 'the pattern matches the path',
      },
      { effect: 'allow', rule: 'issue on x*', matched: false, because: 'is about other keys' },
    ],
    decision: { allowed: true, rule: 'policy app: allow /v1/key/generate/app*', policy: 'app' },
  });
  t.same(explain(compiled, onPath('/v1/status', admin)).decision, { allowed: true, rule: 'admin' });
});

const piece = fc.constantFrom(
  '/',
  'v1',
  'key',
  'generate',
  'decrypt',
  'list',
  'app',
  '-',
  'x',
  '*',
  'bulk',
  'status',
);
const text = fc.array(piece, { maxLength: 8 }).map((pieces) => pieces.join(''));
const routePath = fc.tuple(fc.constantFrom(...kesRoutes), text).map(([route, rest]) =>
  route.argument === 'none' ? route.path : route.path + rest,
); // prettier-ignore
const pattern = fc.oneof(
  text,
  routePath,
  routePath.map((path) => `${path}*`),
  text.map((start) => `/v1/key/${start}*`),
);

t.test('property: KES patterns decide as a naive reader of the rules would', async () => {
  const naive = (written: string, path: string) =>
    written.at(-1) === '*' ? path.indexOf(written.slice(0, written.length - 1)) === 0 : written === path;
  fc.assert(
    fc.property(
      fc.array(pattern, { maxLength: 5 }),
      fc.array(pattern, { maxLength: 5 }),
      routePath,
      (allow, deny, path) => {
        const decided = access(allow.map((each) => kes(each)), deny.map((each) => kes(each))).decide(onPath(path)).allowed; // prettier-ignore
        const aliases = path.startsWith('/v1/key/bulk/decrypt/') ? [path, path.replace('/bulk', '')] : [path];
        const denied = deny.some((each) => aliases.some((alias) => naive(each, alias)));
        return decided === (!denied && allow.some((each) => naive(each, path)));
      },
    ),
    { numRuns: 2000 },
  );
});

t.test('property: what a KES deny denies on its own face, it denies on every other', async () => {
  fc.assert(
    fc.property(
      pattern,
      fc.constantFrom('prefix' as const, 'glob' as const),
      routePath,
      (written, matching, path) => {
        const compiled = access([kes('*'), rule(['*'])], [kes(written, matching)]);
        const request = onPath(path);
        if (compiled.decide(request).allowed) return true;
        return !compiled.decide({ ...request, face: 'transit', path: undefined }).allowed;
      },
    ),
    { numRuns: 2000 },
  );
});

const anyRule = fc.oneof(
  pattern.map((written) => kes(written)),
  fc.record({
    ops: fc.uniqueArray(fc.constantFrom(...operations, '*' as const), { minLength: 1, maxLength: 3 }),
    keys: fc.array(fc.constantFrom('app*', 'app', 'x*', '*'), { maxLength: 2 }),
    conditions: fc.constantFrom({}, { sources: ['10.0.0.0/8'] }, { timeOfDay: '22:00-06:00' }, { context: { a: 'b*' } }),
  }).map(({ ops, keys, conditions }) => rule(ops, keys, conditions)),
); // prettier-ignore

t.test('property: explain and decide agree, and a deny rule never adds a permission', async () => {
  fc.assert(
    fc.property(
      fc.array(anyRule, { maxLength: 4 }),
      fc.array(anyRule, { maxLength: 3 }),
      fc.oneof(routePath.map((path) => onPath(path)), fc.tuple(fc.constantFrom(...operations), fc.option(text, { nil: undefined })).map(([operation, key]) => onFace('transit', operation, key))),
      fc.constantFrom(undefined, '10.1.1.1', '192.0.2.1'),
      (allow, deny, base, sourceIp) => {
        const request = { ...base, sourceIp };
        const compiled = access(allow, deny);
        const decision = compiled.decide(request);
        const explained = explain(compiled, request).decision;
        if (decision.allowed && !access(allow).decide(request).allowed) return false;
        return decision.allowed === explained.allowed && decision.rule === explained.rule;
      },
    ),
    { numRuns: 2000 },
  ); // prettier-ignore
});
