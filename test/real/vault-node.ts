/**
 * Drives node-vault, the Node.js client of Vault, line by line: a call per JSON line on standard input, an answer per line on standard
 * output. VAULT_ADDR, VAULT_CACERT, VAULT_CLIENT_CERT and VAULT_CLIENT_KEY say where to.
 */
import { readFileSync } from 'node:fs';
import { createInterface } from 'node:readline';
import createNodeVault from 'node-vault';
import type { VaultCall } from './vault-clients.ts';

const environment = (name: string): string => process.env[name] ?? '';
const client = createNodeVault({
  endpoint: environment('VAULT_ADDR'),
  requestOptions: {
    agentOptions: {
      ca: readFileSync(environment('VAULT_CACERT')),
      cert: readFileSync(environment('VAULT_CLIENT_CERT')),
      key: readFileSync(environment('VAULT_CLIENT_KEY')),
    },
  } as object,
});

interface Envelope {
  readonly data: Record<string, unknown>;
  readonly auth: { token_policies: string[]; lease_duration: number; renewable: boolean };
}

const ask = async (call: Promise<unknown>): Promise<Envelope> => (await call) as Envelope;
const nothing = async (call: Promise<unknown>): Promise<null> => {
  await call;
  return null;
};
const field = async (call: Promise<unknown>, name: string): Promise<unknown> => (await ask(call)).data[name];

async function login(call: Promise<unknown>): Promise<unknown> {
  const { auth } = await ask(call);
  return { policies: auth.token_policies, seconds: auth.lease_duration, renewable: auth.renewable };
}

const keyOf = (name = ''): string => `transit/keys/${name}`;

const operations: Record<string, (call: VaultCall) => Promise<unknown>> = {
  health: async () => {
    const { initialized, sealed } = (await client.health()) as { initialized: boolean; sealed: boolean };
    return { initialized, sealed };
  },
  certLogin: ({ name }) => login(client.write('auth/cert/login', { name }).then(withToken)),
  appRoleLogin: ({ roleId, secretId }) =>
    login(client.approleLogin({ role_id: roleId, secret_id: secretId })),
  lookup: async () => {
    const { data } = await ask(client.tokenLookupSelf());
    return { policies: data['policies'], renewable: data['renewable'] };
  },
  renew: async ({ increment }) =>
    (await ask(client.tokenRenewSelf({ increment: `${String(increment)}s` }))).auth.lease_duration,
  revoke: () => nothing(client.tokenRevokeSelf()),
  create: ({ name, fields }) => nothing(client.write(keyOf(name), fields ?? {})),
  read: async ({ name }) => {
    const { data } = await ask(client.read(keyOf(name)));
    return {
      type: data['type'],
      derived: data['derived'],
      versions: Object.keys(data['keys'] as object).length,
      minDecryption: data['min_decryption_version'],
      deletionAllowed: data['deletion_allowed'],
    };
  },
  list: () => field(client.list('transit/keys'), 'keys'),
  configure: ({ name, fields }) => nothing(client.write(`${keyOf(name)}/config`, fields)),
  rotate: ({ name }) => nothing(client.write(`${keyOf(name)}/rotate`, {})),
  delete: ({ name }) => nothing(client.delete(keyOf(name))),
  encrypt: ({ name, fields }) => field(client.encryptData({ name, ...fields }), 'ciphertext'),
  decrypt: ({ name, fields }) => field(client.decryptData({ name, ...fields }), 'plaintext'),
  rewrap: ({ name, fields }) => field(client.write(`transit/rewrap/${name ?? ''}`, fields), 'ciphertext'),
  batch: ({ name, plaintexts = [] }) =>
    field(
      client.encryptData({ name, batch_input: plaintexts.map((plaintext) => ({ plaintext })) }),
      'batch_results',
    ),
  dataKey: async ({ name }) => {
    const { data } = await ask(client.write(`transit/datakey/plaintext/${name ?? ''}`, {}));
    return { plaintext: data['plaintext'], ciphertext: data['ciphertext'] };
  },
  kvPut: ({ path, data, cas }) =>
    field(
      client.write(`secret/data/${path ?? ''}`, { data, ...(cas === undefined ? {} : { options: { cas } }) }),
      'version',
    ),
  kvGet: ({ path, version }) =>
    field(
      client.read(`secret/data/${path ?? ''}${version === undefined ? '' : `?version=${String(version)}`}`),
      'data',
    ),
  kvVersions: async ({ path }) => {
    const { data } = await ask(client.read(`secret/metadata/${path ?? ''}`));
    return { current: data['current_version'], kept: Object.keys(data['versions'] as object).length };
  },
  kvList: ({ path }) => field(client.list(`secret/metadata/${path ?? ''}`), 'keys'),
  kvDelete: ({ path }) => nothing(client.delete(`secret/data/${path ?? ''}`)),
  kvUndelete: ({ path, version }) =>
    nothing(client.write(`secret/undelete/${path ?? ''}`, { versions: [version] })),
  kvRemove: ({ path }) => nothing(client.delete(`secret/metadata/${path ?? ''}`)),
};

function withToken(answer: unknown): unknown {
  client.token = (answer as { auth: { client_token: string } }).auth.client_token;
  return answer;
}

function failureOf(error: unknown): { status: number; errors: readonly string[] } {
  const { response, message } = error as {
    message: string;
    response?: { statusCode: number; body?: { errors?: string[] } };
  };
  return response === undefined
    ? { status: 0, errors: [message] }
    : { status: response.statusCode, errors: response.body?.errors ?? [] };
}

for await (const line of createInterface({ input: process.stdin })) {
  const call = JSON.parse(line) as VaultCall & { readonly id: number; readonly op: string };
  let answer: object;
  try {
    answer = { value: await operations[call.op]!(call) };
  } catch (error) {
    answer = { error: failureOf(error) };
  }
  process.stdout.write(`${JSON.stringify({ id: call.id, ...answer })}\n`);
}
