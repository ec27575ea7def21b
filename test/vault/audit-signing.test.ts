/** A trail whose checkpoints a real Vault's Transit engine signs: verified offline, late while Vault is away, never unsigned. */
import { mkdtemp, readFile, rm } from 'node:fs/promises';
import { readdirSync } from 'node:fs';
import { tmpdir } from 'node:os';
import path from 'node:path';
import t, { type Test } from 'tap';
import { readAnchors } from '../../src/audit/anchor.ts';
import { checkpointsIn } from '../../src/audit/checkpoint.ts';
import {
  isSignedBy,
  noteKeyNamed,
  openAuditStream,
  parseNoteKey,
  readDescription,
  streamFolders,
  verifyTrail,
  type AuditFault,
  type AuditFile,
  type TrailReport,
} from '../../src/audit/index.ts';
import { checkpointsName, readStreamFolder } from '../../src/audit/segment.ts';
import { systemClock } from '../../src/clock.ts';
import type { TrailConfig } from '../../src/config/model.ts';
import { openKeystore, type Keystore } from '../../src/keystores/index.ts';
import { keyCall } from '../audit/fixtures.ts';
import { within } from '../attacks/client.ts';
import { needTools } from '../real/tools.ts';
import { Vault } from '../real/vault.ts';
import { kvConfig } from './configs.ts';

t.setTimeout(90_000);

const found = await needTools(t, 'vault');
if (found !== undefined) {
  const folder = await mkdtemp(path.join(tmpdir(), 'sello-audit-signing-'));
  const vault = await Vault.start({ program: found.vault, folder });
  t.teardown(async () => {
    await vault.stop();
    await rm(folder, { recursive: true });
  });
  await vault.mountKv('kv', 2);
  await vault.must('POST', 'sys/mounts/transit', { type: 'transit' });

  interface Site {
    readonly trail: string;
    readonly key: string;
    readonly store: Keystore;
    readonly faults: AuditFault[];
    open(change?: Partial<TrailConfig>): Promise<AuditFile>;
    judge(): Promise<TrailReport>;
  }

  let made = 0;
  const site = async (t: Test, keyOptions: object = { type: 'ed25519' }): Promise<Site> => {
    const key = `audit-${String(++made)}`;
    await vault.must('POST', `transit/keys/${key}`, keyOptions);
    const config = kvConfig(vault, {
      prefix: key,
      recordsPrefix: `${key}.sello`,
      auditSigning: { engine: 'transit', key },
    });
    // Where Vault is away, its calls fail within this time.
    const store = await openKeystore({ ...config, vault: { ...config.vault, timeoutMs: 1_500 } });
    t.teardown(() => store.close());
    const trail = path.join(folder, key);
    const faults: AuditFault[] = [];
    return {
      trail,
      key,
      store,
      faults,
      open: (change = {}) =>
        openAuditStream(
          {
            mode: 'written',
            path: trail,
            deadlineMs: 5_000,
            maxRecordsPerSecond: 0,
            trail: {
              signingKey: `${trail}.pem`,
              checkpointRecords: 100,
              checkpointMs: 200,
              segmentBytes: 40_000,
              segmentAgeMs: 86_400_000,
              compression: 'none',
              release: 'written',
              ship: [],
              ...change,
            },
          },
          {
            clock: systemClock,
            tenant: 'acme',
            onFault: (fault) => faults.push(fault),
            records: store.records,
            signer: store.signer,
          },
        ),
      judge: async () => {
        const { anchors, damaged } = await readAnchors(store.records!);
        t.same(damaged, []);
        return verifyTrail(trail, { anchors });
      },
    };
  };
  const append = async (stream: AuditFile, count: number): Promise<void> => {
    for (let i = 0; i < count; i += 50)
      await Promise.all(
        Array.from({ length: Math.min(50, count - i) }, () => stream.append(keyCall({ timeMs: Date.now() }))),
      );
  };
  const findings = (report: TrailReport): string =>
    [...report.findings, ...report.streams.flatMap((s) => s.findings)].map((f) => f.text).join('; ');
  const publicKeyOf = async (key: string, version = '1'): Promise<string> => {
    const { keys } = (await vault.must('GET', `transit/keys/${key}`)).data as {
      keys: Record<string, { public_key: string }>;
    };
    return keys[version]!.public_key;
  };

  t.test('checkpoints carry Vault’s signature, and no key of the node is made', async (t) => {
    const { trail, key, open, judge } = await site(t);
    const stream = await open();
    await append(stream, 450);
    await stream.close();
    const report = await judge();
    t.equal(report.verdict, 'verified', findings(report));
    const [streamFolder = ''] = await streamFolders(trail);
    const { key: text } = (await readDescription(streamFolder))!;
    const note = parseNoteKey(text)!;
    t.equal(note.raw.toString('base64'), await publicKeyOf(key), 'the stream names Vault’s key');
    const names = readdirSync(streamFolder).filter((name) => name.endsWith('.checkpoints'));
    t.ok(names.length > 1, 'segments rolled');
    for (const name of names)
      for (const checkpoint of checkpointsIn(await readFile(path.join(streamFolder, name), 'utf8')))
        t.ok(isSignedBy(checkpoint!, noteKeyNamed(note, checkpoint!.origin)), name);
    t.notOk(readdirSync(folder).includes(`${key}.pem`), 'no local key');
  });

  t.test('Vault sealed: records go on, checkpoints come late, and it is said', async (t) => {
    const { trail, open, judge, faults } = await site(t);
    const stream = await open();
    await append(stream, 100);
    t.ok(await within(5_000, () => (stream.chain?.checkpointed ?? 0) >= 100));
    await vault.seal();
    const before = stream.chain!.checkpointed;
    await append(stream, 400);
    t.equal(stream.trouble, undefined, 'every record is taken');
    t.ok(await within(10_000, () => /no checkpoint can be written: vault/.test(stream.chain!.trouble ?? '')));
    t.ok(faults.some(({ kind, detail }) => kind === 'unproven' && /sealed/.test(detail)));
    await append(stream, 400);
    t.equal(stream.chain!.checkpointed, before, 'and none of them is said to be checkpointed');
    await vault.unseal();
    t.ok(
      await within(20_000, () => stream.chain!.trouble === undefined && stream.chain!.checkpointed >= 900),
      `checkpoints are made up for (${String(stream.chain!.trouble)})`,
    );
    t.ok(await within(5_000, () => faults.at(-1)?.kind === 'recovered'));
    await append(stream, 10);
    await stream.close();
    const report = await judge();
    t.equal(report.verdict, 'verified', findings(report));
    const [streamFolder = ''] = await streamFolders(trail);
    const { segments } = await readStreamFolder(streamFolder);
    t.ok(segments.length > 4, `${segments.length} segments`);
    const names = new Set(readdirSync(streamFolder));
    for (const { first } of segments.slice(0, -1))
      t.ok(names.has(checkpointsName(first)), `segment ${first} has its own`);
  });

  t.test('a start while Vault is away goes on with the stream; the very first one needs Vault', async (t) => {
    const { trail, open, judge } = await site(t);
    const fresh = await site(t);
    await (await open()).close();
    await vault.seal();
    const stream = await open();
    await append(stream, 120);
    await t.rejects(fresh.open(), { code: 'SELLO_AUDIT_UNAVAILABLE', detail: /is not known yet: .*sealed/ });
    await vault.unseal();
    t.ok(await within(20_000, () => (stream.chain?.checkpointed ?? 0) >= 120));
    await stream.close();
    t.equal((await streamFolders(trail)).length, 1);
    const report = await judge();
    t.equal(report.verdict, 'verified', findings(report));
  });

  t.test('after a rotation a running stream keeps its key, and the next start begins another', async (t) => {
    const { trail, key, open, judge } = await site(t);
    const stream = await open();
    await append(stream, 100);
    await vault.must('POST', `transit/keys/${key}/rotate`, {});
    await append(stream, 150);
    t.ok(await within(5_000, () => stream.chain!.checkpointed >= 250), String(stream.chain!.trouble));
    await stream.close();
    const next = await open();
    await append(next, 100);
    await next.close();
    const keys = await Promise.all(
      (await streamFolders(trail)).map(async (each) =>
        parseNoteKey((await readDescription(each))!.key)!.raw.toString('base64'),
      ),
    );
    t.same(keys.sort(), [await publicKeyOf(key, '1'), await publicKeyOf(key, '2')].sort());
    const report = await judge();
    t.equal(report.verdict, 'verified', findings(report));
  });

  t.test('a key that is none for this is an error at start', async (t) => {
    for (const [options, text] of [
      [{ type: 'aes256-gcm96' }, /it is aes256-gcm96/],
      [{ type: 'ed25519', derived: true }, /not derived/],
      [{ type: 'ed25519', exportable: true }, /it can be exported/],
    ] as const) {
      const { open } = await site(t, options);
      await t.rejects(open(), { code: 'SELLO_AUDIT_UNAVAILABLE', detail: text });
    }
    const { key, open } = await site(t);
    await vault.must('POST', `transit/keys/${key}/config`, { deletion_allowed: true });
    await vault.must('DELETE', `transit/keys/${key}`);
    await t.rejects(open(), { code: 'SELLO_AUDIT_UNAVAILABLE', detail: /there is no such key/ });
  });

  t.test('another key under the name signs nothing that counts', async (t) => {
    const { key, open, faults } = await site(t);
    const stream = await open();
    await append(stream, 100);
    t.ok(await within(5_000, () => stream.chain!.checkpointed >= 100));
    await vault.must('POST', `transit/keys/${key}/config`, { deletion_allowed: true });
    await vault.must('DELETE', `transit/keys/${key}`);
    await vault.must('POST', `transit/keys/${key}`, { type: 'ed25519' });
    await append(stream, 100);
    t.ok(await within(5_000, () => /is not by version 1/.test(stream.chain!.trouble ?? '')));
    t.ok(faults.some(({ kind }) => kind === 'unproven'));
    await stream.close();
  });
}
