import { createPrivateKey, X509Certificate } from 'node:crypto';
import { inspect } from 'node:util';
import t from 'tap';
import { certificateOf, generateApiKey, parseApiKey } from '../../src/access/api-key.ts';
import { identityOfCertificate } from '../../src/access/certificate.ts';
import { hasCode } from '../../src/errors.ts';
import { apiKeys } from '../keys/kes-vectors.ts';

const { valid, other } = apiKeys();

t.test('an API key has the identity KES gives it, with or without its prefix', (t) => {
  for (const { api_key, identity } of valid) {
    t.equal(parseApiKey(api_key).identity, identity);
    t.equal(parseApiKey(api_key.slice('kes:v1:'.length)).identity, identity);
    t.equal(parseApiKey(api_key).reveal(), api_key);
  }
  t.end();
});

t.test('odd input gets KES’s answer', (t) => {
  for (const { what, api_key, exit, stdout, stderr } of other) {
    if (exit === 0) {
      t.equal(parseApiKey(api_key).identity, stdout, what);
      continue;
    }
    let thrown: unknown;
    try {
      parseApiKey(api_key);
    } catch (error) {
      thrown = error;
    }
    t.ok(hasCode(thrown, 'SELLO_API_KEY_INVALID') && `Error: ${thrown.detail}` === stderr, what);
  }
  t.throws(
    () => parseApiKey(Buffer.alloc(33, 1).toString('base64')),
    { code: 'SELLO_API_KEY_INVALID' },
    'another kind',
  );
  t.throws(() => parseApiKey(''), { code: 'SELLO_API_KEY_INVALID' });
  t.end();
});

t.test('a generated API key reads back as itself and is never the same', (t) => {
  const [one, two] = [generateApiKey(), generateApiKey()];
  t.match(one.reveal(), /^kes:v1:[A-Za-z0-9+/]{44}$/);
  t.equal(parseApiKey(one.reveal()).identity, one.identity);
  t.not(one.identity, two.identity);
  t.end();
});

t.test('an API key cannot be printed or serialised', (t) => {
  const apiKey = generateApiKey();
  t.equal(
    `${apiKey} ${JSON.stringify(apiKey)} ${inspect(apiKey, { showHidden: true })}`,
    '[ApiKey] "[ApiKey]" [ApiKey]',
  );
  t.end();
});

t.test('the certificate of an API key is the one KES’s client makes', (t) => {
  const apiKey = parseApiKey(valid[0]!.api_key);
  const now = new Date('2026-11-23T04:00:00Z');
  const issued = certificateOf(apiKey, now);
  const certificate = new X509Certificate(issued.certificatePem);
  t.equal(identityOfCertificate(certificate), apiKey.identity);
  t.equal(issued.identity, apiKey.identity);
  t.equal(certificate.subject, `CN=${apiKey.identity}`);
  t.equal(certificate.validFromDate.getTime(), now.getTime());
  t.equal(certificate.validToDate.getTime(), now.getTime() + 90 * 86_400_000);
  t.equal(certificate.ca, false);
  t.same(certificate.keyUsage, ['1.3.6.1.5.5.7.3.2']);
  t.ok(certificate.verify(certificate.publicKey));
  t.ok(certificate.checkPrivateKey(createPrivateKey(issued.privateKeyPem)));
  t.match(issued.privateKeyPem, /^-----BEGIN PRIVATE KEY-----/);
  t.not(certificateOf(apiKey, now).serial, issued.serial);
  t.end();
});
