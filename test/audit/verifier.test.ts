import { createHash, generateKeyPairSync, hash } from 'node:crypto';
import fs from 'node:fs';
import path from 'node:path';
import zlib from 'node:zlib';
import t from 'tap';
import type { Test } from 'tap';
import { Chain } from '../../src/audit/chain.ts';
import { noteKey, signCheckpoint } from '../../src/audit/checkpoint.ts';
import { Frontier, leafHash } from '../../src/audit/merkle.ts';
import { checkpointsName, segmentName } from '../../src/audit/segment.ts';
import { verifyTrail, type StreamReport, type TrailReport } from '../../src/audit/verifier.ts';
import { callLines, makeTrail, writeCalls, type TrailFixture } from './trail-fixture.ts';

const records = 10_000;

interface Scene {
  readonly made: TrailFixture;
  /** Files with lines, in order, as they were. */
  readonly files: readonly { readonly file: string; readonly content: Buffer; readonly first: number }[];
}

async function scene(t: Test, count = records): Promise<Scene> {
  const made = makeTrail(t.testdir());
  await writeCalls(made, count);
  made.target.close();
  const files = fs
    .readdirSync(made.folder)
    .filter((name) => name.endsWith('.jsonl'))
    .sort()
    .map((name) => {
      const file = path.join(made.folder, name);
      return { file, content: fs.readFileSync(file), first: Number(name.slice(0, 16)) };
    });
  return { made, files };
}

function judge(made: TrailFixture): Promise<TrailReport> {
  return verifyTrail(made.trail, { anchors: [made.anchor()] });
}

function only(report: TrailReport): StreamReport {
  return report.streams[0]!;
}

const text = (report: TrailReport): string =>
  [...report.findings, ...report.streams.flatMap((stream) => stream.findings)].map((f) => f.text).join('; ');

/** Numbers that look random and are the same in every run. */
function* numbers(seed: string): Generator<number> {
  for (let i = 0; ; i++) yield createHash('sha256').update(`${seed} ${i}`).digest().readUInt32BE();
}

t.test('a log of 10,000 records is what its anchor says', async (t) => {
  const { made, files } = await scene(t);
  t.ok(files.length >= 8, `${files.length} segments`);
  const report = await judge(made);
  t.match(report, { verdict: 'verified', findings: [] });
  t.match(only(report), {
    records,
    attested: records,
    signed: records,
    findings: [],
    notices: [],
    ended: true,
  });
  t.match(only(report).firstTime, '2026-11-23T04:00:00.000Z');
  const alone = await verifyTrail(made.trail);
  t.equal(alone.verdict, 'unattested', 'without anything kept elsewhere later removal is not excluded');
  t.match(only(alone), { records, attested: undefined, signed: records });
  t.equal(
    (await verifyTrail(made.folder, { checkpoints: [made.notary.last!] })).verdict,
    'verified',
    'one stream by a kept checkpoint',
  );
  const strange = noteKey('other', generateKeyPairSync('ed25519').publicKey);
  t.equal((await verifyTrail(made.trail, { key: strange })).verdict, 'wrong', 'not by another key');
  t.equal((await verifyTrail(made.trail, { key: noteKey('mine', made.privateKey) })).verdict, 'unattested');
});

t.test('a changed byte is named by the record it is in', { timeout: 60_000 }, async (t) => {
  const { made, files } = await scene(t);
  const random = numbers('bytes');
  let samples = 0;
  const differ: string[] = [];
  for (let round = 0; round < 120; round++) {
    const { file, content, first } = files[random.next().value! % files.length]!;
    const at = random.next().value! % content.length;
    const changed = Buffer.from(content);
    changed[at] = (changed[at]! + 1 + (random.next().value! % 255)) % 256;
    fs.writeFileSync(file, changed);
    const report = await judge(made);
    fs.writeFileSync(file, content);
    const index = first + content.subarray(0, at).toString('latin1').split('\n').length - 1;
    const found = only(report).findings.find((finding) => finding.kind !== 'clock');
    if (report.verdict !== 'wrong' || found?.index !== index)
      differ.push(`byte ${at} of ${path.basename(file)}, record ${index}: ${JSON.stringify(found)}`);
    samples++;
  }
  t.strictSame(differ, [], `${samples} bytes`);
  t.equal((await judge(made)).verdict, 'verified', 'put right again');
});

t.test('lines dropped, swapped, repeated, moved and cut off are named', async (t) => {
  const { made, files } = await scene(t);
  const { file, content, first } = files[3]!;
  const lines = content.toString('latin1').split('\n').slice(0, -1);
  const last = files.at(-1)!;
  const lastLines = last.content.toString('latin1').split('\n').slice(0, -1);
  const edit = async (
    name: string,
    of: { file: string; content: Buffer },
    to: string[],
    expected: object,
  ): Promise<void> => {
    fs.writeFileSync(of.file, to.map((line) => `${line}\n`).join(''), 'latin1');
    const report = await judge(made);
    fs.writeFileSync(of.file, of.content);
    t.equal(report.verdict, 'wrong', name);
    t.match(only(report).findings[0], expected, `${name}: ${text(report)}`);
  };
  const at = (i: number) => first + i;
  const all = files[3]!;
  await edit('one dropped', all, lines.toSpliced(5, 1), { kind: 'missing', index: at(5) });
  await edit('many dropped', all, lines.toSpliced(5, 300), { kind: 'missing', index: at(5) });
  await edit('first of a segment dropped', all, lines.slice(1), { kind: 'missing', index: at(0) });
  await edit('last of a segment dropped', all, lines.slice(0, -1), {
    kind: 'missing',
    index: at(lines.length - 1),
  });
  await edit('two swapped', all, lines.with(7, lines[8]!).with(8, lines[7]!), { index: at(7) });
  await edit('one repeated', all, lines.toSpliced(9, 0, lines[8]!), { kind: 'repeated', index: at(9) });
  await edit('one of elsewhere put in', all, lines.toSpliced(9, 0, lastLines[0]!), { index: at(9) });
  await edit('an empty line', all, lines.toSpliced(9, 0, ''), { kind: 'changed', index: at(9) });
  await edit('a line of its own', all, lines.toSpliced(9, 0, '{"@timestamp":"x"}'), {
    kind: 'changed',
    index: at(9),
  });
  const cut = last.first + lastLines.length - 3;
  await edit('tail cut', last, lastLines.slice(0, -3), { kind: 'rollback', index: cut });
  await edit('emptied', last, [], { kind: 'rollback', index: last.first });
  await edit('cut back to a checkpoint', last, lastLines.slice(0, 9_000 - last.first), { kind: 'rollback' });
  fs.writeFileSync(last.file, last.content.subarray(0, -20));
  t.match(
    only(await judge(made)).findings[0],
    { kind: 'rollback', index: records - 1 },
    'half a line cut off',
  );
  fs.writeFileSync(last.file, last.content);
  fs.rmSync(file);
  t.match(only(await judge(made)).findings[0], { kind: 'missing', index: first }, 'a segment missing');
  fs.writeFileSync(file, content);
  fs.rmSync(files[0]!.file);
  t.match(only(await judge(made)).findings[0], { kind: 'missing', index: 0 }, 'the first segment missing');
  fs.writeFileSync(files[0]!.file, files[0]!.content);
  fs.rmSync(last.file);
  t.match(
    only(await judge(made)).findings[0],
    { kind: 'rollback', index: last.first },
    'the last segment missing',
  );
  fs.writeFileSync(last.file, last.content);
  fs.writeFileSync(path.join(made.folder, segmentName(first + 1)), content);
  t.match(
    only(await judge(made)).findings[0],
    { kind: 'repeated', index: first + 1 },
    'a segment under another number',
  );
  fs.rmSync(path.join(made.folder, segmentName(first + 1)));
  fs.renameSync(made.folder, `${made.folder}.gone`);
  const gone = await judge(made);
  t.match(
    gone,
    { verdict: 'wrong', findings: [{ kind: 'stream', text: /10000 records/ }] },
    'the stream missing',
  );
  fs.renameSync(`${made.folder}.gone`, made.folder);
  t.equal((await judge(made)).verdict, 'verified');
});

t.test('an older copy of the whole folder is known by the anchor, and by a kept checkpoint', async (t) => {
  const directory = t.testdir();
  const made = makeTrail(path.join(directory, 'trail'));
  await writeCalls(made, 3_000);
  const copy = path.join(directory, 'copy');
  fs.cpSync(made.trail, copy, { recursive: true });
  await writeCalls(made, 5_000);
  const anchors = [made.anchor()];
  const old = await verifyTrail(copy, { anchors });
  t.match(old, { verdict: 'wrong', streams: [{ findings: [{ kind: 'rollback', index: 3_000 }] }] });
  const kept = await verifyTrail(copy, { checkpoints: [made.notary.last!] });
  t.match(kept, { verdict: 'wrong', streams: [{ findings: [{ kind: 'rollback', index: 3_000 }] }] });
  t.match(await verifyTrail(copy), { verdict: 'unattested', streams: [{ records: 3_000 }] });
  const older = { ...made.anchor(), checkpoint: undefined, ended: false };
  t.match(
    await verifyTrail(made.trail, { anchors: [older] }),
    { verdict: 'verified', streams: [{ attested: 0, notices: [/records 0 to 4999 are newer/] }] },
    'an anchor that is behind says so',
  );
});

t.test('a log written anew with the stolen signing key is not the anchored one', async (t) => {
  const directory = t.testdir();
  const made = makeTrail(path.join(directory, 'true'));
  await writeCalls(made, 2_000, 500);
  const { stream, privateKey } = made;
  const forged = makeTrail(path.join(directory, 'forged'), { stream, privateKey });
  for (let at = 0; at < 2_000; at += 500) {
    forged.target.write(callLines(at, 500, (i) => (i === 1_234 ? { key: 'harmless' } : {})));
    await forged.checkpoint();
  }
  t.equal((await verifyTrail(forged.trail)).verdict, 'unattested', 'the folder alone cannot tell');
  const report = await verifyTrail(forged.trail, { anchors: [made.anchor()] });
  t.match(report, { verdict: 'wrong', streams: [{ findings: [{ kind: 'changed', text: /the anchor/ }] }] });

  // Linked anew without the key: the next checkpoint in the folder says where.
  const file = path.join(made.folder, segmentName(0));
  const plain = fs
    .readFileSync(file, 'latin1')
    .replace('"r1234"', '"r1235"')
    .replaceAll(/"chain":\{[^}]*\},/g, '');
  const chain = new Chain(stream);
  fs.writeFileSync(file, chain.extend(Buffer.from(plain, 'latin1'), 0));
  t.match((await verifyTrail(made.trail)).streams[0]!.findings[0], {
    kind: 'changed',
    text: /records? 0 to 499 |records 1000 to 1499/,
  });
});

t.test('streams that no anchor knows, and anchors of others, are found', async (t) => {
  const trail = t.testdir();
  const [a, b] = [makeTrail(trail), makeTrail(trail)];
  await writeCalls(a, 100);
  await writeCalls(b, 100);
  t.equal((await verifyTrail(trail, { anchors: [a.anchor(), b.anchor()] })).verdict, 'verified');
  const report = await verifyTrail(trail, { anchors: [a.anchor()] });
  t.equal(report.verdict, 'wrong');
  t.match(text(report), /in no anchor/);
  const swapped = await verifyTrail(trail, {
    anchors: [a.anchor(), { ...b.anchor(), ...{ key: a.anchor().key, keyText: a.anchor().keyText } }],
  });
  t.equal(swapped.verdict, 'wrong');
  fs.renameSync(a.folder, `${a.folder}x`);
  fs.cpSync(b.folder, a.folder, { recursive: true });
  const moved = await verifyTrail(trail, { anchors: [a.anchor(), b.anchor()] });
  t.match(moved.verdict, 'wrong', 'one stream under the name of another');
  const empty = path.join(trail, 'empty');
  fs.mkdirSync(empty);
  t.match(await verifyTrail(empty), { verdict: 'wrong', findings: [{ text: /no stream/ }] });
  await t.rejects(verifyTrail(path.join(trail, 'absent')), { code: 'ENOENT' });
});

t.test('checkpoints in the folder that are forged, or over more than there is, are found', async (t) => {
  const { made } = await scene(t, 1_000);
  const file = path.join(made.folder, checkpointsName(0));
  const content = fs.readFileSync(file);
  const head = { origin: made.origin, size: 1_000, root: 'ab'.repeat(32) };
  const other = generateKeyPairSync('ed25519').privateKey;
  for (const [name, added, expected] of [
    ['another key', signCheckpoint(head, other).text, /not signed/],
    [
      'another origin',
      signCheckpoint({ ...head, origin: 'sello.audit/acme/x' }, made.privateKey).text,
      /not signed/,
    ],
    ['another root', signCheckpoint(head, made.privateKey).text, /not those/],
    ['more records', signCheckpoint({ ...head, size: 1_001 }, made.privateKey).text, /missing at the end/],
    ['no note', 'rubbish\n\n— rubbish\n\n', /no checkpoint/],
  ] as const) {
    fs.writeFileSync(file, `${added}${content.toString()}`);
    const report = await verifyTrail(made.trail);
    t.equal(report.verdict, 'wrong', name);
    t.match(text(report), expected, name);
  }
  fs.writeFileSync(file, content.subarray(0, -30));
  t.equal(
    (await verifyTrail(made.trail)).verdict,
    'unattested',
    'a torn checkpoint at the end is what a crash leaves',
  );
  fs.rmSync(file);
  t.match(await judge(made), { verdict: 'verified' }, 'without its own checkpoints the anchor still vouches');
});

t.test('a clock that was moved is named', async (t) => {
  const hour = 3_600_000;
  const directory = t.testdir();
  const made = makeTrail(path.join(directory, 'back'));
  made.target.write(callLines(0, 100));
  made.target.write(callLines(100, 100, (i) => ({ timeMs: Date.UTC(2026, 10, 23, 4) + i * 10 - hour })));
  made.target.write(callLines(200, 100));
  await made.checkpoint();
  const report = await judge(made);
  t.match(report, {
    verdict: 'wrong',
    streams: [{ findings: [{ kind: 'clock', index: 100, text: /back by 3600 s/ }] }],
  });
  t.equal(only(report).attested, 300, 'the records are complete all the same');
  const tolerant = await verifyTrail(made.trail, { anchors: [made.anchor()], clockToleranceMs: 2 * hour });
  t.equal(tolerant.verdict, 'verified');
  const ahead = makeTrail(path.join(directory, 'ahead'));
  ahead.target.write(callLines(0, 10));
  ahead.target.write(callLines(10, 10, (i) => ({ timeMs: Date.UTC(2026, 10, 23, 5) + i * 10 })));
  await ahead.checkpoint();
  t.match(text(await judge(ahead)), /record 10: the clock was moved forward by 3600 s/);
});

t.test('compressed segments are read as plain ones, and their damage is found', async (t) => {
  const directory = t.testdir();
  for (const compression of ['gzip', 'zstd'] as const) {
    const made = makeTrail(path.join(directory, compression), {
      compression,
      segmentBytes: 100_000,
    });
    await writeCalls(made, 2_000, 100);
    const suffix = compression === 'gzip' ? '.gz' : '.zst';
    const compressed = () => fs.readdirSync(made.folder).filter((name) => name.endsWith(suffix));
    for (let i = 0; i < 500 && compressed().length < 5; i++)
      await new Promise((resolve) => setTimeout(resolve, 10));
    t.ok(compressed().length >= 5, `${compression}: ${compressed().length} segments compressed`);
    t.equal((await judge(made)).verdict, 'verified', compression);
    const file = path.join(made.folder, compressed()[2]!);
    const first = Number(path.basename(file).slice(0, 16));
    const content = fs.readFileSync(file);
    for (const at of [0, 10, content.length >> 1, content.length - 3]) {
      const changed = Buffer.from(content);
      changed[at]! ^= 0x40;
      fs.writeFileSync(file, changed);
      const report = await judge(made);
      // The last bytes of a frame may be a checksum of what is otherwise whole: then nothing is lost.
      const whole = decompresses(changed, content, compression);
      t.equal(report.verdict, whole ? 'verified' : 'wrong', `${compression}, byte ${at}: ${text(report)}`);
      if (!whole) t.ok((only(report).findings[0]?.index ?? 0) >= first, 'not before it');
    }
    fs.writeFileSync(file, content.subarray(0, content.length >> 1));
    t.ok(only(await judge(made)).findings[0]!.index! >= first, 'cut off');
    fs.writeFileSync(file, content);
    const plain = file.slice(0, -suffix.length);
    const text0 = compression === 'gzip' ? zlib.gunzipSync(content) : zlib.zstdDecompressSync(content);
    fs.writeFileSync(plain, text0);
    t.match(
      await judge(made),
      { verdict: 'verified', streams: [{ notices: [/hold the same/] }] },
      'both forms of one segment',
    );
    fs.writeFileSync(
      file,
      compression === 'gzip'
        ? zlib.gzipSync(Buffer.concat([text0, text0]))
        : zlib.zstdCompressSync(text0.subarray(5)),
    );
    t.match(text(await judge(made)), /not the same/);
  }
});

function decompresses(changed: Buffer, content: Buffer, compression: 'gzip' | 'zstd'): boolean {
  const read = compression === 'gzip' ? zlib.gunzipSync : zlib.zstdDecompressSync;
  try {
    return read(changed).equals(read(content));
  } catch {
    return false;
  }
}

t.test('chain and tree are what the format says', async (t) => {
  const { made, files } = await scene(t, 300);
  const lines = files[0]!.content.toString('latin1').split('\n').slice(0, -1);
  const tree = new Frontier();
  let previous = '0'.repeat(64);
  for (const [i, line] of lines.entries()) {
    const { sello } = JSON.parse(line) as { sello: { chain: Record<string, unknown> } };
    t.match(sello.chain, { previous, sequence: i, stream: made.stream, uptime: Number });
    previous = hash('sha256', `\0${line}`, 'hex');
    t.equal(previous, leafHash(Buffer.from(line, 'latin1')));
    tree.append(previous);
  }
  t.equal(made.notary.last!.root, tree.root());
  t.equal(made.notary.last!.text.split('\n')[2], Buffer.from(tree.root(), 'hex').toString('base64'));
});

t.test('the trails of several nodes, collected, are judged together', async (t) => {
  const root = t.testdir();
  const nodes: TrailFixture[] = [];
  for (const node of ['node-1', 'node-2', 'node-3']) {
    const made = makeTrail(path.join(root, node, 'acme'));
    await writeCalls(made, 50);
    made.target.close();
    nodes.push(made);
  }
  const anchors = nodes.map((made, i) => made.anchor({ node: `node-${i + 1}` }));
  const trails = nodes.map(({ trail }) => trail);
  const third = new RegExp(
    `stream ${nodes[2]!.stream} of node node-3 is missing: its anchor knows 50 records, the last one number 49, checkpointed at 20`,
  );
  t.match(await verifyTrail(trails, { anchors }), {
    verdict: 'verified',
    streams: [{ records: 50 }, { records: 50 }, { records: 50 }],
  });
  t.match(await verifyTrail(trails.slice(0, 2), { anchors }), {
    verdict: 'wrong',
    findings: [{ kind: 'stream', text: third }],
  });
  const streams = nodes.map(({ folder }) => folder);
  t.match(
    await verifyTrail(streams.slice(0, 2), { anchors }),
    { verdict: 'wrong', findings: [{ text: third }] },
    'also when streams are named one by one',
  );
  t.match(
    await verifyTrail(streams[0]!, { anchors }),
    { verdict: 'verified' },
    'one stream alone was asked for',
  );
  t.equal((await verifyTrail([trails[0]!, trails[0]!, ...trails], { anchors })).streams.length, 3);

  const empty = path.join(root, 'node-4', 'acme');
  fs.mkdirSync(empty, { recursive: true });
  t.match(await verifyTrail([...trails, empty], { anchors }), {
    verdict: 'wrong',
    findings: [{ text: `there is no stream in ${empty}` }],
  });

  const one = path.join(root, 'collected');
  for (const { folder, stream } of nodes) fs.cpSync(folder, path.join(one, stream), { recursive: true });
  t.match(await verifyTrail(one, { anchors }), { verdict: 'verified' }, 'all in one folder');
  const twice = await verifyTrail([one, trails[0]!], { anchors });
  t.match(twice, { verdict: 'verified' });
  t.match(
    twice.streams.map(({ notices }) => notices).filter(({ length }) => length > 0),
    [[/another copy is/], [/another copy is/]],
  );
  fs.rmSync(path.join(one, nodes[2]!.stream), { recursive: true });
  t.match(await verifyTrail(one, { anchors }), { verdict: 'wrong', findings: [{ text: third }] });
  // A copy that is older than the anchor is no copy of the whole.
  const segment = path.join(nodes[0]!.folder, segmentName(0));
  fs.writeFileSync(segment, fs.readFileSync(segment, 'latin1').split('\n').slice(0, 30).join('\n') + '\n');
  t.match(await verifyTrail(trails, { anchors }), { verdict: 'wrong' });
});
