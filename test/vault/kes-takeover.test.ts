/**
 * Takeover in place: a Vault as KES left it, KES's own configuration file with KES's own policy, and a Sello server on both. Recorded
 * from KES with every layout it has (test/vectors/kes/vault).
 */
import { readdirSync, readFileSync } from 'node:fs';
import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import t, { type Test } from 'tap';
import { parse } from 'yaml';
import { createClient, type SelloClient } from '../../src/client/index.ts';
import { createAuthority } from '../real/certificates.ts';
import { Sello, type ConfigFacts } from '../real/sello.ts';
import { needTools } from '../real/tools.ts';
import { Vault } from '../real/vault.ts';

// A busy machine starts servers slowly.
t.setTimeout(120_000);

interface Layout {
  readonly mode: string;
  readonly mounts: Record<string, { type: string; version?: string; key?: string }>;
  /** Where the login method is mounted. */
  readonly auth_mount: string;
  readonly kes_config: string;
  readonly vault_policy: string;
  readonly notes: { readonly transit_backup?: string };
  readonly listing: { readonly keys: string[] };
  readonly keys: {
    readonly name: string;
    readonly algorithm: string;
    readonly vault: { readonly path: string; readonly status: number; readonly json: { data: unknown } }[];
    readonly ciphertexts: { context_b64: string; plaintext_b64: string; ciphertext_b64: string }[];
    readonly hmacs: { message_b64: string; hmac_b64?: string; status?: number }[];
    readonly stored_key_in_vault: string;
  }[];
}

const vectors = join(import.meta.dirname, '../vectors/kes/vault');
const layouts = readdirSync(vectors)
  .filter((name) => name.startsWith('layout-'))
  .map((name) => JSON.parse(readFileSync(join(vectors, name), 'utf8')) as Layout);

const bytes = (base64: string): Buffer => Buffer.from(base64, 'base64');

/** Puts back what was recorded, every version of it. */
async function fill(vault: Vault, layout: Layout): Promise<void> {
  for (const [path, { type, version, key }] of Object.entries(layout.mounts)) {
    if (type === 'kv') await vault.mountKv(path, version === 'v2' ? 2 : 1);
    else {
      await vault.must('POST', `sys/mounts/${path}`, { type });
      await vault.must('POST', `${path}/restore/${key!}`, { backup: layout.notes.transit_backup });
    }
  }
  for (const { vault: reads } of layout.keys) {
    const versions = reads.filter(({ path, status }) => status === 200 && !path.includes('/metadata/'));
    const seen = new Set<string>();
    for (const { path, json } of versions) {
      const place = path.replace(/^\/v1\//, '').replace(/\?.*$/, '');
      const data = place.includes('/data/') ? (json.data as { data: unknown }).data : json.data;
      // The first version comes first, and is often the newest too.
      if (seen.has(JSON.stringify(data))) continue;
      seen.add(JSON.stringify(data));
      await vault.must('POST', place, place.includes('/data/') ? { data } : data);
    }
  }
  await vault.must('POST', `sys/auth/${layout.auth_mount}`, { type: 'approle' });
  await vault.must('PUT', 'sys/policies/acl/kes', { policy: layout.vault_policy });
  await vault.must('POST', `auth/${layout.auth_mount}/role/kes`, {
    token_policies: ['kes'],
    token_ttl: '20m',
  });
}

async function credentials(vault: Vault, mount: string): Promise<{ id: string; secret: string }> {
  const id = await vault.must('GET', `auth/${mount}/role/kes/role-id`);
  const secret = await vault.must('POST', `auth/${mount}/role/kes/secret-id`, {});
  return { id: id.data!['role_id'] as string, secret: secret.data!['secret_id'] as string };
}

const found = await needTools(t, 'vault');
if (found !== undefined) {
  const folder = await mkdtemp(join(tmpdir(), 'sello-takeover-'));
  const authority = await createAuthority(join(folder, 'certs'));
  t.teardown(() => rm(folder, { recursive: true }));

  for (const layout of layouts) {
    t.test(`serves in place what KES left in ${layout.mode}`, async (t) => {
      const vault = await Vault.start({ program: found.vault, folder: join(folder, layout.mode) });
      t.teardown(() => vault.stop());
      await fill(vault, layout);
      const { id, secret } = await credentials(vault, layout.auth_mount);
      const sello = await Sello.start({
        folder: join(folder, `sello-${layout.mode}`),
        authority,
        // The file as KES read it; only what names machines, people and secrets is replaced.
        config: ({ address, adminIdentity, server }: ConfigFacts) => {
          const config = parse(layout.kes_config) as {
            address: string;
            admin: { identity: string };
            tls: { key: string; cert: string };
            keystore: { vault: { endpoint: string; approle: { id: string; secret: string } } };
          };
          config.address = address;
          config.admin.identity = adminIdentity;
          config.tls = { key: server.key, cert: server.cert };
          config.keystore.vault.endpoint = vault.address;
          Object.assign(config.keystore.vault.approle, { id, secret });
          return config;
        },
      });
      t.teardown(() => sello.stop());
      const client = createClient({
        endpoints: [sello.endpoint],
        apiKey: sello.admin.text,
        ca: readFileSync(authority.ca),
      });
      t.teardown(() => client.close());
      await servesAll(t, client, layout);

      const listed: string[] = [];
      for await (const name of client.listKeys()) listed.push(name);
      t.strictSame(listed, layout.keys.map(({ name }) => name).sort());
      t.equal(await statusOf(client.createKey(layout.keys[0]!.name)), 400, 'an existing key is not replaced');
      t.equal(await statusOf(client.describeKey('nobody')), 404);

      await client.createKey('made-here');
      await looksLikeKes(t, vault, layout);
      await client.deleteKey('made-here');
      t.equal(await statusOf(client.describeKey('made-here')), 404);
      t.notMatch(await sello.output(), secret, 'the secret_id is in no log');
    });
  }

  t.ok(layouts.length >= 6, 'every layout was recorded');
}

/** HTTP status of the refusal. */
async function statusOf(call: Promise<unknown>): Promise<unknown> {
  return call.then(
    () => 'no refusal',
    (error: unknown) => (error as { status?: unknown }).status,
  );
}

async function servesAll(t: Test, client: SelloClient, layout: Layout): Promise<void> {
  let opened = 0;
  for (const { name, algorithm, ciphertexts, hmacs } of layout.keys) {
    t.match(await client.describeKey(name), { algorithm });
    for (const { context_b64, plaintext_b64, ciphertext_b64 } of ciphertexts) {
      const plaintext = await client.decrypt(name, bytes(ciphertext_b64), bytes(context_b64));
      if (plaintext.equals(bytes(plaintext_b64))) opened++;
      else t.fail(`${name}: another plaintext`);
    }
    for (const { message_b64, hmac_b64, status } of hmacs) {
      const hmac = client.hmac(name, bytes(message_b64));
      if (hmac_b64 === undefined) t.equal(await statusOf(hmac), status);
      else t.ok((await hmac).equals(bytes(hmac_b64)), `HMAC of ${name}`);
    }
  }
  t.equal(
    opened,
    layout.keys.reduce((sum, key) => sum + key.ciphertexts.length, 0),
    'every ciphertext opens',
  );
}

/** What we write is where KES writes it, has its fields and no others, and reads as a key that KES made. */
async function looksLikeKes(t: Test, vault: Vault, layout: Layout): Promise<void> {
  const theirs = layout.keys.find(({ name }) => name.startsWith('created')) ?? layout.keys[0]!;
  const { path, json } = theirs.vault[0]!;
  const place = path.replace(/^\/v1\//, '').replace(theirs.name, 'made-here');
  const ours = await vault.must('GET', place);
  const isV2 = path.includes('/data/');
  const fieldsOf = (data: unknown): Record<string, unknown> =>
    (isV2 ? (data as { data: unknown }).data : data) as Record<string, unknown>;
  t.strictSame(Object.keys(fieldsOf(ours.data)), ['made-here']);
  t.strictSame(Object.keys(fieldsOf(json.data)), [theirs.name]);
  const [stored] = Object.values(fieldsOf(ours.data)) as string[];
  const shape = /^vault:v1:/.test(theirs.stored_key_in_vault)
    ? /^vault:v1:[A-Za-z0-9+/]+=*$/
    : /^CiQKI[A-Za-z0-9+/]+=*$/;
  t.match(stored, shape);
  // `{"version":…` is the form of KES before 2024; today's is base64 of protobuf.
  if (!theirs.stored_key_in_vault.startsWith('{')) t.match(theirs.stored_key_in_vault, shape);
  if (isV2) t.equal((ours.data!['metadata'] as { version: number }).version, 1);
}
