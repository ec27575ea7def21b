/** `audit`: trails made by the parts of the server, verified, searched and proved by commands. */
import { generateKeyPairSync } from 'node:crypto';
import fs from 'node:fs';
import path from 'node:path';
import t from 'tap';
import { formatAnchors } from '../../src/audit/anchor.ts';
import { formatNoteKey, noteKey } from '../../src/audit/checkpoint.ts';
import { segmentName } from '../../src/audit/segment.ts';
import { callLines, makeTrail, writeCalls, type TrailFixture } from '../audit/trail-fixture.ts';
import { runCommand } from './pipes.ts';

async function trailIn(cwd: string): Promise<TrailFixture> {
  const made = makeTrail(path.join(cwd, 'acme'));
  await writeCalls(made, 200, 50);
  fs.writeFileSync(path.join(cwd, 'acme.anchors'), formatAnchors([made.anchor()]));
  fs.writeFileSync(path.join(cwd, 'kept'), made.notary.last!.text);
  fs.writeFileSync(path.join(cwd, 'acme.vkey'), `${made.anchor().keyText}\n`);
  return made;
}

void t.test(
  'verify: 0 against an anchor or a kept checkpoint, 3 without, 1 with the place when something is wrong',
  async (t) => {
    const cwd = t.testdir();
    const made = await trailIn(cwd);
    const verify = (...more: string[]) => runCommand(['audit', 'verify', 'acme', ...more], { cwd });
    const verified = await verify('--anchor', 'acme.anchors');
    t.match(verified, {
      exit: 0,
      stdout: /200 records, 200 of them attested\nVerified: no record is missing or changed\.\n$/,
    });
    t.match(await verify('--checkpoint', 'kept'), { exit: 0 });
    t.match(await verify('--checkpoint', 'kept', '--key', 'acme.vkey'), { exit: 0 });
    const alone = await verify();
    t.match(alone, { exit: 3, stdout: /complete to record 199; later removal not excluded/ });
    t.match(JSON.parse((await verify('--json')).stdout), {
      verdict: 'unattested',
      streams: [{ records: 200 }],
    });

    const file = path.join(made.folder, segmentName(0));
    const content = fs.readFileSync(file, 'latin1');
    fs.writeFileSync(file, content.replace('"r77"', '"r78"'), 'latin1');
    const wrong = await verify('--anchor', 'acme.anchors');
    t.match(wrong, { exit: 1, stdout: /WRONG {2}record 77 was changed[^]*records 0 to 77 before|WRONG/ });
    t.match(JSON.parse((await verify('--anchor', 'acme.anchors', '--json')).stdout), {
      verdict: 'wrong',
      streams: [{ findings: [{ kind: 'changed', index: 77 }] }],
    });
    fs.writeFileSync(file, content, 'latin1');
    fs.renameSync(made.folder, path.join(cwd, 'elsewhere'));
    t.match(await verify('--anchor', 'acme.anchors'), {
      exit: 1,
      stdout: /is missing: its anchor knows 200 records/,
    });

    const other = await trailIn(path.join(cwd, 'node-2'));
    fs.writeFileSync(
      path.join(cwd, 'both.anchors'),
      formatAnchors([made.anchor(), other.anchor({ node: 'node-2' })]),
    );
    fs.renameSync(path.join(cwd, 'elsewhere'), made.folder);
    const both = ['audit', 'verify', 'acme', 'node-2/acme', '--anchor', 'both.anchors'];
    t.match(await runCommand(both, { cwd }), { exit: 0, stdout: /Verified: no record is missing/ });
    t.match(
      await runCommand(
        both.filter((word) => word !== 'node-2/acme'),
        { cwd },
      ),
      {
        exit: 1,
        stdout: new RegExp(
          `WRONG {2}stream ${other.stream} of node node-2 is missing: its anchor knows 200 records`,
        ),
      },
    );

    t.match(await runCommand(['audit', 'verify', 'nothing'], { cwd }), {
      exit: 1,
      stderr: /no such file or directory/,
    });
    t.match(await verify('--anchor', 'kept'), { exit: 1, stderr: /holds no anchors/ });
    t.match(await verify('--checkpoint', 'acme.anchors'), { exit: 1, stderr: /holds no checkpoint/ });
    t.match(await verify('--key', 'kept'), { exit: 1, stderr: /no public key/ });
    t.match(await verify('--clock-tolerance', 'soon'), { exit: 1, stderr: /invalid duration 'soon'/ });
    t.match(await runCommand(['audit', 'verify'], { cwd }), { exit: 1, stderr: /no folder specified/ });
  },
);

void t.test('prove and check-proof: for one record, without log and server', async (t) => {
  const cwd = t.testdir();
  const made = await trailIn(cwd);
  const prove = await runCommand(['audit', 'prove', 'acme', '123', '--record', 'r.json'], { cwd });
  t.match(prove, { exit: 0, stdout: /^c2sp\.org\/tlog-proof@v1\nindex 123\n/ });
  fs.writeFileSync(path.join(cwd, 'p'), prove.stdout);
  t.match(fs.readFileSync(path.join(cwd, 'r.json'), 'latin1'), /"id":"r123"/);
  const check = (key: string, proof = 'p', record = 'r.json') =>
    runCommand(['audit', 'check-proof', '--key', key, proof, record], { cwd });
  t.match(await check('acme.vkey'), {
    exit: 0,
    stdout: `Proved: record 123 of ${made.origin}, in a tree of 200\n`,
  });
  t.match(await check(made.anchor().keyText), { exit: 0 });
  const strange = formatNoteKey(noteKey(made.origin, generateKeyPairSync('ed25519').publicKey));
  t.match(await check(strange), { exit: 1, stderr: /not proved: the checkpoint is not signed/ });
  const write = (name: string, text: string) => fs.writeFileSync(path.join(cwd, name), text, 'latin1');
  const record = fs.readFileSync(path.join(cwd, 'r.json'), 'latin1');
  write('changed', record.replace('"r123"', '"r124"'));
  t.match(await check('acme.vkey', 'p', 'changed'), { exit: 1, stderr: /not in the tree/ });
  write('none', '{}\n');
  t.match(await check('acme.vkey', 'p', 'none'), { exit: 1, stderr: /no place in a chain/ });
  fs.writeFileSync(path.join(cwd, 'p2'), prove.stdout.replace('index 123', 'index 124'));
  t.match(await check('acme.vkey', 'p2'), { exit: 1, stderr: /says it is number 123/ });
  t.match(await check('acme.vkey', 'r.json'), { exit: 1, stderr: /is no proof/ });
  t.match(await runCommand(['audit', 'prove', 'acme', '200'], { cwd }), {
    exit: 1,
    stderr: /record 200 is not in the tree/,
  });
  t.match(await runCommand(['audit', 'prove', 'acme', '-1'], { cwd }), { exit: 1 });
  makeTrail(path.join(cwd, 'acme'));
  t.match(await runCommand(['audit', 'prove', 'acme', '1'], { cwd }), {
    exit: 1,
    stderr: /2 streams\nName one with --stream/,
  });
  t.match(await runCommand(['audit', 'prove', 'acme', '1', '--stream', made.stream], { cwd }), { exit: 0 });
});

void t.test('search: by time, tenant, key, object, identity and outcome', async (t) => {
  const cwd = t.testdir();
  const made = await trailIn(cwd);
  made.target.write(
    callLines(200, 3, (i) => ({
      bucket: 'photos',
      object: `2026/${i}.jpg`,
      status: i === 201 ? 403 : 200,
      tenant: 'other',
    })),
  );
  const search = async (...filter: string[]): Promise<string[]> => {
    const found = await runCommand(['audit', 'search', 'acme', ...filter], { cwd });
    t.equal(found.exit, 0, found.stderr);
    return [...found.stdout.matchAll(/"id":"r(\d+)"/g)].map(([, id]) => id!);
  };
  t.equal((await search()).length, 203);
  t.equal((await search('--key', 'key-3', '--tenant', 'acme')).length, 29);
  t.strictSame(await search('--object', 'photos/2026/*'), ['200', '201', '202']);
  t.strictSame(await search('--object', 'photos/2026/202.jpg'), ['202']);
  t.equal((await search('--object', 'photos')).length, 3);
  t.strictSame(await search('--outcome', 'failure'), ['201']);
  t.equal((await search('--identity', 'f5e70f8a')).length, 203);
  t.equal((await search('--identity', 'aaaa')).length, 0);
  t.strictSame(await search('--since', '2026-11-23T04:00:01.990Z', '--until', '2026-11-23T04:00:02.010Z'), [
    '199',
    '200',
  ]);
  t.equal((await search('--tenant', 'other')).length, 3);
  t.equal((await search('--key', 'key-3"')).length, 0);
  const bad = (...filter: string[]) => runCommand(['audit', 'search', 'acme', ...filter], { cwd });
  t.match(await bad('--since', 'yesterday'), { exit: 1, stderr: /invalid time 'yesterday'/ });
  t.match(await bad('--outcome', 'maybe'), { exit: 1, stderr: /invalid outcome/ });
});
