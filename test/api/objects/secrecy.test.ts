/** A customer's key is found nowhere after its request: logs at trace, records, metrics, files, the heap after a collection. */
import { fork } from 'node:child_process';
import { randomBytes } from 'node:crypto';
import { once } from 'node:events';
import { readFileSync, readdirSync, statSync } from 'node:fs';
import path from 'node:path';
import t from 'tap';
import { askHttp1, Session } from '../../attacks/client.ts';
import { copySource, customerHeaders, objectsYaml, ObjectSite, sealAt } from './site.ts';

/** Every form in which a key could be written. */
function formsOf(key: Buffer): Buffer[] {
  const texts = [key.toString('base64'), key.toString('base64url'), key.toString('hex')];
  return [key, ...texts.map((text) => Buffer.from(text.slice(0, 40)))];
}

function filesBelow(folder: string): string[] {
  return readdirSync(folder, { recursive: true, encoding: 'utf8' })
    .map((name) => path.join(folder, name))
    .filter((file) => statSync(file).isFile());
}

t.test('no file, no metric, no answer has it', async (t) => {
  const site = new ObjectSite();
  t.teardown(() => site.remove());
  await site.begin(objectsYaml, {}, 'log: {level: trace}\nlimits: {}\n');
  const canaries: Buffer[] = [];
  const keys = () => {
    const key = randomBytes(32);
    canaries.push(key);
    return key;
  };
  const answers: string[] = [];
  const where = { bucket: 'customer' };
  const key = keys();
  const { envelope, sealed } = await sealAt(site, Buffer.from('x'), where, customerHeaders(key));
  const ask = async (
    route: string,
    headers: Record<string, string>,
    body: Buffer | string = '',
    place = {},
  ) => {
    const answer = await site.post(
      route,
      { ...where, ...place },
      { 'x-sello-envelope': envelope, ...headers },
      body,
    );
    answers.push(JSON.stringify(answer.headers) + answer.body.toString('latin1'));
    const over1 = await site.post1(
      route,
      { ...where, ...place },
      { 'x-sello-envelope': envelope, ...headers },
      body,
    );
    answers.push(JSON.stringify(over1.headers) + over1.body.toString('latin1'));
  };
  await ask('open', customerHeaders(key), sealed);
  await ask('open', customerHeaders(keys()), sealed);
  await ask(
    'open',
    { ...customerHeaders(keys()), 'x-amz-server-side-encryption-customer-key-md5': 'AAAA' },
    sealed,
  );
  await ask('seal', customerHeaders(keys()), 'x', { bucket: 'photos' });
  await ask('seal', { ...customerHeaders(keys()), 'x-amz-server-side-encryption': 'AES256' }, 'x');
  await ask('reseal', { ...customerHeaders(keys()), ...customerHeaders(key, copySource) }, '', {
    object: 'c',
    'source-bucket': 'customer',
    'source-object': 'cats/1.jpg',
  });
  await ask('nothing', customerHeaders(keys()));
  answers.push((await site.server.info.metrics.text()).body);
  t.ok(canaries.length > 6);
  const found: string[] = [];
  const files = filesBelow(site.folder);
  t.ok(
    files.some((file) => file.endsWith('sello.log')) && files.some((file) => file.endsWith('alpha.jsonl')),
  );
  for (const canary of canaries) {
    for (const form of formsOf(canary)) {
      for (const file of files) if (readFileSync(file).includes(form)) found.push(file);
      for (const answer of answers)
        if (answer.includes(form.toString('latin1'))) found.push(answer.slice(0, 60));
    }
  }
  t.same(found, []);
});

t.test('after a collection the heap has none, and the copies in memory are few and counted', async (t) => {
  const child = fork(path.join(import.meta.dirname, 'secrecy-server.ts'), [], { execArgv: ['--expose-gc'] });
  t.teardown(() => child.kill());
  const [ready] = (await once(child, 'message')) as [
    { port: number; cert: string; key: string; folder: string },
  ];
  const target = { port: ready.port, credentials: { cert: ready.cert, key: ready.key } };
  const keys = Array.from({ length: 20 }, () => randomBytes(32));
  const session = await Session.open(target);
  const path1 = '/objects/v1/seal?bucket=customer&object=a';
  for (const key of keys) {
    const sealed = await session.ask({
      method: 'POST',
      path: path1,
      headers: customerHeaders(key),
      body: 'hello',
    });
    t.equal(sealed.status, 200);
    await askHttp1(target, { method: 'POST', path: path1, headers: customerHeaders(key), body: 'hello' });
  }
  // What comes later overwrites what nobody holds any more.
  for (let i = 0; i < 200; i++)
    await session.ask({ method: 'POST', path: path1, headers: customerHeaders(randomBytes(32)), body: 'x' });
  session.close();
  // The child gets the keys masked, so that asking for them does not put them into its memory.
  child.send(keys.map((key) => Buffer.from(key.map((byte) => byte ^ 0x5a)).toString('hex')));
  const [counts] = (await once(child, 'message')) as [
    { heap: number; raw: number; control: number; text: number },
  ];
  t.equal(counts.heap, 1, 'heap snapshot: the control that is held on purpose, and no other');
  t.comment(
    `of ${keys.length} keys in the process's memory: ${counts.raw - counts.control} as bytes, ${counts.text} places with base64`,
  );
  t.ok(counts.control >= 1, 'the control is found as bytes');
  t.equal(counts.raw, counts.control, 'and no key is');
});
