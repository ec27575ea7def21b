/** The client against a real Sello server. */
import { readFileSync } from 'node:fs';
import path from 'node:path';
import t from 'tap';
import { createClient } from '../../src/client/index.ts';
import { readBase64Field, writeBase64Fields } from '../../src/client/secret-json.ts';
import { parseEndpoint } from '../../src/client/endpoint.ts';
import { startSeededServer } from '../cli/seeded-server.ts';

const admin = 'f5e70f8a8db7182880796cc708b19925469e4e46591fa2598f4b933dbf08ecf8';
const app = 'a9ea4b8fedf13164190bc1da3147b129f8bb7ba2d79b54711e922e3630cec9b0';

void t.test('every call of the KES v1 API, on a running server', async (t) => {
  const server = await startSeededServer();
  t.teardown(() => server.close());
  const as = (name: string) => {
    const made = createClient({
      endpoints: [server.address],
      certPem: readFileSync(path.join(server.folder, `${name}.crt`), 'utf8'),
      keyPem: readFileSync(path.join(server.folder, `${name}.key`)),
      ca: readFileSync(path.join(server.folder, 'server.crt')),
      insecure: true,
    });
    t.teardown(() => made.close());
    return made;
  };
  const kes = as('admin');
  const all = async (names: AsyncIterable<string>) => {
    const found: string[] = [];
    for await (const name of names) found.push(name);
    return found;
  };

  await t.test('tells about the server', async (t) => {
    t.type((await kes.version()).version, 'string');
    const status = await kes.status();
    t.ok(status.cpus >= 1 && status.heapBytes > 0 && status.keystoreReachable);
    await t.resolves(kes.ready());
    const routes = await kes.api();
    t.match(
      routes.find((route) => route.path === '/v1/key/generate/'),
      { method: 'PUT', timeoutSeconds: 15 },
    );
    t.match(await kes.metrics(), /^kes_system_up_time /m);
  });

  await t.test('creates, describes, lists and deletes keys', async (t) => {
    await kes.createKey('client-1');
    await t.rejects(kes.createKey('client-1'), {
      name: 'ClientError',
      status: 400,
      message: 'key already exists',
    });
    t.match(await kes.describeKey('client-1'), { name: 'client-1', createdBy: admin });
    t.same(await all(kes.listKeys('client-')), ['client-1']);
    t.ok((await all(kes.listKeys())).includes('app-key'));
    await kes.deleteKey('client-1');
    await t.rejects(kes.describeKey('client-1'), {
      name: 'ClientError',
      status: 404,
      message: 'key does not exist',
    });
  });

  await t.test('lists more keys than a page holds, each once', async (t) => {
    const wanted = Array.from({ length: 1030 }, (_, i) => `many-${String(i).padStart(4, '0')}`);
    for (const name of wanted) await kes.createKey(name);
    t.same(await all(kes.listKeys('many-')), wanted);
  });

  await t.test('opens a data key with its context alone', async (t) => {
    const context = Buffer.from('{"a":"b"}');
    const { plaintext, ciphertext } = await kes.generateKey('app-key', context);
    t.equal(plaintext.length, 32);
    t.same(await kes.decrypt('app-key', ciphertext, context), plaintext);
    const refusal = {
      name: 'ClientError',
      status: 400,
      message: 'decryption failed: ciphertext is not authentic',
    };
    await t.rejects(kes.decrypt('app-key', ciphertext), refusal);
    await t.rejects(kes.decrypt('app-key', ciphertext, Buffer.from('other')), refusal);
  });

  await t.test('imports key material, encrypts and computes MACs under it', async (t) => {
    const material = Buffer.alloc(32, 7);
    await kes.importKey('client-imp', material, 'ChaCha20');
    t.equal((await kes.describeKey('client-imp')).algorithm, 'ChaCha20');
    const ciphertext = await kes.encrypt('client-imp', Buffer.from('Hello'));
    t.same(await kes.decrypt('client-imp', ciphertext), Buffer.from('Hello'));
    const mac = await kes.hmac('client-imp', Buffer.from('m'));
    t.equal(mac.length, 32);
    t.same(await kes.hmac('client-imp', Buffer.from('m')), mac);
    t.notSame(await kes.hmac('client-imp', Buffer.from('n')), mac);
  });

  await t.test('reads policies and identities', async (t) => {
    t.match(await kes.describePolicy('app'), { name: 'app', createdBy: admin });
    const policy = await kes.readPolicy('app');
    t.ok(policy.allow.includes('/v1/status'));
    t.ok(policy.deny.includes('/v1/key/decrypt/app-internal*'));
    t.same(await all(kes.listPolicies()), ['app', 'empty', 'glob', 'ops', 'unassigned']);
    t.same(await all(kes.listPolicies('a')), ['app']);
    t.match(await kes.describeIdentity(app), { identity: app, admin: false, policy: 'app' });
    t.same(await all(kes.listIdentities('a9')), [app]);
    t.match(await kes.describeSelf(), { identity: admin, admin: true });
    t.match(await as('app').describeSelf(), { identity: app, admin: false, policy: 'app' });
  });

  await t.test('a caller without permission gets 403', async (t) => {
    const refusal = { name: 'ClientError', status: 403, message: 'not authorized: insufficient permissions' };
    await t.rejects(as('unknown').status(), refusal);
    await t.rejects(all(as('app').listKeys()), refusal);
    const apiKey = 'kes:v1:AD9E7FSYWrMD+VjhI6q545cYT9YOyFxZb7UnjEepYDRc';
    const stranger = createClient({ endpoints: [server.address], apiKey, insecure: true });
    t.teardown(() => stranger.close());
    await t.rejects(stranger.status(), refusal);
    t.match(await stranger.version(), { version: /./ }, 'although its certificate is accepted');
  });
});

void t.test('bodies with secrets are the JSON they should be', (t) => {
  const body = writeBase64Fields({ key: Buffer.from([0, 255]), cipher: 'AES"256', context: undefined });
  t.equal(body.toString(), '{"key":"AP8=","cipher":"AES\\"256"}');
  t.equal(writeBase64Fields({}).toString(), '{}');
  const answer = Buffer.from('{"plaintext": "AP8=", "ciphertext":"%"}');
  t.same(readBase64Field(answer, 'plaintext'), Buffer.from([0, 255]));
  t.equal(readBase64Field(answer, 'ciphertext'), undefined);
  t.equal(readBase64Field(answer, 'hmac'), undefined);
  t.equal(readBase64Field(Buffer.from('{"plaintext":"AA'), 'plaintext'), undefined);
  t.end();
});

void t.test('reads endpoints as people write them', (t) => {
  const names = (text: string) => parseEndpoint(text).origin;
  t.equal(names('kes'), 'https://kes:7373');
  t.equal(names('127.0.0.1:1'), 'https://127.0.0.1:1');
  t.equal(names('https://kes:443'), 'https://kes:443');
  t.equal(names(' https://kes/ '), 'https://kes:7373');
  t.equal(names('[::1]:7000'), 'https://[::1]:7000');
  t.equal(parseEndpoint('[::1]').host, '::1');
  t.end();
});
