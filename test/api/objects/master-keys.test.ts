/** What becomes of objects when their master keys are disabled, end, or get newer versions. */
import { randomBytes } from 'node:crypto';
import t, { type Test as TapTest } from 'tap';
import { parseKeyName } from '../../../src/keys/index.ts';
import { parseEnvelope } from '../../../src/formats/index.ts';
import { versionOfCiphertext } from '../../../src/keys/tenant-keys.ts';
import type { Answer } from '../../attacks/client.ts';
import { codeOf, objectsYaml, ObjectSite, sealAt, type SealedAnswer, type Where } from './site.ts';

const sse = 'x-amz-server-side-encryption';
const app1 = parseKeyName('app-1');
const asked = { [sse]: 'aws:kms', [`${sse}-aws-kms-key-id`]: 'app-1' };

async function siteOf(t: TapTest): Promise<ObjectSite> {
  const site = new ObjectSite();
  t.teardown(() => site.remove());
  return site.begin(objectsYaml);
}

function keysOf(site: ObjectSite) {
  return site.server.runtime.tenants.get('alpha')!.keys;
}

/** Version of the master key that an envelope's data key is under. */
function versionOf(envelope: string): number {
  return versionOfCiphertext(parseEnvelope(Buffer.from(envelope, 'base64url')).wrappedKey);
}

const openAt = (
  site: ObjectSite,
  where: Where,
  { envelope, sealed }: Pick<SealedAnswer, 'envelope' | 'sealed'>,
) => site.post('open', where, { 'x-sello-envelope': envelope }, sealed);
const rewrap = (site: ObjectSite, where: Where, envelope: string): Promise<Answer> =>
  site.post('reseal', { ...where, rewrap: 'true' }, { 'x-sello-envelope': envelope });
const envelopeOf = (answer: Answer): string => String(answer.headers['x-sello-envelope']);

t.test('a key that is disabled, or will be deleted, is what S3 says of it', async (t) => {
  const site = await siteOf(t);
  const keys = keysOf(site);
  const made = await sealAt(site, Buffer.from('hello'), {}, asked);
  const item = JSON.stringify({ bucket: 'photos', object: 'a', mode: 'sse-kms', key: 'app-1' });
  for (const [change, back, code] of [
    [{ kind: 'disable' }, [{ kind: 'enable' }], 'KMS.DisabledException'],
    [
      { kind: 'schedule-deletion', wait: 30 * 86_400 },
      [{ kind: 'cancel-deletion' }, { kind: 'enable' }],
      'KMS.KMSInvalidStateException',
    ],
  ] as const) {
    await keys.change(app1, change, 'test');
    const answers = {
      seal: await site.post('seal', {}, asked, 'x'),
      open: await openAt(site, {}, made),
      'open over HTTP/1.1': await site.post1('open', {}, { 'x-sello-envelope': made.envelope }, made.sealed),
      begin: await site.post('multipart/begin', {}, asked),
      reseal: await site.post(
        'reseal',
        { object: 'copy', 'source-bucket': 'photos', 'source-object': 'cats/1.jpg' },
        { 'x-sello-envelope': made.envelope },
      ),
      rewrap: await rewrap(site, {}, made.envelope),
      issue: await site.ask({ method: 'POST', path: '/objects/v1/keys/issue', body: item }),
    };
    for (const [what, answer] of Object.entries(answers)) {
      t.equal(answer.status, 400, `${what}, ${change.kind}`);
      t.equal(codeOf(answer), code, `${what}, ${change.kind}`);
    }
    for (const again of back) await keys.change(app1, again, 'test');
    t.equal((await openAt(site, {}, made)).body.toString(), 'hello', 'and enabled again it opens');
  }
});

for (const [what, where, headers, keyName] of [
  ['SSE-KMS', {}, asked, 'app-1'],
  ['SSE-S3', {}, { [sse]: 'AES256' }, 'sse-key'],
  ['a bucket key', { bucket: 'shared' }, {}, 'sse-key'],
] as const) {
  t.test(`rewrap takes the newest version, and the old one can end: ${what}`, async (t) => {
    const site = await siteOf(t);
    const keys = keysOf(site);
    const name = parseKeyName(keyName);
    const message = randomBytes(200_000);
    const { envelope, sealed } = await sealAt(site, message, where, headers);
    t.equal(versionOf(envelope), 1);
    await keys.rotate(name, 'test');
    t.ok((await openAt(site, where, { envelope, sealed })).body.equals(message), 'what is old still opens');
    const again = await rewrap(site, where, envelope);
    t.equal(again.status, 200);
    const fresh = envelopeOf(again);
    t.equal(versionOf(fresh), 2);
    await keys.change(name, { kind: 'set-min-decryption-version', version: 2 }, 'test');
    t.ok(
      (await openAt(site, where, { envelope: fresh, sealed })).body.equals(message),
      'the same sealed bytes',
    );
    // A bucket's data key in memory serves for some seconds more.
    if (what === 'a bucket key') return;
    t.equal(
      codeOf(await openAt(site, where, { envelope, sealed })),
      'KMS.KMSInvalidStateException',
      'the old envelope',
    );
    t.equal(
      versionOf((await sealAt(site, message, where, headers)).envelope),
      2,
      'and what is new is under it',
    );
  });
}

t.test('a version that opens for rewrapping alone opens for that', async (t) => {
  const site = await siteOf(t);
  const keys = keysOf(site);
  const message = randomBytes(1000);
  const { envelope, sealed } = await sealAt(site, message, {}, asked);
  await keys.rotate(app1, 'test');
  await keys.change(app1, { kind: 'set-version', version: 1, state: 'compromised' }, 'test');
  t.equal(
    (await openAt(site, {}, { envelope, sealed })).status,
    200,
    'compromised alone: opens, with an alarm',
  );
  await keys.change(app1, { kind: 'set-rewrap-only', on: true }, 'test');
  t.equal(codeOf(await openAt(site, {}, { envelope, sealed })), 'KMS.KMSInvalidStateException');
  const copy = await site.post(
    'reseal',
    { object: 'copy', 'source-bucket': 'photos', 'source-object': 'cats/1.jpg' },
    { 'x-sello-envelope': envelope },
  );
  t.equal(codeOf(copy), 'KMS.KMSInvalidStateException', 'a copy is not a rewrap');
  const again = await rewrap(site, {}, envelope);
  t.equal(again.status, 200);
  t.ok((await openAt(site, {}, { envelope: envelopeOf(again), sealed })).body.equals(message));
});
