/**
 * Changes of keys while Vault is away: asked of one replica, in force on the other within `propagation`, in the store once Vault is
 * back. Real processes, a real Vault. Figures are printed as `FIGURES`; docs/resilience.md has them.
 */
import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import t, { type Test } from 'tap';
import { pause, within } from '../attacks/client.ts';
import { authority, issue } from '../attacks/pki.ts';
import { createAuthority } from './certificates.ts';
import { auditOf, propagationMs, startReplicas, type Replica } from './replicas.ts';
import { needTools } from './tools.ts';
import { Vault } from './vault.ts';

t.setTimeout(240_000);

const clients = authority('clients');
const admin = issue('admin', { issuer: clients });
const connections = 12;

/** Every process says so: connections reach one of them by chance. */
async function everywhere(replica: Replica, key: string, status: number): Promise<boolean> {
  for (let i = 0; i < connections; i++) if ((await replica.issue(key)) !== status) return false;
  return true;
}

const found = await needTools(t, 'vault');
if (found !== undefined) {
  const folder = await mkdtemp(join(tmpdir(), 'sello-peers-'));
  const vaultAuthority = await createAuthority(join(folder, 'vault-ca'));
  const vault = await Vault.start({ program: found.vault, folder, authority: vaultAuthority });
  let isFrozen = false;
  const freeze = (): void => {
    vault.freeze();
    isFrozen = true;
  };
  const thaw = (): void => {
    if (isFrozen) vault.thaw();
    isFrozen = false;
  };
  t.teardown(async () => {
    thaw();
    await vault.stop();
    await rm(folder, { recursive: true });
  });
  await vault.mountKv('kv', 2);
  const stored = async (key: string): Promise<Record<string, unknown> | undefined> => {
    const answer = await vault.call('GET', `kv/data/acme.sello/keyrings/${key}`);
    return answer.status === 404 ? undefined : recordOf(answer.body.data);
  };

  const keys = ['other', 'disabled', 'ended', 'known', 'back', 'apart', 'gone'];
  const [a, b] = (await startReplicas(t, {
    vault,
    vaultAuthority,
    clients,
    folder,
    admin,
    processes: [1, 2],
    keys,
  })) as [Replica, Replica];

  /** Asks A, and waits until every process of B refuses. */
  const measured = async (
    t: Test,
    title: string,
    ask: () => Promise<{ status: number; json: Record<string, unknown> }>,
    holds: () => Promise<boolean>,
  ) => {
    const startMs = performance.now();
    const answer = await ask();
    const answeredMs = performance.now() - startMs;
    t.ok(await within(2 * propagationMs, holds), `${title}: on B`);
    const reachedMs = performance.now() - startMs;
    t.ok(reachedMs < propagationMs, `within propagation: ${String(Math.round(reachedMs))} ms`);
    t.comment(
      `FIGURES ${title} ${JSON.stringify({ answeredMs: Math.round(answeredMs), reachedMs: Math.round(reachedMs) })}`,
    );
    return answer;
  };

  await t.test('Vault answers nobody: what is asked of A is in force on every process of B', async (t) => {
    freeze();
    const disabled = await measured(
      t,
      'disable while Vault is silent',
      () => a.admin('POST', 'keys/disabled/disable'),
      () => everywhere(b, 'disabled', 403),
    );
    t.equal(disabled.status, 202, 'accepted, and said to be not in the store yet');
    t.match(disabled.json, {
      key: 'disabled',
      held: {
        change: 'disable',
        keptOn: 'disk',
        isKeyKnown: true,
        by: admin.identity,
        token: /^[0-9a-f]{64}$/,
      },
      peers: { known: 1, told: 1 },
    });
    t.equal(await a.issue('disabled'), 403, 'and on A itself');
    const ended = await measured(
      t,
      'schedule deletion while Vault is silent',
      () => a.admin('POST', 'keys/ended/schedule-deletion'),
      () => everywhere(b, 'ended', 403),
    );
    t.equal(ended.status, 202);
    const sealed = (await b.ask('POST', '/v1/key/generate/known', {})).json['ciphertext'];
    const known = await measured(
      t,
      'compromise while Vault is silent',
      () => a.admin('POST', 'keys/known/versions/1/compromise'),
      () => everywhere(b, 'known', 403),
    );
    t.equal(known.status, 202);
    const opened = await b.ask('POST', '/v1/key/decrypt/known', { ciphertext: sealed });
    t.equal(opened.status, 200, 'what the compromised version sealed still opens');
    t.equal(await b.issue('other'), 200, 'and other keys serve on');

    const back = await a.admin('POST', 'keys/back/disable');
    t.equal(back.status, 202);
    t.ok(await within(propagationMs, () => everywhere(b, 'back', 403)));
    const elsewhere = await b.admin('POST', 'keys/back/enable');
    t.equal(elsewhere.status, 409, 'a hold is taken back where it was asked for');
    const { token } = back.json['held'] as { token: string };
    t.equal(
      (
        await b.admin('POST', 'keys/back/enable', {
          token: token.replace(/^./, (c) => (c === '0' ? '1' : '0')),
        })
      ).status,
      409,
      'not with another token',
    );
    t.equal(await b.issue('back'), 403);
    const taken = await b.admin('POST', 'keys/back/enable', { token });
    t.equal(taken.status, 202, 'or with its token');
    t.ok(await within(propagationMs, () => everywhere(a, 'back', 200)), 'A serves it again');
    t.ok(await within(propagationMs, () => everywhere(b, 'back', 200)), 'and so does every process of B');

    const list = await b.admin('GET', 'keys/disabled/holds');
    t.match(list.json, { holds: [{ change: 'disable', isOurs: false }] });
    for (const replica of [a, b]) t.ok((await replica.metric('sello_holds')).every((count) => count === 3));
    t.match(await auditOf(b), /"rule":"peer"|rule.*peer/, 'on record at B');
  });

  await t.test('A dies; Vault is back: the store has all of it, and nothing is held any more', async (t) => {
    await a.stop('SIGKILL');
    const startMs = performance.now();
    thaw();
    const isWritten = async (): Promise<boolean> =>
      (await stored('disabled'))?.['state'] === 'disabled' &&
      (await stored('ended'))?.['state'] === 'disabled' &&
      (await stored('known')) !== undefined;
    t.ok(await within(30_000, isWritten), 'written by B, which was only told');
    t.comment(
      `FIGURES written after Vault is back ${JSON.stringify({ ms: Math.round(performance.now() - startMs) })}`,
    );
    t.match(await stored('disabled'), {
      changedBy: `a peer, for ${admin.identity}`,
      holds: [/^[0-9a-f]{64}$/],
    });
    t.match(
      await stored('known'),
      { versions: [{ state: 'compromised' }, { state: 'enabled' }] },
      'a new version took over',
    );
    t.ok(
      await within(10_000, async () => (await b.metric('sello_holds')).every((count) => count === 1)),
      'no hold is left but that of a deletion, which no peer’s word begins',
    );
    t.equal(
      (await stored('back'))?.['state'] ?? 'enabled',
      'enabled',
      'what was taken back was never written',
    );
    t.ok(await within(10_000, () => everywhere(b, 'known', 200)), 'and the new version seals');
    await a.run();
    t.strictSame(
      (await a.admin('GET', 'keys/disabled/holds')).json['key'],
      'disabled',
      'A is back, and had its holds on disk',
    );
    const isScheduled = async (): Promise<boolean> =>
      (await stored('ended'))?.['state'] === 'pending-deletion';
    t.ok(await within(20_000, isScheduled), 'and writes the deletion that it was asked for');
    t.match(await stored('ended'), { deletion: { by: admin.identity } });
    for (const replica of [a, b]) {
      const isOver = async (): Promise<boolean> =>
        (await replica.metric('sello_holds')).every((count) => count === 0);
      t.ok(await within(10_000, isOver), 'nothing is held any more');
    }
    t.equal((await a.admin('POST', 'keys/disabled/enable')).status, 200);
    t.ok(await within(2 * propagationMs, () => everywhere(b, 'disabled', 200)));
    await pause(propagationMs);
    t.ok((await a.metric('sello_holds')).every((count) => count === 0));
    t.equal((await stored('disabled'))?.['state'], 'enabled', 'and no replica disables it once more');
  });

  await t.test('only B is cut off from Vault: it hears of changes from A', async (t) => {
    for (let i = 0; i < connections; i++) for (const key of ['apart', 'gone']) await b.issue(key);
    b.wire.cut();
    const apart = await measured(
      t,
      'disable, B partitioned from Vault alone',
      () => a.admin('POST', 'keys/apart/disable'),
      () => everywhere(b, 'apart', 403),
    );
    t.equal(apart.status, 200, 'A has it in the store');
    await a.issue('gone');
    await measured(
      t,
      'delete, B partitioned from Vault alone',
      () => a.ask('DELETE', '/v1/key/delete/gone'),
      () => everywhere(b, 'gone', 403),
    );
    t.equal(await b.issue('other'), 200, 'other keys serve on');
    t.equal((await a.admin('POST', 'keys/apart/enable')).status, 200);
    await pause(propagationMs / 2);
    t.equal(await b.issue('apart'), 403, 'what loosens is not believed');
    b.wire.mend();
    t.ok(await within(15_000, () => everywhere(b, 'apart', 200)), 'until the store says so');
    t.ok(
      await within(15_000, () => everywhere(b, 'gone', 404)),
      'and then the deleted key is one that does not exist',
    );
  });

  await t.test('a peer that is away is counted, and hears when it is back', async (t) => {
    freeze();
    await b.stop('SIGKILL');
    const held = await a.admin('POST', 'keys/other/disable');
    t.match(held.json, { peers: { known: 1, told: 0 } }, 'nobody was told');
    t.strictSame(await a.metric('sello_peers_reachable'), [0]);
    thaw();
    t.ok(await within(20_000, async () => (await stored('other'))?.['state'] === 'disabled'));
    await b.run();
    t.ok(await within(10_000, () => everywhere(b, 'other', 403)));
  });
}

/** A record as it lies in KV: a mark, and base64. */
function recordOf(data: Record<string, unknown> | null | undefined): Record<string, unknown> {
  const { record } = (data?.['data'] ?? {}) as { record?: string };
  const text = Buffer.from(record?.slice(record.lastIndexOf(':') + 1) ?? '', 'base64').toString();
  return JSON.parse(text) as Record<string, unknown>;
}
