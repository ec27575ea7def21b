/** The chained trail of a running server: complete after a stop, a reload, a full disk; every key has its record. */
import { execFileSync } from 'node:child_process';
import { mkdirSync, readdirSync, rmSync, writeFileSync } from 'node:fs';
import path from 'node:path';
import { setTimeout as pause } from 'node:timers/promises';
import t from 'tap';
import type { Test } from 'tap';
import { searchTrail, verifyTrail, type TrailReport } from '../../src/audit/index.ts';
import { Session } from './client.ts';
import { issue } from './pki.ts';
import { listenerYaml, Site, tenantsYaml } from './site.ts';

const unverified = { auth: 'off', requireClientAuthEku: false };

/** A context as MinIO sends it. */
const context = Buffer.from(JSON.stringify({ photos: 'photos/2026/a.jpg' })).toString('base64');
const generate = { method: 'PUT', path: '/v1/key/generate/app', body: JSON.stringify({ context }) };

const found = (report: TrailReport): string =>
  [...report.findings, ...report.streams.flatMap((stream) => stream.findings)]
    .map(({ text }) => text)
    .join('; ');

async function releases(trail: string): Promise<number> {
  let count = 0;
  for await (const line of searchTrail(trail, { key: 'app', outcome: 'success' }))
    if (line.includes('"action":"issue"')) count++;
  return count;
}

async function within(ms: number, holds: () => boolean): Promise<boolean> {
  for (const untilMs = performance.now() + ms; performance.now() < untilMs; await pause(20))
    if (holds()) return true;
  return false;
}

async function load(
  session: Session,
  stop: () => boolean,
): Promise<{ keys: number; refused: number; other: string[] }> {
  const counts = { keys: 0, refused: 0, other: [] as string[] };
  const caller = async (): Promise<void> => {
    while (!stop()) {
      const { status, body } = await session.ask(generate);
      if (status === 200 && body.includes('plaintext')) counts.keys++;
      else if (status === 503 && !body.includes('plaintext')) counts.refused++;
      else counts.other.push(String(status));
    }
  };
  await Promise.all(Array.from({ length: 8 }, caller));
  return counts;
}

function siteOf(t: Test): Site {
  const site = new Site();
  t.teardown(() => site.remove());
  return site;
}

t.test(
  'a tenant without a path has a trail; it is complete over a reload and a stop',
  { timeout: 60_000 },
  async (t) => {
    const site = siteOf(t);
    const admin = issue('admin');
    const yaml = (more: Record<string, unknown>): string =>
      `${listenerYaml}${tenantsYaml({ name: 'alpha', admins: [admin.identity], clients: unverified, audit: more, keys: ['app'] })}`;
    await site.start(yaml({}));
    const session = await Session.open(site.as(admin));
    let stopping = false;
    const loading = load(session, () => stopping);
    await pause(400);
    await site.reload(yaml({ segment: { size: '200KiB' } }));
    await pause(400);
    stopping = true;
    const { keys, other } = await loading;
    t.same(other, []);
    session.close();
    await site.server.stop();
    const trail = site.file('audit/alpha');
    const report = await verifyTrail(trail);
    t.equal(report.verdict, 'unattested', found(report));
    t.equal(report.streams.length, 2, 'the stream before the reload, and the one after it');
    t.ok(keys > 50, `${keys} keys`);
    t.equal(await releases(trail), keys, 'a record for each');
    let ofObject = 0;
    for await (const line of searchTrail(trail, { object: 'photos/2026/*' }))
      ofObject += line.length > 0 ? 1 : 0;
    t.equal(ofObject, keys, 'found by their object');
    t.equal((await verifyTrail(site.file('audit/_server'))).verdict, 'unattested', 'the server has one too');
  },
);

t.test(
  'a full disk under a trail: no key without its record, and the chain holds',
  { timeout: 60_000 },
  async (t) => {
    const site = siteOf(t);
    const disk = site.file('disk');
    mkdirSync(disk);
    try {
      execFileSync('mount', ['-t', 'tmpfs', '-o', 'size=1m', 'tmpfs', disk], { stdio: 'ignore' });
    } catch {
      t.pass('a full disk', { skip: 'mounting a tmpfs needs root' });
      return;
    }
    t.teardown(() => execFileSync('umount', ['-l', disk], { stdio: 'ignore' }));
    const filler = path.join(disk, 'filler');
    writeFileSync(filler, Buffer.alloc(700_000));
    const admin = issue('admin');
    await site.start(
      listenerYaml +
        tenantsYaml({
          name: 'alpha',
          admins: [admin.identity],
          clients: unverified,
          audit: {
            path: 'disk/alpha/',
            deadline: '1s',
            segment: { size: '60KiB' },
            checkpoint: { records: 50 },
          },
          keys: ['app'],
        }),
    );
    const session = await Session.open(site.as(admin));
    let stopping = false;
    let refusedSeen = false;
    const loading = load(session, () => stopping);
    const watch = setInterval(() => {
      refusedSeen ||= site.server !== undefined && readdirSync(disk).length > 0 && freeBytes(disk) < 4_096;
    }, 20);
    t.ok(await within(20_000, () => refusedSeen), 'the disk fills');
    clearInterval(watch);
    await pause(300);
    rmSync(filler);
    await pause(1_500);
    stopping = true;
    const { keys, refused, other } = await loading;
    t.same(other, [], 'every answer is a key or a 503');
    t.ok(keys > 100 && refused > 0, `${keys} keys, ${refused} refused`);
    session.close();
    await site.server.stop();
    const report = await verifyTrail(path.join(disk, 'alpha'));
    t.equal(report.verdict, 'unattested', found(report));
    const written = await releases(path.join(disk, 'alpha'));
    t.ok(written >= keys, `${keys} keys received, ${written} records of a release`);
  },
);

function freeBytes(folder: string): number {
  return Number(execFileSync('stat', ['-f', '-c', '%a', folder], { encoding: 'latin1' })) * 4_096;
}
