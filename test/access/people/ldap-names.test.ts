/** Names in LDAP: escapes that nothing gets out of, and DNs that are one where a directory takes them for one. */
import fc from 'fast-check';
import { FilterParser, type EqualityFilter } from 'ldapts';
import t from 'tap';
import { escapeDnValue, escapeFilterValue, normalizeDn } from '../../../src/access/people/ldap-names.ts';

t.test('a filter value stays one value, whatever a person types', async (t) => {
  t.equal(escapeFilterValue('*)(uid=*))(|(uid=*'), '\\2a\\29\\28uid=\\2a\\29\\29\\28|\\28uid=\\2a');
  t.equal(escapeFilterValue('a\\b\0c'), 'a\\5cb\\00c');
  fc.assert(
    fc.property(fc.string({ unit: 'binary', minLength: 1 }), (name) => {
      const filter = FilterParser.parseString(`(uid=${escapeFilterValue(name)})`) as EqualityFilter;
      const { value } = filter;
      return filter.attribute === 'uid' && value === name;
    }),
    { numRuns: 500 },
  );
});

t.test('a DN value stays one value', async (t) => {
  t.equal(escapeDnValue('a,ou=admins'), 'a\\,ou\\=admins');
  t.equal(escapeDnValue(' #x '), '\\ #x\\ ');
  t.equal(escapeDnValue('#x'), '\\#x');
  t.equal(escapeDnValue('a\0b\n'), 'a\\00b\\0a');
  fc.assert(
    fc.property(fc.string({ unit: 'grapheme', minLength: 1 }), (name) => {
      const normal = normalizeDn(`uid=${escapeDnValue(name)},ou=people,dc=example`);
      return normal !== undefined && normal.endsWith(',ou=people,dc=example') && normal.startsWith('uid=');
    }),
    { numRuns: 500 },
  );
});

t.test('DNs are compared as directories compare them', async (t) => {
  const same = [
    'CN=Key Admins,OU=Groups,DC=corp,DC=example',
    'cn=key admins, ou=groups, dc=corp, dc=example',
    'cn=key   admins,ou=groups;dc=corp ; dc=example',
    'CN="Key Admins",OU=Groups,DC=corp,DC=example',
    'cn=\\6bey\\20admins,ou=groups,dc=corp,dc=example',
  ];
  const [first, ...others] = same.map(normalizeDn);
  t.equal(first, 'cn=key admins,ou=groups,dc=corp,dc=example');
  for (const other of others) t.equal(other, first);
  t.equal(normalizeDn('cn=a+uid=b,dc=x'), normalizeDn('UID=B+CN=A,dc=x'), 'parts have no order');
  t.not(normalizeDn('cn=a\\,ou=admins,dc=x'), normalizeDn('cn=a,ou=admins,dc=x'), 'an escaped comma is none');
  t.equal(normalizeDn('cn=a\\2cou=admins,dc=x'), normalizeDn('cn=a\\,ou\\=admins,dc=x'));
  t.not(normalizeDn('cn=a,cn=b'), normalizeDn('cn=b,cn=a'), 'relative names have an order');
  for (const bad of [
    '',
    'admins',
    'cn',
    '=a',
    'cn=a,',
    'cn=a,,dc=x',
    'cn="a',
    'cn="a"b',
    'cn=a<b',
    'cn=\\',
    'cn=\\zz',
    'cn=\\ff',
  ])
    t.equal(normalizeDn(bad), undefined, bad);
});

t.test('a hostile DN takes no time', async (t) => {
  const startMs = performance.now();
  for (const bad of [
    `cn=${'\\ab'.repeat(1300)}"`,
    `cn=${' '.repeat(4000)}"`,
    'cn=a+'.repeat(800),
    `${' '.repeat(4090)}cn`,
  ])
    t.equal(normalizeDn(bad), undefined);
  t.ok(performance.now() - startMs < 2000);
});
