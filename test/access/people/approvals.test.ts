/** Dual control: what two people, a clock and two replicas can try, and what must come of it. */
import t, { type Test } from 'tap';
import { Approvals, maxOpenApprovals, type ApprovalSubject } from '../../../src/access/people/approvals.ts';
import { judgePerson, type Person, type PersonRef, type Role } from '../../../src/access/people/roles.ts';
import { MemoryRecordStore } from '../../../src/keystores/memory-records.ts';
import type { RecordStore } from '../../../src/keystores/contract.ts';
import type { TenantName } from '../../../src/tenants/name.ts';
import { HandClock } from '../../audit/fixtures.ts';

const acme = 'acme' as TenantName;
const minuteMs = 60_000;
const destroy: ApprovalSubject = { operation: 'delete', key: 'app', version: 3, keyId: 'k1', atOnce: false };

function ref(subject: string, changes: Partial<PersonRef> = {}): PersonRef {
  return {
    issuer: 'https://idp.example',
    subject,
    displayName: subject,
    stableId: undefined,
    evidence: [],
    ...changes,
  };
}

const ann = ref('ann');
const bob = ref('bob');

/** Roles as they are at this moment. */
class Directory {
  readonly roles = new Map<string, Role>();
  isDown = false;

  async may(
    person: PersonRef,
    tenant: TenantName,
    operation: ApprovalSubject['operation'],
  ): Promise<boolean> {
    if (this.isDown) throw new Error('directory is away');
    const role = this.roles.get(`${person.issuer} ${person.subject}`);
    const roles: Person['roles'] = role === undefined ? new Map() : new Map([[acme, role]]);
    return judgePerson({ roles }, tenant, operation).allowed;
  }

  set(person: PersonRef, role: Role | undefined): void {
    const name = `${person.issuer} ${person.subject}`;
    if (role === undefined) this.roles.delete(name);
    else this.roles.set(name, role);
  }
}

function site(t: Test, records: RecordStore = new MemoryRecordStore()) {
  const clock = new HandClock(t);
  const directory = new Directory();
  /** Ids of keys that were made anew under their names. */
  const madeAnew = new Map<string, string>();
  for (const person of [ann, bob]) directory.set(person, 'administrator');
  const open = (tenant = acme) =>
    new Approvals({
      tenant,
      records,
      rights: directory,
      subjectNow: async (asked) => ({ ...asked, keyId: madeAnew.get(asked.key) ?? asked.keyId }),
      clock,
      lifeMs: 60 * minuteMs,
      useWithinMs: 10 * minuteMs,
    });
  return { clock, directory, records, madeAnew, approvals: open(), open };
}

t.test('one asks, another approves, then it is done once', async (t) => {
  const { approvals } = site(t);
  const { id } = await approvals.request(destroy, ann, 'leaked, ticket 17');
  t.match(await approvals.read(id), {
    state: 'pending',
    requestedBy: ann,
    key: 'app',
    version: 3,
    reason: 'leaked, ticket 17',
  });
  await t.rejects(approvals.use(id, destroy), { code: 'SELLO_APPROVAL_REQUIRED' }, 'not before the approval');
  await approvals.approve(id, bob);
  t.match(await approvals.use(id, destroy), { state: 'used', requestedBy: ann, approvedBy: bob });
  for (let i = 0; i < 3; i++)
    await t.rejects(approvals.use(id, destroy), { code: 'SELLO_APPROVAL_USED' }, 'never again');
  await t.rejects(approvals.approve(id, bob), { code: 'SELLO_APPROVAL_USED' });
  await t.rejects(approvals.withdraw(id, ann), { code: 'SELLO_APPROVAL_USED' });
});

t.test(
  'one person is not two: the same login, another login of theirs, or one that nothing tells apart',
  async (t) => {
    const { approvals, directory } = site(t);
    const { id } = await approvals.request(destroy, ann);
    await t.rejects(approvals.approve(id, ann), { code: 'SELLO_APPROVAL_SAME_PERSON' });
    await t.rejects(approvals.approve(id, { ...ann, displayName: 'Somebody Else' }), {
      code: 'SELLO_APPROVAL_SAME_PERSON',
    });
    const elsewhere = ref('ann', { issuer: 'ldap:office' });
    directory.set(elsewhere, 'administrator');
    await t.rejects(
      approvals.approve(id, elsewhere),
      { code: 'SELLO_APPROVAL_SAME_PERSON' },
      'two issuers without a stable claim',
    );
    const mail = { stableId: 'ann@example.org' };
    const one = ref('ann-1', mail);
    const two = ref('ann-2', mail);
    const three = ref('ann-3', { ...mail, issuer: 'ldap:office' });
    const carl = ref('carl', { stableId: 'carl@example.org', issuer: 'ldap:office' });
    for (const person of [one, two, three, carl]) directory.set(person, 'administrator');
    const other = await approvals.request(destroy, one);
    for (const same of [two, three])
      await t.rejects(
        approvals.approve(other.id, same),
        { code: 'SELLO_APPROVAL_SAME_PERSON' },
        `${same.issuer} ${same.subject}`,
      );
    await t.rejects(
      approvals.approve(other.id, elsewhere),
      { code: 'SELLO_APPROVAL_SAME_PERSON' },
      'one side has none',
    );
    await t.resolves(approvals.approve(other.id, carl), 'two issuers, two stable ids');
  },
);

t.test('a request ends by its time, and so does an approval', async (t) => {
  const { approvals, clock } = site(t);
  const late = await approvals.request(destroy, ann);
  clock.advance(60 * minuteMs);
  t.equal((await approvals.read(late.id)).state, 'expired');
  await t.rejects(approvals.approve(late.id, bob), { code: 'SELLO_APPROVAL_EXPIRED' }, 'at the very time');
  const slow = await approvals.request(destroy, ann);
  clock.advance(5 * minuteMs);
  await approvals.approve(slow.id, bob);
  clock.advance(10 * minuteMs);
  await t.rejects(
    approvals.use(slow.id, destroy),
    { code: 'SELLO_APPROVAL_EXPIRED' },
    'approved, and not used in time',
  );
  const last = await approvals.request(destroy, ann);
  clock.advance(59 * minuteMs);
  await approvals.approve(last.id, bob);
  clock.advance(minuteMs);
  await t.rejects(
    approvals.use(last.id, destroy),
    { code: 'SELLO_APPROVAL_EXPIRED' },
    'never past the request',
  );
});

t.test('a clock that is put back makes no request young', async (t) => {
  const { approvals, clock } = site(t);
  const { id } = await approvals.request(destroy, ann);
  await approvals.approve(id, bob);
  clock.advance(-10 * minuteMs);
  await t.rejects(approvals.use(id, destroy), { code: 'SELLO_APPROVAL_EXPIRED' });
});

t.test('rights count at every step: asking, approving, and doing, of both people', async (t) => {
  const { approvals, directory } = site(t);
  for (const role of [undefined, 'auditor', 'operator'] as const) {
    const other = ref('other');
    directory.set(other, role);
    await t.rejects(
      approvals.request(destroy, other),
      { code: 'SELLO_NOT_AUTHORIZED' },
      `${String(role)} asks`,
    );
    const { id } = await approvals.request(destroy, ann);
    await t.rejects(
      approvals.approve(id, other),
      { code: 'SELLO_NOT_AUTHORIZED' },
      `${String(role)} approves`,
    );
    await t.rejects(
      approvals.withdraw(id, other),
      { code: 'SELLO_NOT_AUTHORIZED' },
      `${String(role)} withdraws`,
    );
    t.equal((await approvals.read(id)).state, 'pending');
  }
  for (const revoked of [ann, bob]) {
    const { id } = await approvals.request(destroy, ann);
    await approvals.approve(id, bob);
    directory.set(revoked, revoked === ann ? undefined : 'operator');
    await t.rejects(
      approvals.use(id, destroy),
      { code: 'SELLO_NOT_AUTHORIZED' },
      `${revoked.subject} revoked after the approval`,
    );
    directory.set(revoked, 'administrator');
    await t.resolves(approvals.use(id, destroy), 'a refusal used nothing up');
  }
  const { id } = await approvals.request(destroy, ann);
  directory.set(ann, undefined);
  await t.rejects(
    approvals.approve(id, bob),
    { code: 'SELLO_NOT_AUTHORIZED' },
    'who asked has no rights any more',
  );
  directory.set(ann, 'administrator');
  await approvals.approve(id, bob);
  directory.isDown = true;
  await t.rejects(approvals.use(id, destroy), 'rights that cannot be told are none');
  directory.isDown = false;
  t.equal((await approvals.read(id)).state, 'approved');
});

t.test('an approval is good for what was approved, and nothing else', async (t) => {
  const { approvals } = site(t);
  const { id } = await approvals.request(destroy, ann);
  await approvals.approve(id, bob);
  const others: ApprovalSubject[] = [
    { ...destroy, key: 'other' },
    { ...destroy, version: 4 },
    { ...destroy, version: undefined },
    { ...destroy, keyId: 'k2' },
    { ...destroy, keyId: undefined },
    { ...destroy, operation: 'state' },
  ];
  for (const subject of others)
    await t.rejects(approvals.use(id, subject), { code: 'SELLO_APPROVAL_REQUIRED' }, JSON.stringify(subject));
  await t.resolves(approvals.use(id, destroy));
});

t.test('of two replicas that use one approval at once, one does', async (t) => {
  const { open, approvals } = site(t);
  const { id } = await approvals.request(destroy, ann);
  await approvals.approve(id, bob);
  const results = await Promise.allSettled(Array.from({ length: 12 }, () => open().use(id, destroy)));
  t.equal(results.filter(({ status }) => status === 'fulfilled').length, 1);
  for (const result of results)
    if (result.status === 'rejected')
      t.match(result.reason, { code: /SELLO_RECORD_CONFLICT|SELLO_APPROVAL_USED/ });
  const two = await approvals.request(destroy, ann);
  const raced = await Promise.allSettled([approvals.withdraw(two.id, ann), open().approve(two.id, bob)]);
  t.equal(raced.filter(({ status }) => status === 'fulfilled').length, 1, 'of withdrawing and approving too');
});

t.test('withdrawn is over', async (t) => {
  const { approvals } = site(t);
  const { id } = await approvals.request(destroy, ann);
  await approvals.approve(id, bob);
  await approvals.withdraw(id, bob);
  await t.rejects(approvals.use(id, destroy), { code: 'SELLO_APPROVAL_USED' });
  await t.rejects(approvals.approve(id, bob), { code: 'SELLO_APPROVAL_USED' });
});

t.test('a record that was moved, changed or made up approves nothing', async (t) => {
  const { approvals, records, open } = site(t);
  const { id } = await approvals.request(destroy, ann);
  await approvals.approve(id, bob);
  const { value, revision } = (await records.read(`approvals/${id}`))!;
  await t.rejects(
    open('globex' as TenantName).use(id, destroy),
    { code: 'SELLO_STORED_KEY_UNREADABLE' },
    'of another tenant',
  );
  const elsewhere = `${id.slice(0, -1)}${id.endsWith('0') ? '1' : '0'}`;
  await records.write(`approvals/${elsewhere}`, value, 0);
  await t.rejects(
    approvals.use(elsewhere, destroy),
    { code: 'SELLO_STORED_KEY_UNREADABLE' },
    'under another id',
  );
  const changes: [string, string][] = [
    ['"state":"approved"', '"state":"Approved"'],
    ['"format":1', '"format":2'],
    ['"operation":"delete"', '"operation":"everything"'],
    ['"expiresMs":', '"expiresMs":"9",'],
    ['"tenant":"acme"', '"tenant":"acme","tenant":"acme"'],
    ['{', '['],
  ];
  let at = revision;
  for (const [from, to] of changes) {
    const text = value.toString().replace(from, to);
    t.not(text, value.toString(), from);
    at = await records.write(`approvals/${id}`, Buffer.from(text), at);
    await t.rejects(approvals.use(id, destroy), { code: 'SELLO_STORED_KEY_UNREADABLE' }, to);
  }
  const same = value.toString().replaceAll('"bob"', '"ann"');
  await records.write(`approvals/${id}`, Buffer.from(same), at);
  await t.rejects(
    approvals.use(id, destroy),
    { code: 'SELLO_APPROVAL_SAME_PERSON' },
    'approved by who asked',
  );
  for (const bad of ['', '..', 'x', `${id}/x`, id.toUpperCase(), `approvals/${id}`])
    await t.rejects(approvals.read(bad), { code: 'SELLO_APPROVAL_NOT_FOUND' }, JSON.stringify(bad));
});

t.test('open requests are bounded, and what is over goes', async (t) => {
  const { approvals, clock, records } = site(t);
  for (let i = 0; i < maxOpenApprovals; i++) await approvals.request(destroy, ann);
  await t.rejects(approvals.request(destroy, ann), { code: 'SELLO_RATE_LIMITED' });
  t.equal((await approvals.list()).length, maxOpenApprovals);
  clock.advance(60 * minuteMs);
  const { id } = await approvals.request(destroy, ann);
  clock.advance(24 * 60 * minuteMs);
  const last = await approvals.request(destroy, ann);
  t.same(
    (await approvals.list()).map((approval) => approval.id),
    [id, last.id],
  );
  t.equal((await records.list('approvals', { limit: 500 })).names.length, 2, 'the first hundred are gone');
});

t.test('nobody approves the end of a key that took the place of the one asked about', async (t) => {
  const { approvals, madeAnew } = site(t);
  const { id } = await approvals.request(destroy, ann);
  madeAnew.set('app', 'k2');
  await t.rejects(approvals.approve(id, bob), { code: 'SELLO_APPROVAL_EXPIRED' });
  madeAnew.clear();
  await approvals.approve(id, bob);
  for (const other of [{ keyId: 'k2' }, { keyId: undefined }, { version: 4 }, { atOnce: true }])
    await t.rejects(approvals.use(id, { ...destroy, ...other }), { code: 'SELLO_APPROVAL_REQUIRED' });
  await t.resolves(approvals.use(id, destroy));
});
