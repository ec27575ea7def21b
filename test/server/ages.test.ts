/** Keys that have sealed with one version for longer than NIST SP 800-57 part 1, 5.3.6 lets them: in the log once, in the metrics always. */
import t from 'tap';
import { formatStoredKey, MasterKey, parseKeyName } from '../../src/keys/index.ts';
import { instantFromDate } from '../../src/keys/instant.ts';
import { Schedule } from '../../src/server/schedule.ts';
import { systemClock } from '../../src/clock.ts';
import { dayMs, issue } from '../attacks/pki.ts';
import { listenerYaml, Site, tenantsYaml } from '../attacks/site.ts';

const admin = issue('admin');

t.test('a key that seals with one version for more than two years', async (t) => {
  const site = new Site();
  t.teardown(() => site.remove());
  await site.start(
    listenerYaml + tenantsYaml({ name: 'alpha', clients: { auth: 'off' }, admins: [admin.identity] }),
  );
  const tenant = site.server.runtime.tenants.get('alpha')!;
  const { keys } = tenant;
  const ages = { young: 729, old: 731, rotated: 1000 };
  for (const [name, days] of Object.entries(ages)) {
    const facts = {
      algorithm: 'AES256',
      createdBy: '',
      createdAt: instantFromDate(new Date(Date.now() - days * dayMs)),
    } as const;
    await keys.store.create(parseKeyName(name), formatStoredKey(MasterKey.generate(facts)));
    await keys.issue(parseKeyName(name), Buffer.from('{}'));
  }
  const told: { key: string; words: string }[] = [];
  const log = Object.assign(Object.create(site.server.info.log) as typeof site.server.info.log, {
    warn: (facts: { key: string }, words: string) => void told.push({ key: facts.key, words }),
  });
  const schedule = new Schedule({
    tenants: () => [tenant],
    server: Object.assign(Object.create(site.server.info) as typeof site.server.info, { log }),
    clock: systemClock,
  });
  t.teardown(() => schedule.close());
  const aged = async (): Promise<string | undefined> =>
    /^sello_keys_past_age_limit\{tenant="alpha"\} (\d+)$/m.exec(
      (await site.server.info.metrics.text()).body,
    )?.[1];
  await schedule.look();
  t.equal(await aged(), '2');
  await keys.rotate(parseKeyName('rotated'), 'alice');
  await keys.issue(parseKeyName('rotated'), Buffer.from('{}'));
  await schedule.look();
  t.equal(await aged(), '1', 'what was rotated seals with a new version');
  t.same(told.map(({ key }) => key).sort(), ['old', 'rotated'], 'each is told once');
  t.ok(told.every(({ words }) => /SP 800-57/.test(words)));
});
