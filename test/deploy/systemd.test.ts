/** What the systemd unit claims, and that systemd itself can read it. */
import { spawnSync } from 'node:child_process';
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import path from 'node:path';
import t from 'tap';
import { parseConfig } from '../../src/config/index.ts';

const folder = path.resolve(import.meta.dirname, '../../deploy/systemd');
const text = readFileSync(path.join(folder, 'sello.service'), 'utf8');

/** Values of each `Key=` of [Service], in order. */
const service = new Map<string, string[]>();
let section = '';
for (const line of text.split('\n')) {
  if (line.startsWith('#') || line.trim() === '') continue;
  const header = /^\[(\w+)\]$/.exec(line);
  if (header !== null) section = header[1]!;
  else if (section === 'Service') {
    const [, key = '', value = ''] = /^(\w+)=(.*)$/.exec(line) ?? [];
    service.set(key, [...(service.get(key) ?? []), value]);
  }
}
const one = (key: string): string | undefined =>
  service.get(key)?.length === 1 ? service.get(key)![0] : undefined;

t.test('hands the root key over as a credential of the name a configuration can ask for', async (t) => {
  const [name, from] = one('LoadCredential')?.split(':') ?? [];
  t.equal(from, '/etc/sello/root.key');
  const config = parseConfig(
    `version: sello/v1
listeners: [{address: "127.0.0.1:0", tls: {cert: a.crt, key: a.key}}]
tenants: [{name: app, admins: [${'a'.repeat(64)}], clients: {auth: off}, keystore: {file: {path: keys, rootKey: {credential: ${String(name)}}}}}]
`,
    { file: '/etc/sello/sello.yaml', env: {} },
  );
  t.match(config.tenants[0]!.keystore, { rootKey: { from: 'credential', name: 'root-key' } });
});

t.test('no copy of the memory reaches a disk', async (t) => {
  t.equal(one('LimitCORE'), '0');
  t.equal(one('MemorySwapMax'), '0');
});

t.test('is confined to its own folders, without privileges', async (t) => {
  t.equal(one('User'), 'sello');
  t.equal(one('NoNewPrivileges'), 'yes');
  t.equal(one('CapabilityBoundingSet'), '');
  t.equal(one('ProtectSystem'), 'strict');
  t.equal(one('ProtectHome'), 'yes');
  t.equal(one('PrivateTmp'), 'yes');
  t.equal(one('StateDirectory'), 'sello');
  t.equal(one('LogsDirectory'), 'sello');
  t.equal(one('UMask'), '0077');
  t.notOk(service.has('MemoryDenyWriteExecute'), 'V8 could not start');
  t.notOk(service.has('ProtectProc'), 'the lock of a keystore has to see other users’ processes');
});

t.test('reloads by SIGHUP, stops by SIGTERM with time to drain, comes back after a crash', async (t) => {
  t.match(one('ExecReload'), /kill -HUP \$MAINPID$/);
  t.equal(one('KillSignal'), 'SIGTERM');
  t.equal(one('KillMode'), 'mixed', 'workers are stopped by their supervisor');
  t.equal(one('Restart'), 'on-failure');
  const config = parseConfig(
    `version: sello/v1
listeners: [{address: "127.0.0.1:0", tls: {cert: a.crt, key: a.key}}]
tenants: [{name: app, admins: [${'a'.repeat(64)}], clients: {auth: off}, keystore: {fs: {path: keys}}}]
`,
    { file: '/etc/sello/sello.yaml', env: {} },
  );
  t.ok(
    Number(one('TimeoutStopSec')) * 1000 > config.limits.shutdownTimeoutMs + 1000,
    'longer than Sello takes at most',
  );
});

t.test('starts the server with the flag it would otherwise start itself again for', async (t) => {
  t.match(one('ExecStart'), /^\/usr\/bin\/node --max-semi-space-size=8 .*\/dist\/main\.js serve --config /);
  t.match(one('Environment'), /UV_THREADPOOL_SIZE=32/);
});

t.test('systemd-analyze verify has nothing to say', async (t) => {
  if (spawnSync('systemd-analyze', ['--version']).error !== undefined) {
    const reason = 'no systemd-analyze here';
    if (process.env['CI'] === 'true') t.fail(reason);
    else t.pass('verify', { skip: reason });
    return;
  }
  const copies = mkdtempSync(path.join(tmpdir(), 'sello-unit-'));
  t.teardown(() => {
    rmSync(copies, { recursive: true, force: true });
  });
  const verify = (unit: string): { status: number | null; said: string } => {
    const file = path.join(copies, 'sello.service');
    writeFileSync(file, unit);
    const { status, stderr } = spawnSync('systemd-analyze', ['verify', '--man=no', file], {
      encoding: 'utf8',
    });
    return {
      status,
      said: stderr
        .split('\n')
        .filter((line) => line.includes('sello.service'))
        .join('\n'),
    };
  };
  // The program is looked for: this machine's Node stands in for /usr/bin/node.
  const unit = text.replace('/usr/bin/node', process.execPath);
  t.same(verify(unit), { status: 0, said: '' });
  t.not(verify(unit.replace('NoNewPrivileges=yes', 'NoNewPrivilege=yes')).said, '', 'and it would say so');
});
