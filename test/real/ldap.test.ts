/** People in a real directory: who gets in, who does not, and that nothing is ever said in clear. */
import { join } from 'node:path';
import { Attribute, Change } from 'ldapts';
import t from 'tap';
import { parseLdapUrl } from '../../src/access/people/ldap-names.ts';
import { LdapDirectory, type LdapRules } from '../../src/access/people/ldap.ts';
import type { TenantName } from '../../src/tenants/name.ts';
import { systemClock } from '../../src/clock.ts';
import { needSlapd, passwords, service, suffix, type Slapd } from './slapd.ts';
import { createAuthority } from './certificates.ts';

const acme = 'acme' as TenantName;

function directory(slapd: Slapd, changes: Partial<LdapRules> = {}): LdapDirectory {
  return new LdapDirectory({
    rules: {
      name: 'office',
      address: parseLdapUrl(slapd.ldaps)!,
      caFile: slapd.ca,
      bind: { by: 'service', dn: service.dn, password: () => Buffer.from(service.password) },
      userBase: `ou=people,${suffix}`,
      userFilter: '(&(objectClass=inetOrgPerson)(uid={name}))',
      idAttribute: 'entryUUID',
      nameAttribute: 'displayName',
      stableAttribute: 'mail',
      groups: { by: 'search', base: `ou=groups,${suffix}`, attribute: 'member', nested: false },
      grants: [
        { value: `cn=KEY  admins, ou=Groups,${suffix}`, tenant: acme, role: 'administrator' },
        { value: `cn=key watchers,ou=groups,${suffix}`, tenant: acme, role: 'auditor' },
      ],
      timeoutMs: 10_000,
      revoked: [],
      ...changes,
    },
    clock: systemClock,
    tenants: [acme],
  });
}

const wrong = { code: 'SELLO_LOGIN_REFUSED', reason: 'name or password wrong' };

t.test('with a service account', { timeout: 120_000 }, async (t) => {
  const slapd = await needSlapd(t);
  if (slapd === undefined) return;
  const people = directory(slapd);

  await t.test('a good password makes a person with the roles of their groups', async (t) => {
    const ann = await people.login('ann', passwords.ann);
    t.match(ann, { issuer: 'ldap:office', displayName: 'Ann Möller', stableId: 'ann@example.org' });
    t.match(ann.subject, /^[0-9a-f-]{36}$/);
    t.same([...ann.roles], [['acme', 'administrator']]);
    t.same([...(await people.login('bob', passwords.bob)).roles], [['acme', 'auditor']]);
    t.equal(
      (await people.login('ANN', passwords.ann)).subject,
      ann.subject,
      'one person however they write their name',
    );
    t.match(
      await people.login('o,(x)*\\y', 'odd-password'),
      { displayName: /Odd|uid=o/ },
      'an odd name is a name',
    );
  });

  await t.test('wrong and missing passwords', async (t) => {
    for (const password of [
      'x',
      'ann-passwor',
      'Ann-password',
      ' ann-password',
      passwords.bob,
      'x'.repeat(2000),
      'ann-password\0',
    ])
      await t.rejects(people.login('ann', password), wrong, password.slice(0, 20));
    await t.rejects(
      people.login('ann', ''),
      { code: 'SELLO_LOGIN_REFUSED', reason: 'password missing' },
      'no unauthenticated bind',
    );
    await t.rejects(people.login('nobody', passwords.ann), wrong, 'a name that is not there');
    await t.rejects(people.login('nobody', ''), { code: 'SELLO_LOGIN_REFUSED', reason: 'password missing' });
  });

  await t.test('names that try to be filters or DNs find nobody', async (t) => {
    const names = [
      '*',
      'ann*',
      '*)(uid=*',
      'ann)(|(uid=*',
      'ann)(objectClass=*))(|(uid=bob',
      'x)(|(uid=ann))',
      `ann,ou=people,${suffix}`,
      `uid=ann,ou=people,${suffix}`,
      'ann\\2a',
      'ann\\',
      '(ann)',
      'ann,ou=people',
      '#ann',
    ];
    for (const name of names) await t.rejects(people.login(name, passwords.ann), wrong, name);
    for (const name of ['', ' ', 'ann\0', 'ann\n', 'a'.repeat(300), 'ann\u0007', '\ud800'])
      await t.rejects(
        people.login(name, passwords.ann),
        { code: 'SELLO_LOGIN_REFUSED', reason: 'name not acceptable' },
        JSON.stringify(name.slice(0, 10)),
      );
    const wide = directory(slapd, { userBase: suffix });
    await t.rejects(
      wide.login('bob', passwords.bob),
      { code: 'SELLO_LOGIN_REFUSED', reason: 'name not unique' },
      'two of one name are nobody',
    );
  });

  await t.test('rights are those of this moment', async (t) => {
    const ann = await people.login('ann', passwords.ann);
    t.same([...(await people.lookUp(ann.subject))!.roles], [['acme', 'administrator']]);
    const members = (uids: string[]) =>
      new Change({
        operation: 'replace',
        modification: new Attribute({
          type: 'member',
          values: uids.map((uid) => `uid=${uid},ou=people,${suffix}`),
        }),
      });
    const admins = `cn=Key Admins,ou=groups,${suffix}`;
    await slapd.change((client) => client.modify(admins, members(['bob'])));
    t.same([...(await people.lookUp(ann.subject))!.roles], [['acme', 'auditor']], 'out of the group');
    await slapd.change((client) => client.modify(admins, members(['ann'])));
    t.equal(await people.lookUp('00000000-0000-0000-0000-000000000000'), undefined);
    t.equal(await people.lookUp('*'), undefined, 'an id is no pattern');
    await t.rejects(directory(slapd, { revoked: [ann.subject] }).login('ann', passwords.ann), {
      code: 'SELLO_LOGIN_REFUSED',
      reason: 'person is revoked',
    });
  });

  await t.test('groups in memberOf, and ids of sixteen bytes', async (t) => {
    const guid = Buffer.from('00ff2a285c29800d0a7fc3a9fe010203', 'hex');
    const set = new Change({
      operation: 'add',
      modification: new Attribute({ type: 'objectGUID', values: [guid] }),
    });
    await slapd.change((client) => client.modify(`uid=bob,ou=people,${suffix}`, set));
    const byGuid = directory(slapd, {
      idAttribute: 'objectGUID',
      groups: { by: 'attribute', attribute: 'memberOf' },
    });
    const bob = await byGuid.login('bob', passwords.bob);
    t.equal(bob.subject, guid.toString('hex'));
    t.same([...bob.roles], [['acme', 'auditor']]);
    t.same([...(await byGuid.lookUp(bob.subject))!.roles], [['acme', 'auditor']], 'found by its bytes');
    t.equal(await byGuid.lookUp('00'.repeat(16)), undefined);
    await t.rejects(
      byGuid.login('ann', passwords.ann),
      { code: 'SELLO_LOGIN_UNAVAILABLE' },
      'no id, no person',
    );
  });

  await t.test('a service account that is refused is our trouble, not the person’s', async (t) => {
    const bad = (password: string) =>
      directory(slapd, { bind: { by: 'service', dn: service.dn, password: () => Buffer.from(password) } });
    await t.rejects(bad('wrong').login('ann', passwords.ann), { code: 'SELLO_LOGIN_UNAVAILABLE' });
    await t.rejects(
      bad('').login('ann', passwords.ann),
      { code: 'SELLO_LOGIN_UNAVAILABLE' },
      'never an empty password',
    );
  });
});

t.test('StartTLS, and nothing before it', { timeout: 120_000 }, async (t) => {
  const slapd = await needSlapd(t);
  if (slapd === undefined) return;
  const started = directory(slapd, { address: parseLdapUrl(slapd.ldap)! });
  t.same([...(await started.login('ann', passwords.ann)).roles], [['acme', 'administrator']]);
  await t.rejects(started.login('ann', 'x'), wrong);
  const other = await createAuthority(join(slapd.folder, 'other'));
  for (const address of [parseLdapUrl(slapd.ldap)!, parseLdapUrl(slapd.ldaps)!]) {
    await t.rejects(
      directory(slapd, { address, caFile: other.ca }).login('ann', passwords.ann),
      { code: 'SELLO_LOGIN_UNAVAILABLE' },
      'a CA that is not ours',
    );
    await t.rejects(
      directory(slapd, { address, caFile: undefined }).login('ann', passwords.ann),
      { code: 'SELLO_LOGIN_UNAVAILABLE' },
      'no CA of the system vouches for it',
    );
    await t.rejects(
      directory(slapd, { address: { ...address, host: '127.0.0.2' } }).login('ann', passwords.ann),
      { code: 'SELLO_LOGIN_UNAVAILABLE' },
      'another address than its certificate',
    );
  }
});

t.test('without a service account: a DN by template', { timeout: 120_000 }, async (t) => {
  const slapd = await needSlapd(t);
  if (slapd === undefined) return;
  const people = directory(slapd, { bind: { by: 'template', template: `uid={name},ou=people,${suffix}` } });
  t.same([...(await people.login('ann', passwords.ann)).roles], [['acme', 'administrator']]);
  t.match(await people.login('o,(x)*\\y', 'odd-password'), { issuer: 'ldap:office' });
  t.equal(await people.lookUp('anything'), undefined, 'nobody to ask as');
  for (const name of [
    '*',
    'ann,ou=people',
    `ann,ou=people,${suffix}`,
    'ann+cn=Ann',
    'nobody',
    '#',
    'ann\\',
    '"ann"',
  ])
    await t.rejects(people.login(name, passwords.ann), wrong, name);
  // Bound as one, found as another: a filter that is wider than the template.
  const loose = directory(slapd, {
    bind: { by: 'template', template: `uid={name},ou=people,${suffix}` },
    userFilter: '(|(uid=bob)(cn={name}))',
  });
  await t.rejects(loose.login('ann', passwords.ann), wrong, 'the entry found is another one');
  for (const template of ['{name}', 'x', ''])
    t.throws(() => directory(slapd, { bind: { by: 'template', template } }), {
      code: 'SELLO_CONFIG_INVALID',
    });
  const upn = directory(slapd, { bind: { by: 'template', template: '{name}@example.org' } });
  for (const name of ['ann@evil.org', 'ann\\x', 'a/b', 'a(b', 'EXAMPLE\\ann'])
    await t.rejects(
      upn.login(name, passwords.ann),
      { code: 'SELLO_LOGIN_REFUSED', reason: 'name not acceptable' },
      name,
    );
});
