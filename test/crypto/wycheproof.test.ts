import t from 'tap';
import {
  aeadOpen,
  aeadSealInto,
  aeadTagBytes,
  equalSecrets,
  hchacha20,
  hkdfSha256,
  hmacSha256,
  PreparedHmac,
  type Aead,
} from '../../src/crypto/index.ts';
import { hex, wycheproof, wycheproofMissing, type WycheproofTest } from './wycheproof-files.ts';

type Open = (key: Buffer, nonce: Buffer, aad: Buffer, sealed: Buffer) => Buffer | undefined;
type Seal = (key: Buffer, nonce: Buffer, aad: Buffer, plaintext: Buffer) => Buffer;

function agrees(test: WycheproofTest, seal: Seal, open: Open): boolean {
  const [key, nonce, aad] = [hex(test, 'key'), hex(test, 'iv'), hex(test, 'aad')];
  const sealed = Buffer.concat([hex(test, 'ct'), hex(test, 'tag')]);
  const plaintext = hex(test, 'msg');
  const opened = open(key, nonce, aad, sealed);
  if (test.result === 'invalid') return opened === undefined;
  return opened?.equals(plaintext) === true && seal(key, nonce, aad, plaintext).equals(sealed);
}

function sealerOf(aead: Aead): Seal {
  return (key, nonce, aad, plaintext) => {
    const target = Buffer.alloc(plaintext.length + aeadTagBytes);
    aeadSealInto(target, 0, aead, key, nonce, aad, plaintext);
    return target;
  };
}

function openerOf(aead: Aead): Open {
  return (key, nonce, aad, sealed) => aeadOpen(aead, key, nonce, aad, sealed);
}

const options = { skip: wycheproofMissing };

t.test('AES-256-GCM agrees with Wycheproof', options, (t) => {
  const groups = wycheproof('aes_gcm').filter(({ keySize, ivSize }) => keySize === 256 && ivSize === 96);
  const tests = groups.flatMap(({ tests }) => tests);
  t.ok(tests.length > 50, `${tests.length} cases`);
  for (const test of tests) {
    t.ok(agrees(test, sealerOf('aes-256-gcm'), openerOf('aes-256-gcm')), `${test.tcId} ${test.comment}`);
  }
  t.end();
});

t.test('ChaCha20-Poly1305 agrees with Wycheproof', options, (t) => {
  const tests = wycheproof('chacha20_poly1305').flatMap(({ tests }) => tests);
  t.ok(tests.length > 300, `${tests.length} cases`);
  for (const test of tests) {
    t.ok(
      agrees(test, sealerOf('chacha20-poly1305'), openerOf('chacha20-poly1305')),
      `${test.tcId} ${test.comment}`,
    );
  }
  t.end();
});

t.test('HChaCha20 with ChaCha20-Poly1305 makes the XChaCha20-Poly1305 of Wycheproof', options, (t) => {
  // XChaCha20 (draft-irtf-cfrg-xchacha-03 §2.3): subkey from the first 16 bytes of the nonce, the other 8 after 4 zeros.
  const inner = (nonce: Buffer) => Buffer.concat([Buffer.alloc(4), nonce.subarray(16)]);
  const seal: Seal = (key, nonce, aad, plaintext) =>
    sealerOf('chacha20-poly1305')(hchacha20(key, nonce.subarray(0, 16)), inner(nonce), aad, plaintext);
  const open: Open = (key, nonce, aad, sealed) =>
    nonce.length === 24
      ? openerOf('chacha20-poly1305')(hchacha20(key, nonce.subarray(0, 16)), inner(nonce), aad, sealed)
      : undefined;
  const tests = wycheproof('xchacha20_poly1305').flatMap(({ tests }) => tests);
  t.ok(tests.length > 300, `${tests.length} cases`);
  for (const test of tests) t.ok(agrees(test, seal, open), `${test.tcId} ${test.comment}`);
  t.end();
});

t.test('HMAC-SHA256 agrees with Wycheproof, prepared or not', options, (t) => {
  for (const group of wycheproof('hmac_sha256')) {
    for (const test of group.tests) {
      const [key, message, tag] = [hex(test, 'key'), hex(test, 'msg'), hex(test, 'tag')];
      const length = (group['tagSize'] as number) / 8;
      const expected = test.result === 'valid';
      const plain = hmacSha256(key, message).subarray(0, length);
      t.equal(equalSecrets(plain, tag), expected, `${test.tcId} ${test.comment}`);
      if (key.length > 64) continue;
      const prepared = new PreparedHmac(key, message.length).digest(message).subarray(0, length);
      t.equal(equalSecrets(prepared, tag), expected, `${test.tcId} prepared`);
    }
  }
  t.end();
});

t.test('HKDF-SHA256 agrees with Wycheproof', options, (t) => {
  for (const test of wycheproof('hkdf_sha256').flatMap(({ tests }) => tests)) {
    const derive = () =>
      hkdfSha256(hex(test, 'ikm'), hex(test, 'salt'), hex(test, 'info'), test['size'] as number);
    if (test.result === 'invalid') t.throws(derive, `${test.tcId} ${test.comment}`);
    else t.ok(derive().equals(hex(test, 'okm')), `${test.tcId} ${test.comment}`);
  }
  t.end();
});
