import fc from 'fast-check';
import { readFileSync } from 'node:fs';
import { resolve } from 'node:path';
import { X509Certificate } from 'node:crypto';
import t from 'tap';
import { forwardedAddress, parseClientCertificateHeader } from '../../src/access/proxy-header.ts';
import { SelloError } from '../../src/errors.ts';

const file = (name: string) => readFileSync(resolve(import.meta.dirname, '../fixtures/pki', name));
const pem = file('admin.crt').toString();
const der = new X509Certificate(pem).raw;
/** As NGINX: everything but unreserved characters. */
const escaped = (text: string) =>
  encodeURIComponent(text).replaceAll(/[!'()*]/g, (c) => `%${c.charCodeAt(0).toString(16)}`);

function message(value: Parameters<typeof parseClientCertificateHeader>[0]): string {
  try {
    return parseClientCertificateHeader(value).subject;
  } catch (error) {
    return error instanceof SelloError ? error.message : String(error);
  }
}

t.test('reads what NGINX, HAProxy, Go and RFC 9440 write', async (t) => {
  t.ok(der.toString('base64').includes('+'), 'the fixture has the character that KES lost');
  t.equal(message(escaped(pem)), 'CN=admin', 'NGINX $ssl_client_escaped_cert');
  t.equal(message(escaped(pem.trimEnd())), 'CN=admin');
  t.equal(message(escaped(pem).replaceAll('%20', '+')), 'CN=admin', 'form encoding: Go QueryEscape');
  t.equal(message(encodeURI(pem)), 'CN=admin', 'an encoder that leaves + and / alone');
  t.equal(message(escaped(pem.replaceAll('\n', '\r\n'))), 'CN=admin');
  t.equal(message(der.toString('base64')), 'CN=admin', 'HAProxy %[ssl_c_der,base64]');
  t.equal(message(`:${der.toString('base64')}:`), 'CN=admin', 'RFC 9440');
  t.equal(message([der.toString('base64')]), 'CN=admin');
});

t.test('refuses in the words of KES', async (t) => {
  const none = 'no client certificate is present';
  const many = 'too many client certificates are present';
  const bad = 'invalid client certificate';
  const base64 = der.toString('base64');
  const cases: [Parameters<typeof message>[0], string][] = [
    [undefined, none],
    ['', none],
    ['  ', none],
    [[], none],
    [[base64, base64], many],
    [`${base64}, ${base64}`, many],
    [escaped(pem + pem), many],
    [escaped(pem + file('second.crt').toString()), many],
    ['hello', bad],
    ['%', bad],
    ['%zz', bad],
    [':', bad],
    ['::', bad],
    [`:${base64}`, bad],
    [base64.replaceAll('+', ' '), bad],
    [base64.slice(0, -8), bad],
    [Buffer.concat([der, Buffer.from([0])]).toString('base64'), bad],
    [escaped(`${pem}rest`), bad],
    [escaped(`rest${pem}`), bad],
    [escaped(pem.replaceAll('CERTIFICATE', 'PRIVATE KEY')), bad],
    [escaped(file('admin.key').toString()), bad],
    ['A'.repeat(16 * 1024 + 4), bad],
  ];
  for (const [value, text] of cases) t.equal(message(value), text, String(value).slice(0, 40));
});

t.test('property: no header makes it fail otherwise', async () => {
  fc.assert(
    fc.property(fc.oneof(fc.string(), fc.base64String(), fc.string().map((text) => `%${text}`)), (value) => {
      try {
        parseClientCertificateHeader(value);
      } catch (error) {
        return error instanceof SelloError;
      }
      return true;
    }),
    { numRuns: 2000 },
  ); // prettier-ignore
});

t.test('the forwarded address is the first element and an IP address, or nothing', async (t) => {
  t.equal(forwardedAddress('192.0.2.7, 10.0.0.1'), '192.0.2.7');
  t.equal(forwardedAddress(' 2001:db8::1 '), '2001:db8::1');
  t.equal(forwardedAddress(['192.0.2.7', '10.0.0.1']), '192.0.2.7');
  for (const value of [
    undefined,
    '',
    'unknown',
    '192.0.2.7:80',
    'x, 192.0.2.7',
    ', 192.0.2.7',
    '1.2.3',
    [],
  ]) {
    t.equal(forwardedAddress(value), undefined, String(value));
  }
});
