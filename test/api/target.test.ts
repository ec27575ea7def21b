/** Request targets resolve as Go's ServeMux resolves them, and no spelling of a path reaches another key or route. */
import fc from 'fast-check';
import t from 'tap';
import { kesTarget } from '../../src/api/kes/target.ts';
import { continueToken, parseListing } from '../../src/api/kes/listing.ts';

function name(url: string): string | undefined {
  const target = kesTarget(url);
  return target.kind === 'route' ? `${target.route.name}:${target.name}` : undefined;
}

t.test('finds routes and names', async (t) => {
  t.equal(name('/version'), 'version:');
  t.equal(name('/v1/key/generate/my-key'), 'key-generate:my-key');
  t.equal(name('/v1/key/generate/my-key?x=1'), 'key-generate:my-key');
  t.equal(name('/v1/key/bulk/decrypt/my-key'), 'key-bulk-decrypt:my-key');
  t.equal(name('/v1/identity/self/describe'), 'identity-self:');
  t.equal(name('/v1/identity/describe/self'), 'identity-describe:self');
  t.equal(name('/v1/key/describe/app%2Fkey'), 'key-describe:app/key');
  t.equal(name('/v1/key/describe/%2e%2e'), 'key-describe:..');
  t.equal(name('/%761/key/describe/a'), 'key-describe:a');
});

t.test('answers what is no route as unknown, redirected or malformed', async (t) => {
  for (const url of [
    '/',
    '/v1',
    '/v1/',
    '/v1/key',
    '/v1/key/nope/x',
    '/v1/key%2Fdescribe/a',
    '/V1/status',
    '/v1/status/',
    '*',
  ]) {
    t.equal(kesTarget(url).kind, 'unknown', url);
  }
  for (const url of ['version', '', '/v1/key/describe/%zz', '/v1/key/describe/a%', '/%'])
    t.equal(kesTarget(url).kind, 'malformed', url);
  t.same(kesTarget('/v1/key/list'), { kind: 'redirect', location: '/v1/key/list/' });
  t.same(kesTarget('/v1//key/list/?a=b'), { kind: 'redirect', location: '/v1/key/list/?a=b' });
  t.same(kesTarget('/v1/key/list/../describe/k'), { kind: 'redirect', location: '/v1/key/describe/k' });
});

t.test('resolves the same target alike whether it was seen before or not', async (t) => {
  const url = '/v1/key/generate/seen-twice';
  t.same(kesTarget(url), kesTarget(url));
  for (let i = 0; i < 5000; i++) kesTarget(`/v1/key/generate/flood-${i}`);
  t.equal(name(url), 'key-generate:seen-twice');
});

t.test('no target that is not clean reaches a route', async () => {
  const segment = fc.constantFrom(
    'v1',
    'key',
    'generate',
    'describe',
    'x',
    '.',
    '..',
    '',
    '%2e%2e',
    '%2f',
    'a%20b',
  );
  fc.assert(
    fc.property(fc.array(segment, { maxLength: 7 }), (segments) => {
      const url = `/${segments.join('/')}`;
      const unclean = segments.some(
        (s, i) => s === '.' || s === '..' || (s === '' && i < segments.length - 1),
      );
      const target = kesTarget(url);
      return !unclean || target.kind === 'redirect';
    }),
    { numRuns: 3000 },
  );
});

t.test('continue tokens carry prefix and position, and nothing else is one', async (t) => {
  for (const listing of [
    { prefix: '', after: 'a' },
    { prefix: 'app-', after: 'app-9' },
    { prefix: 'x'.repeat(80), after: 'x'.repeat(80) },
  ]) {
    const token = continueToken(listing);
    t.ok(token.startsWith('-'));
    t.same(parseListing(token), listing);
    t.equal(parseListing(`${token}A`), undefined);
  }
  t.same(parseListing('app*'), { prefix: 'app', after: undefined });
  for (const wrong of [
    '-',
    '-a',
    'a-',
    '*a',
    '**',
    'a*b',
    'ü',
    `${continueToken({ prefix: '../x', after: 'y' })}`,
  ]) {
    t.equal(parseListing(wrong), undefined, wrong);
  }
});
