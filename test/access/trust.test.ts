import { X509Certificate } from 'node:crypto';
import { mkdir, readFile, symlink, writeFile } from 'node:fs/promises';
import { join, resolve } from 'node:path';
import fc from 'fast-check';
import t from 'tap';
import { readCertificate } from '../../src/access/certificate-facts.ts';
import { parseCrl } from '../../src/access/crl.ts';
import { MalformedDer } from '../../src/access/der.ts';
import { judgePeer, peerFactsOfCertificates } from '../../src/access/peer.ts';
import type { TenantClientAuth } from '../../src/access/peer.ts';
import { buildTrust, loadTrust } from '../../src/access/trust.ts';
import type { TrustSnapshot } from '../../src/access/trust.ts';
import { hasCode, SelloError } from '../../src/errors.ts';
import { crlPem, KeyUsageFlags, dayMs, extension, issue, issueCrl, newKeys, startMs } from './pki.ts';
import type { Issued } from './pki.ts';

const trusting = (certificates: Issued[], crls: Buffer[] = []) =>
  buildTrust(certificates.map(({ cert }) => readCertificate(cert)), crls.map((der) => parseCrl(der, 'test.crl'))); // prettier-ignore

function judge(
  sent: Issued[],
  trust: TrustSnapshot,
  nowMs = startMs,
  rest: Partial<TenantClientAuth> = {},
): string {
  const facts = peerFactsOfCertificates(sent.map(({ cert }) => cert));
  const auth = { auth: 'on', staleCrl: 'refuse', requireClientAuthEku: false, trust, ...rest } as const;
  const verdict = judgePeer(facts, auth, nowMs);
  return verdict.ok ? 'ok' : verdict.reason;
}

function refusal(act: () => unknown): string {
  try {
    act();
    return 'accepted';
  } catch (error) {
    return hasCode(error, 'SELLO_CONFIG_INVALID') ? (error.detail ?? '') : String(error);
  }
}

t.test('chains: direct, over an intermediate the client sends, over one in the CA file', async (t) => {
  const root = await issue('root', { isCa: true });
  const middle = await issue('middle', { isCa: true, issuer: root });
  const leaf = await issue('leaf', { issuer: middle });
  const direct = await issue('direct', { issuer: root });
  const stranger = await issue('root', { isCa: true });
  t.equal(judge([direct], trusting([root])), 'ok');
  t.equal(judge([leaf, middle], trusting([root])), 'ok');
  t.equal(judge([leaf, middle, root], trusting([root])), 'ok');
  t.equal(judge([leaf, stranger, root, middle], trusting([root])), 'ok', 'in any order, with others between');
  t.equal(judge([leaf], trusting([root])), 'issuer not trusted', 'the intermediate is missing');
  t.equal(judge([leaf], trusting([middle])), 'ok', 'an intermediate in the CA file anchors');
  t.equal(judge([leaf, middle], trusting([stranger])), 'issuer not trusted', 'same name, another key');
  t.equal(judge([leaf, middle, stranger], trusting([root])), 'ok');
  t.equal(judge([await issue('self')], trusting([root])), 'issuer not trusted');
  t.equal(judge([direct], trusting([])), 'issuer not trusted');
  const pinned = await issue('pinned');
  t.equal(
    judge([pinned], trusting([root, pinned])),
    'ok',
    'a client certificate in the CA file is trusted by itself',
  );
  t.equal(
    judge([await issue('other', { issuer: pinned })], trusting([pinned])),
    'issuer not trusted',
    'and issues nothing',
  );
});

t.test(
  'who may not issue: no CA, no certSign, a path too long, an extension we do not process',
  async (t) => {
    const root = await issue('root', { isCa: true });
    const refused = async (options: Parameters<typeof issue>[1]) => {
      const middle = await issue('middle', { isCa: true, issuer: root, ...options });
      return judge([await issue('leaf', { issuer: middle }), middle], trusting([root]));
    };
    t.equal(await refused({}), 'ok');
    t.equal(await refused({ isCa: false }), 'more than one client certificate');
    t.equal(await refused({ keyUsage: KeyUsageFlags.cRLSign }), 'issuer not trusted');
    t.equal(await refused({ keyUsage: KeyUsageFlags.keyCertSign }), 'ok');
    t.equal(
      await refused({ extensions: [extension('2.5.29.30', true, '3000')] }),
      'issuer not trusted',
      'name constraints',
    );
    t.equal(await refused({ eku: ['1.3.6.1.5.5.7.3.1'] }), 'wrong extended key usage', 'usages nest');
    t.equal(
      await refused({ signingAlgorithm: { name: 'ECDSA', namedCurve: 'P-256', hash: 'SHA-1' } }),
      'issuer not trusted',
    );

    const short = await issue('short', { isCa: true, pathLength: 0 });
    const below = await issue('below', { isCa: true, issuer: short });
    const leaf = await issue('leaf', { issuer: below });
    t.equal(
      judge([leaf, below], trusting([short])),
      'issuer not trusted',
      'pathLenConstraint 0 allows no intermediate',
    );
    t.equal(judge([await issue('leaf', { issuer: short })], trusting([short])), 'ok');
    const critical = await issue('leaf', { issuer: root, extensions: [extension('1.2.3.4', true, '0500')] });
    t.equal(judge([critical], trusting([root])), 'issuer not trusted');
    const harmless = await issue('leaf', { issuer: root, extensions: [extension('1.2.3.4', false, '0500')] });
    t.equal(judge([harmless], trusting([root])), 'ok');
    const constrained = await issue('constrained', {
      isCa: true,
      extensions: [extension('2.5.29.30', true, '3000')],
    });
    t.match(
      refusal(() => trusting([constrained])),
      /CN=constrained.*critical extension/,
    );
  },
);

t.test('a hostile bundle of certificates costs a bounded number of signatures', async (t) => {
  // Fifteen CAs of one name, each signed by the next: at every step each of them could be the issuer.
  let issuer = await issue('loop', { isCa: true });
  const bundle: Issued[] = [];
  for (let count = 0; count < 15; count += 1) {
    issuer = await issue('loop', { isCa: true, issuer });
    bundle.push(issuer);
  }
  const sent = [await issue('leaf', { issuer }), ...bundle].map(({ cert }) => cert);
  let checks = 0;
  for (const cert of sent) {
    cert.verify = (key) => {
      checks += 1;
      return X509Certificate.prototype.verify.call(cert, key);
    };
  }
  const auth = {
    auth: 'on',
    staleCrl: 'refuse',
    requireClientAuthEku: false,
    trust: trusting([await issue('loop', { isCa: true })]),
  } as const;
  const facts = peerFactsOfCertificates(sent);
  for (let request = 0; request < 3; request += 1) {
    t.match(judgePeer(facts, auth, startMs), { ok: false, reason: 'issuer not trusted' });
  }
  t.ok(checks > 16 && checks <= 32, `${checks} signatures for a connection, however many requests`);
});

t.test('dates of every link are judged at every request', async (t) => {
  const root = await issue('root', { isCa: true, notAfterMs: startMs + 20 * dayMs });
  const middle = await issue('middle', {
    isCa: true,
    issuer: root,
    notBeforeMs: startMs + 2 * dayMs,
    notAfterMs: startMs + 9 * dayMs,
  });
  const leaf = await issue('leaf', { issuer: middle });
  const direct = await issue('direct', { issuer: root, notAfterMs: startMs + 5 * dayMs });
  const trust = trusting([root]);
  const facts = peerFactsOfCertificates([leaf.cert, middle.cert]);
  const at = (days: number) => {
    const verdict = judgePeer(
      facts,
      { auth: 'on', staleCrl: 'refuse', requireClientAuthEku: false, trust },
      startMs + days * dayMs,
    );
    return verdict.ok ? 'ok' : verdict.reason;
  };
  t.same([at(1), at(2), at(9), at(9.01), at(3)],
    ['certificate not yet valid', 'ok', 'ok', 'certificate expired', 'ok'], 'on one connection'); // prettier-ignore
  t.equal(judge([direct], trust, startMs + 5 * dayMs), 'ok');
  t.equal(judge([direct], trust, startMs + 5 * dayMs + 1), 'certificate expired');
  t.equal(
    judge([direct], trust, Number.NaN),
    'certificate not yet valid',
    'a clock that tells no time refuses',
  );
});

t.test('revocation: per CA, at once with a new snapshot, also of an intermediate', async (t) => {
  const root = await issue('root', { isCa: true });
  const other = await issue('other', { isCa: true });
  const middle = await issue('middle', { isCa: true, issuer: root });
  const good = await issue('good', { issuer: root });
  const bad = await issue('bad', { issuer: root });
  const elsewhere = await issue('elsewhere', { issuer: other, serialNumber: bad.cert.serialNumber });
  const below = await issue('below', { issuer: middle });
  const list = await issueCrl(root, { revoked: [bad.cert.serialNumber, middle.cert.serialNumber] });
  const trust = trusting([root, other], [list]);
  t.equal(judge([good], trust), 'ok');
  t.equal(judge([bad], trust), 'certificate revoked');
  t.equal(
    judge([elsewhere], trust),
    'ok',
    'a CA without a CRL is not checked; the same serial of another CA is another certificate',
  );
  t.equal(judge([below, middle], trust), 'certificate revoked', 'an intermediate the client sends');
  t.equal(
    judge([below], trusting([root, middle], [list])),
    'certificate revoked',
    'an intermediate of the CA file',
  );

  const facts = peerFactsOfCertificates([bad.cert]);
  const auth = { auth: 'on', staleCrl: 'refuse', requireClientAuthEku: false } as const;
  t.equal(judgePeer(facts, { ...auth, trust: trusting([root]) }, startMs).ok, true);
  t.equal(judgePeer(facts, { ...auth, trust }, startMs).ok, false, 'the same connection after a reload');
});

t.test('a stale CRL refuses or is accepted as configured, and its entries count either way', async (t) => {
  const root = await issue('root', { isCa: true });
  const good = await issue('good', { issuer: root });
  const bad = await issue('bad', { issuer: root });
  const trust = trusting(
    [root],
    [await issueCrl(root, { revoked: [bad.cert.serialNumber], nextUpdateMs: startMs + dayMs })],
  );
  t.equal(judge([good], trust, startMs + dayMs), 'ok');
  t.equal(judge([good], trust, startMs + dayMs + 1), 'CRL is stale');
  t.equal(judge([good], trust, startMs + dayMs + 1, { staleCrl: 'accept' }), 'ok');
  t.equal(judge([bad], trust, startMs + dayMs + 1, { staleCrl: 'accept' }), 'certificate revoked');
  t.equal(
    judge([good], trusting([root], [await issueCrl(root, { thisUpdateMs: startMs + dayMs })])),
    'CRL is stale',
    'from the future',
  );
});

t.test(
  'of two CRLs of one CA the newer counts; two CAs of one name keep one each; parts add up',
  async (t) => {
    const root = await issue('root', { isCa: true });
    const bad = await issue('bad', { issuer: root });
    const older = await issueCrl(root, { revoked: [bad.cert.serialNumber] });
    const newer = await issueCrl(root, { thisUpdateMs: startMs + 1000 });
    for (const lists of [
      [older, newer],
      [newer, older],
    ])
      t.equal(judge([bad], trusting([root], lists), startMs + 1000), 'ok');
    const rolled = await issue('root', { isCa: true });
    t.equal(judge([bad], trusting([root, rolled], [older, await issueCrl(rolled, { thisUpdateMs: startMs + 1000 })]), startMs + 1000),
    'certificate revoked', 'the new list of the rolled-over CA does not replace the old CA’s'); // prettier-ignore
    const part = (text: string) =>
      extension('2.5.29.28', true, `3006a004a0028600`.replace('8600', `86${text}`));
    const one = await issueCrl(root, { revoked: [bad.cert.serialNumber], extensions: [part('00')] });
    const two = await issueCrl(root, {
      thisUpdateMs: startMs + 1000,
      extensions: [extension('2.5.29.28', true, '30030101ff'.replace('0101', '8101'))],
    });
    t.equal(judge([bad], trusting([root], [one, two]), startMs + 1000), 'certificate revoked');
  },
);

t.test('CRLs that would be half understood are refused by name', async (t) => {
  const root = await issue('root', { isCa: true });
  const entry = { revoked: ['01'] };
  const cases: [Parameters<typeof issueCrl>[1], RegExp][] = [
    [{ nextUpdateMs: null }, /test\.crl has no nextUpdate/],
    [{ extensions: [extension('2.5.29.27', true, '020101')] }, /delta CRL/],
    [{ extensions: [extension('2.5.29.28', true, '30038401ff')] }, /indirect CRL/],
    [{ extensions: [extension('2.5.29.28', true, '30038501ff')] }, /attribute certificates/],
    [{ extensions: [extension('1.2.3.4', true, '0500')] }, /critical extension/],
    [{ ...entry, entryExtensions: [extension('2.5.29.29', true, '3000')] }, /indirect CRL/],
    [{ ...entry, entryExtensions: [extension('1.2.3.4', true, '0500')] }, /entry with a critical extension/],
  ];
  for (const [options, text] of cases) {
    const der = await issueCrl(root, options);
    t.match(
      refusal(() => trusting([root], [der])),
      text,
    );
  }
  const fine = await issueCrl(root, { ...entry, extensions: [extension('2.5.29.20', false, '020107')], entryExtensions: [extension('2.5.29.21', false, '0a0101')] }); // prettier-ignore
  t.equal(
    refusal(() => trusting([root], [fine])),
    'accepted',
    'a CRL number and a reason are usual',
  );
  t.match(
    refusal(() => trusting([], [fine])),
    /no certificate of the CA file signed/,
  );
  const forged = Buffer.from(fine);
  forged[forged.length - 1]! ^= 1;
  t.match(
    refusal(() => trusting([root], [forged])),
    /no certificate of the CA file signed/,
  );
  t.match(
    refusal(() => trusting([root], [fine.subarray(0, 40)])),
    /is not a CRL/,
  );
  const mute = await issue('mute', { isCa: true, keyUsage: KeyUsageFlags.keyCertSign });
  const muted = await issueCrl(mute);
  t.match(
    refusal(() => trusting([mute], [muted])),
    /no certificate of the CA file signed/,
    'its key usage lacks cRLSign',
  );
});

t.test('lists as the openssl command writes them, for each kind of CA key', async (t) => {
  for (const kind of ['rsa', 'pss', 'p384', 'ed25519']) {
    const file = (name: string) => resolve(import.meta.dirname, '../fixtures/crl', kind, name);
    const trust = await loadTrust({ caFile: file('ca.crt'), crlFiles: [file('list.crl')] });
    const reason = async (name: string, snapshot: TrustSnapshot, nowMs = trust.crls[0]!.thisUpdateMs) => {
      const facts = peerFactsOfCertificates([new X509Certificate(await readFile(file(name)))]);
      const auth = { auth: 'on', staleCrl: 'refuse', requireClientAuthEku: true, trust: snapshot } as const;
      const verdict = judgePeer(facts, auth, nowMs);
      return verdict.ok ? 'ok' : verdict.reason;
    };
    t.equal(await reason('good.crt', trust), 'ok', kind);
    t.equal(await reason('bad.crt', trust), 'certificate revoked', kind);
    t.equal(await reason('good.crt', trust, trust.crls[0]!.nextUpdateMs + 1), 'CRL is stale', kind);
    t.equal(
      await reason('bad.crt', await loadTrust({ caFile: file('ca.crt'), crlFiles: [] })),
      'ok',
      `${kind}, unchecked`,
    );
  }
});

t.test(
  'files: a bundle, a folder as Kubernetes mounts it, PEM and DER, and what is wrong named with its file',
  async (t) => {
    const folder = t.testdir({});
    const [a, b] = [await issue('a', { isCa: true }), await issue('b', { isCa: true })];
    const list = await issueCrl(a, { revoked: ['05'] });
    await writeFile(join(folder, 'bundle.pem'), `text before\n${a.certPem}${b.certPem}${a.certPem}`);
    await writeFile(join(folder, 'a.der'), a.cert.raw);
    await writeFile(join(folder, 'list.pem'), crlPem(list));
    await writeFile(join(folder, 'list.der'), list);
    await writeFile(join(folder, 'empty.pem'), '');
    await writeFile(
      join(folder, 'broken.pem'),
      '-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n',
    );
    await mkdir(join(folder, 'mount/..data'), { recursive: true });
    await writeFile(join(folder, 'mount/..data/ca.crt'), b.certPem);
    await symlink('..data/ca.crt', join(folder, 'mount/ca.crt'));
    const load = (caFile: string, ...crlFiles: string[]) =>
      loadTrust({ caFile: join(folder, caFile), crlFiles: crlFiles.map((file) => join(folder, file)) });
    const names = (trust: TrustSnapshot) => trust.anchors.map((each) => each.x509.subject);
    t.same(names(await load('bundle.pem')), ['CN=a', 'CN=b']);
    t.same(names(await load('a.der')), ['CN=a']);
    t.same(names(await load('mount')), ['CN=b']);
    for (const file of ['list.pem', 'list.der']) {
      t.same([...(await load('bundle.pem', file)).crls[0]!.revoked], ['05']);
    }
    for (const [caFile, crlFile, text] of [
      ['none.pem', 'list.pem', /none\.pem cannot be read/],
      ['empty.pem', 'list.pem', /empty\.pem holds no certificate/],
      ['broken.pem', 'list.pem', /broken\.pem holds a malformed certificate/],
      ['bundle.pem', 'empty.pem', /empty\.pem holds no CRL/],
      ['bundle.pem', 'none.pem', /none\.pem cannot be read/],
      ['mount', 'list.pem', /list\.pem: no certificate of the CA file signed/],
    ] as const) {
      await t.rejects(load(caFile, crlFile), { code: 'SELLO_CONFIG_INVALID', detail: text });
    }
    t.ok(
      (await loadTrust({ caFile: undefined, crlFiles: [] })).anchors.every((each) => each.isCa),
      'system roots',
    );
  },
);

/** DER of constructed values, for a list larger than a generator makes in reasonable time. */
function der(tag: number, ...contents: Buffer[]): Buffer {
  const content = Buffer.concat(contents);
  if (content.length < 0x80) return Buffer.concat([Buffer.from([tag, content.length]), content]);
  const length = Buffer.alloc(4);
  length.writeUInt32BE(content.length);
  const start = length.findIndex((byte) => byte !== 0);
  return Buffer.concat([Buffer.from([tag, 0x80 + 4 - start]), length.subarray(start), content]);
}

t.test('a list of 100,000 revocations is read in well under a second', async (t) => {
  const time = der(0x17, Buffer.from('260101000000Z'));
  const algorithm = der(0x30, der(0x06, Buffer.from('2b6570', 'hex')));
  const entries = Array.from({ length: 100_000 }, (_, index) => {
    const serial = Buffer.alloc(5);
    serial.writeUInt32BE(index, 1);
    serial[0] = 1;
    return der(0x30, der(0x02, serial), time);
  });
  const tbs = der(0x30, der(0x02, Buffer.from([1])), algorithm, der(0x30), time, time, der(0x30, ...entries));
  const list = der(0x30, tbs, algorithm, der(0x03, Buffer.alloc(65)));
  const startedMs = performance.now();
  const { revoked } = parseCrl(list, 'big');
  t.ok(performance.now() - startedMs < 2000);
  t.equal(revoked.size, 100_000);
  t.ok(revoked.has('010001869f'));
});

t.test('property: damaged certificates and CRLs end in an error of ours, never in another', async (t) => {
  const keys = await newKeys();
  const { cert } = await issue('x', {
    keys,
    isCa: true,
    pathLength: 1,
    eku: ['1.3.6.1.5.5.7.3.2'],
    keyUsage: 6,
  });
  const crl = await issueCrl(await issue('x', { keys }), { revoked: ['01', '0200'] });
  const damage = fc.array(fc.tuple(fc.nat(2000), fc.nat(255)), { minLength: 1, maxLength: 4 });
  let refused = 0;
  fc.assert(
    fc.property(damage, fc.boolean(), (changes, isCertificate) => {
      const bytes = Buffer.from(isCertificate ? cert.raw : crl);
      for (const [at, value] of changes) bytes[at % bytes.length] = value;
      try {
        if (isCertificate) readCertificate({ raw: bytes } as X509Certificate);
        else parseCrl(bytes, 'damaged');
      } catch (error) {
        refused += 1;
        return error instanceof MalformedDer || error instanceof SelloError;
      }
      return true;
    }),
    { numRuns: 3000 },
  );
  t.ok(refused > 500, 'much of it was refused');
});
