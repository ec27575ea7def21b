/** The same requests to a real Vault and to Sello: equal answers, but for volatile fields and the differences that are named. */
import { mkdtemp, readFile, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import t, { type Test } from 'tap';
import { createAuthority } from '../../real/certificates.ts';
import { needTools } from '../../real/tools.ts';
import { Vault } from '../../real/vault.ts';
import { groups, type Step } from './corpus.ts';
import { engineGroups } from './engine-corpus.ts';
import { comparable, differences, Peer, TransitSite, type PeerAnswer } from './site.ts';

t.test('Sello answers as Vault does', { timeout: 180_000 }, async (t) => {
  const tools = await needTools(t, 'vault');
  if (tools === undefined) return;
  const folder = await mkdtemp(join(tmpdir(), 'sello-transit-'));
  t.teardown(() => rm(folder, { recursive: true, force: true }));
  const vault = await Vault.start({ program: tools.vault, folder });
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
  const authority = await createAuthority(join(folder, 'certs'));
  const site = await TransitSite.start(join(folder, 'sello'), authority);
  t.teardown(() => site.stop());
  const theirs = new Peer({ origin: vault.address, token: vault.rootToken });
  const ours = new Peer({ origin: site.origin, token: await site.adminToken(), tls: await site.tls() });
  t.teardown(async () => Promise.all([theirs.close(), ours.close()]));

  const documents = await readFile(new URL('../../../docs/vault-compatibility.md', import.meta.url), 'utf8');
  for (const { name, steps } of [...groups, ...engineGroups]) {
    await t.test(name, async (t) => {
      const kept: [Map<string, string>, Map<string, string>] = [new Map(), new Map()];
      for (const step of steps) {
        const [wanted, found] = await Promise.all([theirs.ask(step, kept[0]), ours.ask(step, kept[1])]);
        compare(t, step, wanted, found, documents);
      }
    });
  }
});

function compare(t: Test, step: Step, wanted: PeerAnswer, found: PeerAnswer, documents: string): void {
  // The reports of tests know no line ends but one.
  const told = JSON.stringify(step.body ?? '').replace(/[^ -~]/g, '?');
  const claim = `${step.ask} ${told.slice(0, 120)}`;
  const equal = JSON.stringify(comparable(wanted)) === JSON.stringify(comparable(found));
  if (step.differs === undefined) {
    t.same(comparable(found), comparable(wanted), claim);
    return;
  }
  t.notOk(equal, `${claim}: differs (${step.differs})`);
  t.ok(differences.has(step.differs), `${step.differs} is a named difference`);
  t.ok(
    documents.includes(`\`${step.differs}\``),
    `${step.differs} has its row in docs/vault-compatibility.md`,
  );
}
