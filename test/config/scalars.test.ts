import t from 'tap';
import fc from 'fast-check';
import { parseBytes, parseDuration } from '../../src/config/duration.ts';
import { expand } from '../../src/config/environment.ts';
import { parseAddress } from '../../src/config/kinds.ts';
import { patternFault } from '../../src/config/kes-patterns.ts';
import { editDistance, suggest } from '../../src/config/suggestion.ts';
import { parseConfig } from '../../src/config/index.ts';
import { problemsOf, refuses } from './problems.ts';

t.test('durations are Go’s', async (t) => {
  const good: [string, number][] = [
    ['0', 0], ['0s', 0], ['5m0s', 300_000], ['1h30m', 5_400_000], ['300ms', 300], ['1.5s', 1500], ['.5s', 500],
    ['1.s', 1000], ['1.1s', 1100], ['+3s', 3000], ['1us', 1], ['1µs', 1], ['1μs', 1], ['2562047h', 9_223_369_200_000],
    ['1m1m', 120_000],
  ]; // prettier-ignore
  for (const [text, ms] of good) t.equal(parseDuration(text), ms, text);
  for (const text of [
    '',
    '5',
    '-5s',
    '5 s',
    's',
    '.',
    '.s',
    '5m 3s',
    '1d',
    '1e3s',
    '٣s',
    '9'.repeat(60) + 'h',
  ]) {
    t.equal(parseDuration(text), undefined, JSON.stringify(text));
  }
});

t.test('sizes have binary units', async (t) => {
  t.equal(parseBytes('16KiB'), 16_384);
  t.equal(parseBytes('1 MiB'), 1_048_576);
  t.equal(parseBytes('100'), 100);
  for (const text of ['16KB', '-1', '1.5MiB', '']) t.equal(parseBytes(text), undefined, text);
});

t.test('an address is an IP address and a port', async (t) => {
  t.same(parseAddress('0.0.0.0:7373'), { host: '0.0.0.0', port: 7373 });
  t.same(parseAddress('[::]:7373'), { host: '::', port: 7373 });
  t.same(parseAddress(':7373'), { host: '0.0.0.0', port: 7373 });
  for (const text of [
    'localhost:1',
    '1.2.3.4',
    '1.2.3.4:65536',
    '[1.2.3.4]:1',
    '::1:7373',
    '[]:1',
    '1.2.3:1',
    '',
  ]) {
    t.equal(parseAddress(text), undefined, text);
  }
});

t.test('variables: whole, inside, with a default, escaped', async (t) => {
  const env = { HOST: '10.0.0.1', EMPTY: '' };
  t.equal(expand('${HOST}', env).text, '10.0.0.1');
  t.equal(expand('${HOST}:${PORT:-7373}', env).text, '10.0.0.1:7373');
  t.equal(expand('${EMPTY}', env).text, '', 'set but empty is set');
  t.equal(expand('${EMPTY:-x}', env).text, 'x');
  t.equal(expand('$${HOST} costs $5', env).text, '${HOST} costs $5');
  t.same(expand('${A}-${HOST}-${B}', env).unset, ['A', 'B']);
  t.same(
    expand('${__proto__} ${toString}', env).unset,
    ['__proto__', 'toString'],
    'only what is in the environment',
  );
});

t.test('what a variable brings is not expanded again and is not YAML', async (t) => {
  t.equal(expand('${A}', { A: '${B}', B: 'x' }).text, '${B}');
  const text = (path: string) => `admin: { identity: disabled }
tls:
  key: k
  cert: c
  password: ${path}
keystore: { fs: { path: /keys } }`;
  const config = parseConfig(text('${P}'), { env: { P: 'x, auth: on }\nsello: {}' } });
  t.equal(config.listeners[0]?.tls.keyPassword, 'x, auth: on }\nsello: {}');
  t.equal(config.tenants[0]?.clients.auth, 'off');
});

t.test('a message never shows what came from a variable', async (t) => {
  const text =
    'admin: { identity: disabled }\ntls: { key: k, cert: c, auth: "${SECRET}" }\naddress: "${SECRET}"\nkeystore: { fs: { path: x } }\nlog: { error: "${SECRET}" }\nsello: { processes: "${SECRET}" }';
  const problems = problemsOf(text, { env: { SECRET: 'hunter2:1' } }).join('\n');
  t.match(problems, /'tls.auth' is '\$\{SECRET\}'/);
  t.equal(problems.split('\n').length, 4);
  t.notMatch(problems, /hunter2/);
});

t.test('suggestions: near names only', async (t) => {
  t.equal(suggest('adress', ['address', 'admin']), 'address');
  t.equal(suggest('tsl', ['tls', 'log']), 'tls', 'swapped neighbours are one mistake');
  t.equal(suggest('Cache', ['cache']), 'cache');
  t.equal(suggest('something', ['address', 'admin', 'tls']), undefined);
  fc.assert(
    fc.property(fc.string({ maxLength: 12 }), fc.string({ maxLength: 12 }), (a, b) => {
      const distance = editDistance(a, b);
      return (
        distance === editDistance(b, a) &&
        (distance === 0) === (a === b) &&
        distance <= Math.max(a.length, b.length)
      );
    }),
  );
});

t.test('KES patterns: what never matches is found, and nothing else', async (t) => {
  for (const fine of ['*', '/v1/*', '/v1/key/generate/app*', '/version', '/v1/key/list/']) {
    t.equal(patternFault(fine, 'prefix'), undefined, fine);
  }
  for (const odd of ['/v1/*/x', '/v1/**', '/v1/a?', '/v1/[ab]', '*x', '*/*'])
    t.ok(patternFault(odd, 'prefix'), odd);
  for (const fine of ['/v1/*/x', '/v1/[a-c]', '/v1/[^a]', '/v1/\\*', '/v1/]']) {
    t.equal(patternFault(fine, 'glob'), undefined, fine);
  }
  for (const bad of ['/v1/[', '/v1/[]', '/v1/[^]', '/v1/[a', '/v1/[a-', '/v1/[-a]', '/v1/x\\']) {
    t.ok(patternFault(bad, 'glob'), bad);
  }
});

t.test('YAML: syntax, repeated fields and too much of it are refused with a line', async (t) => {
  refuses(t, 'a: [1\nb: 2', [/^\d+: not valid YAML/]);
  refuses(t, 'version: v1\nversion: v1', [/^2: not valid YAML: .*unique/]);
  refuses(t, '- a\n- b', ['1: the file must be a mapping of names to values']);
  const bomb = [
    'a0: &a0 [x,x,x,x,x,x,x,x,x]',
    ...Array.from({ length: 9 }, (_, i) => `a${i + 1}: &a${i + 1} [${Array(9).fill(`*a${i}`).join(',')}]`),
  ];
  t.match(problemsOf(bomb.join('\n')).join('\n'), /more than 200000 values/);
  refuses(t, 'x: '.padEnd(5 * 1024 * 1024, 'y'), [/larger than/]);
  t.match(problemsOf('a: &a\n  b: *a\n').join('\n'), /nests deeper/, 'an alias within itself ends');
});

t.test('anchors, aliases and merge keys work', async (t) => {
  const config = parseConfig(
    `admin: { identity: disabled }
tls: { key: k, cert: c }
keystore: { fs: { path: /keys } }
policy:
  a: &a { allow: [/v1/status], identities: [${'a'.repeat(64)}] }
  b: { <<: *a, identities: [${'b'.repeat(64)}] }
`,
    { env: {} },
  );
  t.match(config.tenants[0]?.policies, [
    { name: 'a', allow: [{ pattern: '/v1/status' }], identities: ['a'.repeat(64)] },
    { name: 'b', allow: [{ pattern: '/v1/status' }], identities: ['b'.repeat(64)] },
  ]);
});
