/**
 * Real clients of Vault against the Transit face, and the same story told to a real Vault: what each library hands to its caller is held
 * to one table. So the table is Vault's behaviour as these clients see it, and Sello's.
 */
import { mkdtemp, readFile, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import t, { type Test } from 'tap';
import { Peer, TransitSite } from '../api/transit/site.ts';
import { createAuthority } from './certificates.ts';
import { needTools } from './tools.ts';
import { VaultClient, vaultClients, type VaultCall, type VaultOutcome } from './vault-clients.ts';
import { Vault } from './vault.ts';

interface Line {
  readonly op: string;
  readonly call?: VaultCall;
  readonly gives?: unknown;
  readonly fails?: { readonly status: number; readonly errors: readonly string[] };
  /** Keeps the value: `{{name}}` in a later call stands for it. */
  readonly keep?: string;
}

const base64 = (text: string): string => Buffer.from(text).toString('base64');
const data = base64('a data key of thirty-two bytes..');
const [context, elsewhere] = [base64('{"bucket":"bucket/object"}'), base64('{"bucket":"bucket/other"}')];
const login = { policies: ['default', 'node'], seconds: 3600, renewable: true };
const cipher = (version: number): string => `vault:v${String(version)}:…`;
const key = { name: '{{me}}-key' };
const derived = { name: '{{me}}-derived' };
const note = '{{me}}/notes/one';
const notAuthentic = { status: 400, errors: ['cipher: message authentication failed'] };
const wrongCas = {
  status: 400,
  errors: ['check-and-set parameter did not match the current version'],
};

const story: readonly Line[] = [
  { op: 'health', gives: { initialized: true, sealed: false } },
  { op: 'lookup', fails: { status: 403, errors: ['permission denied'] } },
  { op: 'certLogin', call: { name: 'node' }, gives: login },
  { op: 'lookup', gives: { policies: ['default', 'node'], renewable: true } },

  { op: 'create', call: { ...key, fields: { type: 'aes256-gcm96' } } },
  {
    op: 'read', call: key,
    gives: { type: 'aes256-gcm96', derived: false, versions: 1, minDecryption: 1, deletionAllowed: false },
  },
  { op: 'encrypt', call: { ...key, fields: { plaintext: data } }, gives: cipher(1), keep: 'old' },
  { op: 'decrypt', call: { ...key, fields: { ciphertext: '{{old}}' } }, gives: data },
  { op: 'rotate', call: key },
  { op: 'encrypt', call: { ...key, fields: { plaintext: data } }, gives: cipher(2), keep: 'new' },
  { op: 'decrypt', call: { ...key, fields: { ciphertext: '{{old}}' } }, gives: data },
  { op: 'rewrap', call: { ...key, fields: { ciphertext: '{{old}}' } }, gives: cipher(2), keep: 'wrapped' },
  { op: 'decrypt', call: { ...key, fields: { ciphertext: '{{wrapped}}' } }, gives: data },
  { op: 'configure', call: { ...key, fields: { min_decryption_version: 2 } } },
  {
    op: 'decrypt', call: { ...key, fields: { ciphertext: '{{old}}' } },
    fails: { status: 400, errors: ['ciphertext or signature version is disallowed by policy (too old)'] },
  },
  {
    op: 'read', call: key,
    gives: { type: 'aes256-gcm96', derived: false, versions: 1, minDecryption: 2, deletionAllowed: false },
  },
  { op: 'dataKey', call: key, gives: { plaintext: '44 characters', ciphertext: cipher(2) } },
  {
    op: 'batch', call: { ...key, plaintexts: [data, data] },
    gives: [{ ciphertext: cipher(2), key_version: 2, reference: '' }, { ciphertext: cipher(2), key_version: 2, reference: '' }],
  },
  { op: 'encrypt', call: { ...key, fields: { plaintext: data, associated_data: context } }, gives: cipher(2), keep: 'bound' },
  { op: 'decrypt', call: { ...key, fields: { ciphertext: '{{bound}}', associated_data: context } }, gives: data },
  { op: 'decrypt', call: { ...key, fields: { ciphertext: '{{bound}}', associated_data: elsewhere } }, fails: notAuthentic },

  { op: 'create', call: { ...derived, fields: { type: 'chacha20-poly1305', derived: true } } },
  {
    op: 'read', call: derived,
    gives: { type: 'chacha20-poly1305', derived: true, versions: 1, minDecryption: 1, deletionAllowed: false },
  },
  { op: 'encrypt', call: { ...derived, fields: { plaintext: data, context } }, gives: cipher(1), keep: 'own' },
  { op: 'decrypt', call: { ...derived, fields: { ciphertext: '{{own}}', context } }, gives: data },
  {
    op: 'decrypt', call: { ...derived, fields: { ciphertext: '{{own}}', context: elsewhere } },
    fails: { status: 400, errors: ['chacha20poly1305: message authentication failed'] },
  },
  { op: 'rewrap', call: { ...derived, fields: { ciphertext: '{{own}}', context } }, gives: cipher(1) },
  { op: 'decrypt', call: { name: '{{me}}-none', fields: { ciphertext: '{{own}}' } }, fails: { status: 400, errors: ['encryption key not found'] } },
  { op: 'read', call: { name: '{{me}}-none' }, fails: { status: 404, errors: [] } },
  { op: 'list', gives: ['{{me}}-derived', '{{me}}-key'] },

  { op: 'kvGet', call: { path: note }, fails: { status: 404, errors: [] } },
  { op: 'kvPut', call: { path: note, data: { state: 'one' }, cas: 0 }, gives: 1 },
  { op: 'kvPut', call: { path: note, data: { state: 'lost' }, cas: 0 }, fails: wrongCas },
  { op: 'kvPut', call: { path: note, data: { state: 'two' }, cas: 1 }, gives: 2 },
  { op: 'kvGet', call: { path: note }, gives: { state: 'two' } },
  { op: 'kvGet', call: { path: note, version: 1 }, gives: { state: 'one' } },
  { op: 'kvVersions', call: { path: note }, gives: { current: 2, kept: 2 } },
  { op: 'kvList', call: { path: '{{me}}/notes' }, gives: ['one'] },
  { op: 'kvDelete', call: { path: note } },
  { op: 'kvGet', call: { path: note }, fails: { status: 404, errors: [] } },
  { op: 'kvUndelete', call: { path: note, version: 2 } },
  { op: 'kvGet', call: { path: note }, gives: { state: 'two' } },
  { op: 'kvRemove', call: { path: note } },
  { op: 'kvVersions', call: { path: note }, fails: { status: 404, errors: [] } },

  { op: 'renew', call: { increment: 1800 }, gives: 1800 },
  { op: 'appRoleLogin', call: { roleId: '{{role}}', secretId: 'wrong' }, fails: { status: 400, errors: ['invalid role or secret ID'] } },
  { op: 'appRoleLogin', call: { roleId: '{{role}}', secretId: '{{secret}}' }, gives: login },
  { op: 'decrypt', call: { ...key, fields: { ciphertext: '{{wrapped}}' } }, gives: data },
  { op: 'renew', call: { increment: 600 }, gives: 600 },

  { op: 'delete', call: key, fails: { status: 400, errors: ['error deleting policy {{me}}-key: deletion is not allowed for this key'] } },
  { op: 'configure', call: { ...key, fields: { deletion_allowed: true } } },
  { op: 'delete', call: key },
  { op: 'read', call: key, fails: { status: 404, errors: [] } },
  { op: 'configure', call: { ...derived, fields: { deletion_allowed: true } } },
  { op: 'delete', call: derived },
  { op: 'list', fails: { status: 404, errors: [] } },

  { op: 'revoke' },
  { op: 'lookup', fails: { status: 403, errors: ['2 errors occurred:\n\t* permission denied\n\t* invalid token\n\n'] } },
]; // prettier-ignore

/** Operations a library has no function for. */
const lacking: Readonly<Record<string, readonly string[]>> = { 'Rust, vaultrs': ['batch'] };

t.test('clients of Vault', { timeout: 180_000 }, async (t) => {
  const [clients, tools] = [await vaultClients(t), await needTools(t, 'vault')];
  if (clients === undefined || tools === undefined) return;
  const folder = await mkdtemp(join(tmpdir(), 'sello-vault-clients-'));
  t.teardown(() => rm(folder, { recursive: true, force: true }));
  const authority = await createAuthority(join(folder, 'certs'));
  const [vault, site] = await Promise.all([
    Vault.start({ program: tools.vault, folder, authority, requireClientCertificate: false }),
    TransitSite.start(join(folder, 'sello'), authority),
  ]);
  t.teardown(async () => Promise.all([vault.stop(), site.stop()]));
  await prepare(vault, authority.ca);
  const admin = new Peer({ origin: site.origin, token: await site.adminToken(), tls: await site.tls() });
  t.teardown(() => admin.close());

  const theirs = async (path: string, method: 'GET' | 'POST'): Promise<Record<string, unknown>> =>
    (await vault.must(method, path)).data ?? {};
  const ours = async (path: string, method: 'GET' | 'POST'): Promise<Record<string, unknown>> => {
    const { body } = await admin.ask({ ask: `${method} ${path}` }, new Map());
    return (JSON.parse(body) as { data: Record<string, unknown> }).data;
  };
  const servers = [
    { name: 'Vault', address: vault.address, ask: theirs },
    { name: 'Sello', address: site.origin, ask: ours },
  ];
  for (const [client, command] of Object.entries(clients)) {
    for (const server of servers) {
      await t.test(`${client}, and ${server.name}`, async (t) => {
        const role = 'auth/approle/role/node';
        const kept = new Map<string, unknown>([
          ['me', client.replace(/\W+/g, '-').toLowerCase()],
          ['role', (await server.ask(`${role}/role-id`, 'GET'))['role_id']],
          ['secret', (await server.ask(`${role}/secret-id`, 'POST'))['secret_id']],
        ]);
        const driven = new VaultClient(command, {
          address: server.address,
          ca: authority.ca,
          certificate: site.node,
        });
        t.teardown(() => driven.close());
        for (const [index, line] of story.entries()) {
          if (lacking[client]?.includes(line.op) === true) continue;
          await tell(t, driven, line, kept, index);
        }
      });
    }
  }
});

async function tell(
  t: Test,
  client: VaultClient,
  line: Line,
  kept: Map<string, unknown>,
  index: number,
): Promise<void> {
  const fill = <T>(value: T): T =>
    JSON.parse(
      JSON.stringify(value ?? null).replace(/\{\{(\w+)\}\}/g, (_, name: string) => String(kept.get(name))),
    ) as T;
  const outcome = await client.call(line.op, fill(line.call) ?? {});
  if (line.keep !== undefined) kept.set(line.keep, outcome.value);
  const claim = `${String(index + 1)}: ${line.op} ${JSON.stringify(line.call ?? {})}`;
  t.same(shown(outcome), fill({ value: line.gives ?? null, error: line.fails ?? null }), claim);
}

/** What is new each time, by its form. */
function shown({ error, value }: VaultOutcome): object {
  const masked = JSON.stringify(value ?? null)
    .replace(/vault:v(\d+):[A-Za-z0-9+/=]+/g, 'vault:v$1:…')
    .replace(
      /"plaintext":"([A-Za-z0-9+/=]+)"/g,
      (_, text: string) => `"plaintext":"${String(text.length)} characters"`,
    );
  return {
    value: JSON.parse(masked) as unknown,
    error: error === undefined ? null : { status: error.status, errors: error.errors ?? [] },
  };
}

async function prepare(vault: Vault, ca: string): Promise<void> {
  await vault.must('POST', 'sys/mounts/transit', { type: 'transit' });
  await vault.must('PUT', 'sys/policies/acl/node', {
    policy: ['transit', 'secret']
      .map((mount) => `path "${mount}/*" { capabilities = ["create","read","update","delete","list"] }`)
      .join('\n'),
  });
  const tokens = { token_policies: 'node', token_ttl: '1h', token_max_ttl: '24h' };
  await vault.must('POST', 'sys/auth/cert', { type: 'cert' });
  await vault.must('POST', 'auth/cert/certs/node', { ...tokens, certificate: await readFile(ca, 'utf8') });
  await vault.must('POST', 'sys/auth/approle', { type: 'approle' });
  await vault.must('POST', 'auth/approle/role/node', { ...tokens, secret_id_ttl: '24h' });
}
