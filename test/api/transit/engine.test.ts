/** The Transit engine under attack, over the wire: what is bound stays bound, policy hears of nothing else, every key has its record. */
import t, { type Test } from 'tap';
import { searchTrail } from '../../../src/audit/index.ts';
import { Session } from '../../attacks/client.ts';
import { issue, type Issued } from '../../attacks/pki.ts';
import { listenerYaml, serverAuditOff, Site, tenantsYaml } from '../../attacks/site.ts';

const b64 = (text: string): string => Buffer.from(text).toString('base64');
const hi = b64('hi');
const photos = b64('{"photos":"photos/2026/a.jpg"}');
const secret = b64('{"secret":"secret/plan.txt"}');

interface Reply {
  readonly status: number;
  readonly errors: readonly string[];
  readonly data: Record<string, unknown>;
}

class Caller {
  readonly #session: Session;
  readonly #token: string | undefined;

  private constructor(session: Session, token: string | undefined) {
    this.#session = session;
    this.#token = token;
  }

  /** With a certificate and, on this face, a token of it. */
  static async open(t: Test, site: Site, leaf: Issued): Promise<Caller> {
    const session = await Session.open(site.as(leaf));
    t.teardown(() => session.close());
    const login = await new Caller(session, undefined).ask('POST', 'auth/cert/login');
    const { client_token: token } = login.auth as { client_token: string };
    return new Caller(session, token);
  }

  async ask(method: string, path: string, body?: unknown): Promise<Reply & { readonly auth: unknown }> {
    const answer = await this.#session.ask({
      method,
      path: `/v1/${path}`,
      headers: this.#token === undefined ? {} : { 'x-vault-token': this.#token },
      ...(body === undefined ? {} : { body: JSON.stringify(body) }),
    });
    const text = answer.body.toString();
    const parsed = (text === '' ? {} : JSON.parse(text)) as Partial<Reply> & { auth?: unknown };
    return { status: answer.status, errors: parsed.errors ?? [], data: parsed.data ?? {}, auth: parsed.auth };
  }

  post(path: string, body?: unknown): Promise<Reply> {
    return this.ask('POST', `transit/${path}`, body);
  }

  async sealed(path: string, body: object): Promise<string> {
    const reply = await this.post(path, body);
    if (typeof reply.data['ciphertext'] !== 'string') throw new Error(`${path}: ${reply.errors.join()}`);
    return reply.data['ciphertext'];
  }
}

interface Cast {
  readonly site: Site;
  readonly alpha: Caller;
  readonly beta: Caller;
  readonly photographer: Caller;
  readonly sealer: Caller;
}

const everything = ['*'];

async function stage(t: Test): Promise<Cast> {
  const site = new Site();
  t.teardown(() => site.remove());
  const [alpha, beta, photographer, sealer] = ['alpha', 'beta', 'photographer', 'sealer'].map((name) =>
    issue(name),
  );
  const clients = { auth: 'off', requireClientAuthEku: false };
  await site.start(
    listenerYaml +
      serverAuditOff +
      tenantsYaml(
        {
          name: 'alpha',
          admins: [alpha!.identity],
          clients,
          audit: {},
          transit: {},
          policies: {
            photographer: {
              identities: [photographer!.identity],
              allow: [
                {
                  operations: ['encrypt', 'unwrap', 'rewrap', 'issue'],
                  conditions: { context: { photos: 'photos/*' } },
                } as never,
              ],
            },
            sealer: {
              identities: [sealer!.identity],
              allow: [{ operations: ['encrypt'], keys: ['app', 'absent'] }],
            },
          },
        },
        {
          name: 'beta',
          clients,
          transit: {},
          policies: { all: { identities: [beta!.identity], allow: [{ operations: everything }] } },
        },
      ),
  );
  return {
    site,
    alpha: await Caller.open(t, site, alpha!),
    beta: await Caller.open(t, site, beta!),
    photographer: await Caller.open(t, site, photographer!),
    sealer: await Caller.open(t, site, sealer!),
  };
}

const cast = await stage(t);
const notAuthentic = ['cipher: message authentication failed'];

t.test(
  'a ciphertext is of its key, tenant, version, face and context, and no edit makes it another’s',
  async (t) => {
    const { alpha, beta } = cast;
    for (const caller of [alpha, beta])
      for (const key of ['app', 'other']) {
        await caller.post(`keys/${key}`);
        await caller.post(`keys/${key}/rotate`);
      }
    const ciphertext = await alpha.sealed('encrypt/app', { plaintext: hi, associated_data: photos });
    const refused = async (caller: Caller, path: string, body: object, claim: string, why = notAuthentic) => {
      const reply = await caller.post(path, body);
      t.same({ status: reply.status, errors: reply.errors }, { status: 400, errors: why }, claim);
    };
    t.equal((await alpha.post('decrypt/app', { ciphertext, associated_data: photos })).data['plaintext'], hi);
    await refused(alpha, 'decrypt/other', { ciphertext, associated_data: photos }, 'another key');
    await refused(
      beta,
      'decrypt/app',
      { ciphertext, associated_data: photos },
      'the same name in another tenant',
    );
    await refused(alpha, 'decrypt/app', { ciphertext, associated_data: secret }, 'another context');
    await refused(alpha, 'decrypt/app', { ciphertext }, 'none');
    await refused(alpha, 'decrypt/app', { ciphertext, context: photos }, 'the context in the other field');
    await refused(alpha, 'rewrap/app', { ciphertext, associated_data: secret }, 'nor is it rewrapped');
    for (const number of ['v1', 'v0', 'v+1'])
      await refused(
        alpha,
        'decrypt/app',
        { ciphertext: ciphertext.replace('v2', number), associated_data: photos },
        `its number changed to ${number}`,
      );
    await refused(
      alpha,
      'decrypt/app',
      { ciphertext: ciphertext.replace('v2', 'v3'), associated_data: photos },
      'or to one that nobody made',
      ['invalid ciphertext: version is too new'],
    );
    const bytes = Buffer.from(ciphertext.slice(9), 'base64');
    bytes.writeUInt32BE(1, 28);
    await refused(
      alpha,
      'decrypt/app',
      { ciphertext: `vault:v1:${bytes.toString('base64')}`, associated_data: photos },
      'its version changed in text and bytes alike',
    );
  },
);

t.test(
  'the two fields of a derived key are two: what is in one is not in the other, and none runs into the other',
  async (t) => {
    const { alpha } = cast;
    await alpha.post('keys/derived', { derived: true });
    const opens = async (ciphertext: string, body: object) =>
      (await alpha.post('decrypt/derived', { ciphertext, ...body })).status === 200;
    const pairs = [
      { context: b64('ab'), associated_data: b64('c') },
      { context: b64('a'), associated_data: b64('bc') },
      { context: b64('abc') },
      { context: b64('abc'), associated_data: '' },
      { context: b64('c'), associated_data: b64('ab') },
    ];
    for (const [i, sealedFor] of pairs.entries()) {
      const ciphertext = await alpha.sealed('encrypt/derived', { plaintext: hi, ...sealedFor });
      for (const [j, pair] of pairs.entries()) {
        const isSame = i === j || (i > 1 && i < 4 && j > 1 && j < 4);
        t.equal(
          await opens(ciphertext, pair),
          isSame,
          `${JSON.stringify(sealedFor)} as ${JSON.stringify(pair)}`,
        );
      }
    }
  },
);

t.test(
  'a condition on the context holds for what is bound, and for nothing a caller merely says',
  async (t) => {
    const { alpha, photographer } = cast;
    for (const [key, body] of [
      ['plain', {}],
      ['derived', { derived: true }],
    ] as const)
      await alpha.post(`keys/${key}`, body);
    const status = async (path: string, body: object) => (await photographer.post(path, body)).status;
    t.equal(await status('encrypt/plain', { plaintext: hi, associated_data: photos }), 200);
    t.equal(await status('encrypt/plain', { plaintext: hi, associated_data: secret }), 403, 'another bucket');
    t.equal(await status('encrypt/plain', { plaintext: hi }), 403, 'none at all');
    t.equal(await status('encrypt/plain', { plaintext: hi, associated_data: b64('no JSON') }), 403);
    t.equal(
      await status('encrypt/derived', { plaintext: hi, context: photos }),
      200,
      'a derived key binds the context',
    );
    const unbound = await alpha.sealed('encrypt/plain', { plaintext: hi });
    const claimed = { ciphertext: unbound, context: photos };
    t.equal(
      (await alpha.post('decrypt/plain', claimed)).status,
      200,
      'a plain key ignores the context, as in Vault',
    );
    t.equal(await status('decrypt/plain', claimed), 403, 'so that saying one opens nothing');
    t.equal(await status('rewrap/plain', claimed), 403);
    t.equal(await status('datakey/plaintext/plain', { context: photos }), 403, 'and seals nothing');
    const ofSecret = await alpha.sealed('encrypt/plain', { plaintext: hi, associated_data: secret });
    t.equal(
      await status('decrypt/plain', { ciphertext: ofSecret, associated_data: secret, context: photos }),
      403,
    );
    t.equal(
      await status('decrypt/plain', { ciphertext: ofSecret, associated_data: photos }),
      400,
      'a lie opens nothing',
    );
    const one = { plaintext: hi, associated_data: photos };
    t.equal(await status('encrypt/plain', { batch_input: [one, one] }), 200);
    const mixed = await photographer.post('encrypt/plain', {
      batch_input: [one, { plaintext: hi, associated_data: secret }],
    });
    t.match(mixed, { status: 403, data: {} }, 'one that is denied denies the batch');
    t.equal(
      await status('encrypt/nowhere', { plaintext: hi, associated_data: secret }),
      403,
      'denied before the key is looked for',
    );
    t.equal(await status('decrypt/nowhere', { ciphertext: unbound, associated_data: secret }), 403);
    t.equal(
      await status('decrypt/nowhere', { ciphertext: unbound, associated_data: photos }),
      400,
      'and told only then',
    );
  },
);

t.test('who may encrypt and not create makes no key by it; who may, does', async (t) => {
  const { alpha, sealer } = cast;
  t.equal((await sealer.post('encrypt/absent', { plaintext: hi })).status, 403);
  t.equal((await alpha.ask('GET', 'transit/keys/absent')).status, 404, 'and none was made');
  t.equal((await alpha.post('encrypt/absent', { plaintext: hi, context: hi })).status, 200);
  t.match((await alpha.ask('GET', 'transit/keys/absent')).data, { derived: true });
  t.match(
    await alpha.post('encrypt/absent2', { plaintext: hi, convergent_encryption: true, type: 'rsa-2048' }),
    { status: 400 },
  );
  t.equal(
    (await alpha.ask('GET', 'transit/keys/absent2')).status,
    404,
    'nor one of a type that Sello has not',
  );
});

t.test('the key that seals records of the KV engine is nobody’s to name', async (t) => {
  const { alpha } = cast;
  t.equal((await alpha.ask('POST', 'secret/data/x', { data: { a: 1 } })).status, 200);
  const key = 'sello_transit_kv';
  for (const [method, path, body] of [
    ['GET', `keys/${key}`],
    ['POST', `keys/${key}`],
    ['DELETE', `keys/${key}`],
    ['POST', `keys/${key}/config`, { deletion_allowed: true }],
    ['POST', `keys/${key}/rotate`],
    ['POST', `encrypt/${key}`, { plaintext: hi, context: hi }],
    ['POST', `decrypt/${key}`, { ciphertext: 'vault:v1:aGk=', context: hi }],
    ['POST', `rewrap/${key}`, { ciphertext: 'vault:v1:aGk=', context: hi }],
    ['POST', `datakey/plaintext/${key}`, { context: hi }],
    ['POST', `hmac/${key}`, { input: hi }],
    ['POST', `verify/${key}`, { input: hi, hmac: 'vault:v1:aGk=' }],
  ] as const)
    t.equal((await alpha.ask(method, `transit/${path}`, body)).status, 400, `${method} ${path}`);
  t.notMatch((await alpha.ask('LIST', 'transit/keys')).data['keys'] ?? [], [key]);
});

t.test('an HMAC is of one key, version and hash', async (t) => {
  const { alpha, beta } = cast;
  for (const caller of [alpha, beta]) await caller.post('keys/mac');
  await alpha.post('keys/mac-other');
  await alpha.post('keys/mac/rotate');
  const mac = async (caller: Caller, path: string, body: object = {}): Promise<string> =>
    ((await caller.post(`hmac/${path}`, { input: hi, ...body })).data['hmac'] as string).slice(9);
  const macs = await Promise.all([
    mac(alpha, 'mac'),
    mac(alpha, 'mac', { key_version: 1 }),
    mac(alpha, 'mac-other'),
    mac(beta, 'mac'),
    mac(alpha, 'mac/sha3-256'),
    mac(alpha, 'mac', { input: b64('ho') }),
  ]);
  t.equal(new Set(macs).size, macs.length, 'all are different');
  const valid = async (hmac: string, path = 'mac') =>
    (await alpha.post(`verify/${path}`, { input: hi, hmac })).data['valid'];
  t.equal(await valid(`vault:v2:${macs[0]!}`), true);
  t.equal(await valid(`vault:v1:${macs[1]!}`), true);
  t.equal(await valid(`vault:v1:${macs[0]!}`), false, 'its version changed');
  t.equal(await valid(`vault:v2:${macs[4]!}`), false, 'of another hash');
  t.equal(await valid(`vault:v1:${macs[1]!}`, 'mac-other'), false, 'of another key');
  t.equal(await valid(`vault:v2:${macs[0]!.slice(0, 20)}`), false, 'a part of it');
});

t.test('a batch whose record cannot be written gives nothing of any item', async (t) => {
  const { alpha, site } = cast;
  await alpha.post('keys/unrecorded');
  const ciphertext = await alpha.sealed('encrypt/unrecorded', { plaintext: hi, associated_data: photos });
  const { audit } = site.server.runtime.tenants.get('alpha')!;
  const append = audit.append.bind(audit);
  t.teardown(() => (audit.append = append));
  for (const failing of ['allow', 'failed']) {
    audit.append = (record) =>
      (record.error === undefined) === (failing === 'allow') && record.operation === 'unwrap'
        ? Promise.reject(new Error('no space left on device'))
        : append(record);
    const reply = await alpha.post('decrypt/unrecorded', {
      batch_input: [
        { ciphertext, associated_data: photos },
        { ciphertext, associated_data: secret },
        { ciphertext, associated_data: photos },
      ],
    });
    t.equal(reply.status, 503, failing);
    t.notMatch(JSON.stringify(reply), hi);
  }
});

t.test('each item of a batch has its record, what failed too; a key that is made has two', async (t) => {
  const { alpha, photographer, site } = cast;
  await alpha.post('keys/recorded');
  const ciphertext = await alpha.sealed('encrypt/recorded', { plaintext: hi, associated_data: photos });
  const reply = await alpha.post('decrypt/recorded', {
    batch_input: [
      { ciphertext, associated_data: photos },
      { ciphertext, associated_data: secret },
    ],
  });
  t.match(reply, {
    status: 400,
    data: { batch_results: [{ plaintext: hi }, { plaintext: '', error: notAuthentic[0]! }] },
  });
  await photographer.post('decrypt/recorded', { ciphertext, associated_data: secret });
  await site.server.stop();
  const lines: string[] = [];
  for await (const line of searchTrail(site.file('audit/alpha'), { key: 'recorded' }))
    lines.push(line.toString());
  const records = lines.map((line) => JSON.parse(line) as Record<string, unknown>);
  const told = (action: string) => records.filter((record) => JSON.stringify(record).includes(`"${action}"`));
  t.equal(told('create').length, 2, 'begun, and done');
  t.equal(told('encrypt').length, 1);
  const unwraps = told('unwrap').map((record) => JSON.stringify(record));
  t.equal(unwraps.length, 3);
  t.equal(
    unwraps.filter((line) => line.includes('2026/a.jpg')).length,
    1,
    'the one that opened, with its object',
  );
  t.equal(
    unwraps.filter((line) => line.includes('plan.txt')).length,
    2,
    'the one that did not, and the one that was denied',
  );
  t.notMatch(lines.join(), hi, 'no plaintext');
});
