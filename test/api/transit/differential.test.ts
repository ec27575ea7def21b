/**
 * The same requests to a real Vault and to Sello: equal answers, but for volatile fields and the differences that are named. Where no Vault
 * can be had, what one answered is in a recording.
 */
import { mkdtemp, readFile, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import t, { type Test } from 'tap';
import { createAuthority } from '../../real/certificates.ts';
import { buildTool, ToolMissing } from '../../real/tools.ts';
import { Vault } from '../../real/vault.ts';
import { groups, type Group, type Step } from './corpus.ts';
import { engineGroups } from './engine-corpus.ts';
import { Recorder, RecordedVault } from './recorded.ts';
import { comparable, differences, Peer, TransitSite } from './site.ts';

const isRecording = process.env['SELLO_RECORD'] === '1';

t.test('Sello answers as Vault does', { timeout: 180_000 }, async (t) => {
  const folder = await mkdtemp(join(tmpdir(), 'sello-transit-'));
  t.teardown(() => rm(folder, { recursive: true, force: true }));
  const vault = await vaultFor(t, folder);
  const authority = await createAuthority(join(folder, 'certs'));
  const site = await TransitSite.start(join(folder, 'sello'), authority);
  t.teardown(() => site.stop());
  const theirs =
    vault === undefined ? undefined : new Peer({ origin: vault.address, token: vault.rootToken });
  const ours = new Peer({ origin: site.origin, token: await site.adminToken(), tls: await site.tls() });
  t.teardown(async () => Promise.all([theirs?.close(), ours.close()]));

  const documents = await readFile(new URL('../../../docs/vault-compatibility.md', import.meta.url), 'utf8');
  const recorder = new Recorder();
  const recorded = isRecording ? undefined : await RecordedVault.read();
  for (const group of [...groups, ...engineGroups]) {
    await t.test(group.name, async (t) => {
      const kept: [Map<string, string>, Map<string, string>] = [new Map(), new Map()];
      for (const [index, step] of group.steps.entries()) {
        const [live, found] = await Promise.all([theirs?.ask(step, kept[0]), ours.ask(step, kept[1])]);
        const wanted = live === undefined ? recorded!.answerTo(group, index) : comparable(live);
        recorder.add(group, index, wanted);
        compare(t, step, wanted, comparable(found), documents);
        if (live !== undefined && recorded !== undefined) holdRecording(t, recorded, group, index, wanted);
      }
    });
  }
  if (isRecording) await recorder.write();
});

/** @returns undefined where no Vault can be had: then the recording stands for it, but not in CI */
async function vaultFor(t: Test, folder: string): Promise<Vault | undefined> {
  let program: string;
  try {
    program = await buildTool('vault');
  } catch (error) {
    if (!(error instanceof ToolMissing)) throw error;
    const reason = `no Vault here, its recorded answers are taken: ${error.message}`;
    if (process.env['CI'] === 'true' || isRecording) t.fail(reason);
    else t.comment(reason);
    return undefined;
  }
  const vault = await Vault.start({ program, folder });
  t.teardown(() => vault.stop());
  await vault.must('POST', 'sys/mounts/transit', { type: 'transit' });
  await vault.must('POST', 'sys/auth/approle', { type: 'approle' });
  await vault.must('PUT', 'sys/policies/acl/node', {
    policy: 'path "transit/*" { capabilities = ["create","read","update","delete","list"] }',
  });
  await vault.must('POST', 'auth/approle/role/node', {
    token_policies: 'node',
    token_ttl: '1h',
    token_max_ttl: '24h',
    secret_id_ttl: '24h',
  });
  return vault;
}

/** Quiet where it holds: there are as many of these as requests. */
function holdRecording(t: Test, recorded: RecordedVault, group: Group, index: number, live: unknown): void {
  // What Sello answers otherwise is often what Vaults differ in among themselves: public keys, clusters' names.
  if (group.steps[index]!.differs !== undefined) return;
  const known = recorded.answerTo(group, index);
  if (JSON.stringify(known) !== JSON.stringify(live)) t.same(live, known, 'Vault answers as it is recorded');
}

function compare(t: Test, step: Step, wanted: unknown, found: unknown, documents: string): void {
  // The reports of tests know no line ends but one.
  const told = JSON.stringify(step.body ?? '').replace(/[^ -~]/g, '?');
  const claim = `${step.ask} ${told.slice(0, 120)}`;
  const equal = JSON.stringify(wanted) === JSON.stringify(found);
  if (step.differs === undefined) {
    t.same(found, wanted, claim);
    return;
  }
  t.notOk(equal, `${claim}: differs (${step.differs})`);
  t.ok(differences.has(step.differs), `${step.differs} is a named difference`);
  t.ok(
    documents.includes(`\`${step.differs}\``),
    `${step.differs} has its row in docs/vault-compatibility.md`,
  );
}
