import fc from 'fast-check';
import t from 'tap';
import { compileGlob } from '../../src/access/glob.ts';

// What https://pkg.go.dev/path#Match says, case by case. undefined: malformed.
const cases: [pattern: string, path: string, matches: boolean | undefined][] = [
  ['', '', true],
  ['abc', 'abc', true],
  ['*', 'abc', true],
  ['*c', 'abc', true],
  ['a*', 'a', true],
  ['a*', 'ab/c', false],
  ['a*/b', 'abc/b', true],
  ['a*/b', 'a/c/b', false],
  ['a*b*c*d*e*/f', 'axbxcxdxe/f', true],
  ['a*b*c*d*e*/f', 'axbxcxdxexxx/fff', false],
  ['a*b?c*x', 'abxbbxdbxebxczzx', true],
  ['ab[c]', 'abc', true],
  ['ab[b-d]', 'abc', true],
  ['ab[e-g]', 'abc', false],
  ['ab[^c]', 'abc', false],
  ['ab[^e-g]', 'abc', true],
  ['a\\*b', 'a*b', true],
  ['a\\*b', 'axb', false],
  ['a?b', 'a☺b', true],
  ['a[^a]b', 'a☺b', true],
  ['a?b', 'a/b', false],
  ['a*b', 'a/b', false],
  ['[^a]', '/', true],
  ['[\\]a]', ']', true],
  ['[\\-x]', '-', true],
  ['*ab', 'aab', true],
  ['*/*', 'a/b', true],
  ['*/*', 'a/b/c', false],
  ['[]a]', ']', undefined],
  ['[-]', '-', undefined],
  ['[x-]', 'x', undefined],
  ['[-x]', 'x', undefined],
  ['[a-b-d]', 'a', undefined],
  ['[', 'a', undefined],
  ['[^', 'a', undefined],
  ['[^bc', 'a', undefined],
  ['a[', 'a', undefined],
  ['\\', 'a', undefined],
];

t.test('as path.Match, and a malformed pattern matches nothing', async (t) => {
  for (const [pattern, path, matches] of cases) {
    t.equal(compileGlob(pattern)?.matches(path), matches, `${pattern} on ${path}`);
  }
});

/** Backtracks over everything: slow, plainly right. */
function naive(pattern: string, path: string): boolean {
  if (pattern === '') return path === '';
  if (pattern[0] === '*') return naive(pattern.slice(1), path) || (path !== '' && path[0] !== '/' && naive(pattern, path.slice(1)));
  if (path === '') return false;
  return (pattern[0] === '?' ? path[0] !== '/' : pattern[0] === path[0]) && naive(pattern.slice(1), path.slice(1));
} // prettier-ignore

const letters = fc.constantFrom('a', 'b', '/');

t.test('property: matches as a naive matcher', async () => {
  fc.assert(
    fc.property(
      fc.array(fc.oneof(letters, fc.constantFrom('*', '?')), { maxLength: 8 }).map((all) => all.join('')),
      fc.array(letters, { maxLength: 8 }).map((all) => all.join('')),
      (pattern, path) => compileGlob(pattern)!.matches(path) === naive(pattern, path),
    ),
    { numRuns: 5000 },
  );
});

t.test('property: reaches every beginning of a path it matches', async () => {
  fc.assert(
    fc.property(
      fc.array(fc.oneof(letters, fc.constantFrom('*', '?')), { maxLength: 6 }).map((all) => all.join('')),
      fc.array(letters, { maxLength: 6 }).map((all) => all.join('')),
      fc.nat(6),
      (pattern, path, length) => {
        const glob = compileGlob(pattern)!;
        return !glob.matches(path) || glob.reaches(path.slice(0, length));
      },
    ),
    { numRuns: 3000 },
  );
});

t.test('many stars take no exponential time', async (t) => {
  const glob = compileGlob(`${'*a'.repeat(40)}b`)!;
  const startedMs = performance.now();
  t.equal(glob.matches('a'.repeat(2000)), false);
  t.ok(performance.now() - startedMs < 1000);
});
