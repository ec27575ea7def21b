import { readFileSync } from 'node:fs';
import t from 'tap';
import { listenerYaml, serverAuditOff, Site, tenantsYaml } from '../attacks/site.ts';
import { issue } from '../attacks/pki.ts';

const admin = issue('admin');

function configYaml(folder: string): string {
  return `${listenerYaml}log: {level: trace}\n${serverAuditOff}${tenantsYaml({
    name: 'alpha',
    admins: [admin.identity],
    clients: { auth: 'off' },
    keystore: { fs: { path: folder } },
    keys: ['app'],
  })}`;
}

t.test('a keystore made anew, and one that takes the place of another, are said aloud', async (t) => {
  const site = new Site();
  t.teardown(() => site.remove());
  const log = (): string => readFileSync(site.file('sello.log'), 'utf8');
  await site.start(configYaml('keys'));
  t.match(log(), /"path":"[^"]*keys".*there is no keystore at this path/);
  await site.reload(configYaml('keys'));
  t.notMatch(log(), /is another one now/, 'a reload that keeps it says nothing');
  await site.reload(configYaml('kyes'));
  t.match(log(), /"before":"fs [^"]*keys","now":"fs [^"]*kyes".*is another one now/);
  t.match(log(), /"path":"[^"]*kyes".*there is no keystore at this path/);
  await site.server.stop();

  const later = new Site();
  t.teardown(() => later.remove());
  await later.start(configYaml(site.file('keys')));
  t.notMatch(
    readFileSync(later.file('sello.log'), 'utf8'),
    /there is no keystore/,
    'a keystore that is there is opened without a word',
  );
});
