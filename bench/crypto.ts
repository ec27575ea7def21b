/**
 * What issuing and unwrapping a data key costs, without any server: `node bench/crypto.ts [seconds per row]`.
 * Each row runs against the obvious way to write it (createHmac, KeyObject, randomBytes, base64 strings) in turns
 * within one process, because machines differ from minute to minute. Collections of the young generation are
 * counted: they make the tail of a server's latency.
 */
import { createCipheriv, createDecipheriv, createHmac, createSecretKey, randomBytes } from 'node:crypto';
import { PerformanceObserver } from 'node:perf_hooks';
import { setTimeout as pause } from 'node:timers/promises';
import { decodeBase64, encodeBase64Into } from '../src/crypto/index.ts';
import { issueDataKey, MasterKey, open, zeroInstant, type KeyAlgorithm } from '../src/keys/index.ts';

const secondsPerRow = Number(process.argv[2] ?? 1);
const rounds = 3;
const callsPerTurn = 500;
/** Collections are reported some turns after they happened. */
const settleMs = 20;
const keyBytes = randomBytes(32);
const context = Buffer.from('{"bucket":"bucket/a/rather/ordinary/object.bin"}');

let collections = 0;
let collectionMs = 0;
new PerformanceObserver((list) => {
  for (const entry of list.getEntries()) {
    collections++;
    collectionMs += entry.duration;
  }
}).observe({ entryTypes: ['gc'] });

function naiveIssue(): { plaintext: Buffer; ciphertext: Buffer } {
  const plaintext = randomBytes(32);
  const salt = randomBytes(16);
  const nonce = randomBytes(12);
  const messageKey = createSecretKey(createHmac('sha256', createSecretKey(keyBytes)).update(salt).digest());
  const cipher = createCipheriv('aes-256-gcm', messageKey, nonce, { authTagLength: 16 });
  cipher.setAAD(context);
  const sealed = [cipher.update(plaintext), cipher.final(), cipher.getAuthTag(), salt, nonce];
  return { plaintext, ciphertext: Buffer.concat(sealed) };
}

function naiveOpen(ciphertext: Buffer): Buffer {
  const end = ciphertext.length - 28;
  const salt = ciphertext.subarray(end, end + 16);
  const messageKey = createSecretKey(createHmac('sha256', createSecretKey(keyBytes)).update(salt).digest());
  const decipher = createDecipheriv('aes-256-gcm', messageKey, ciphertext.subarray(end + 16), {
    authTagLength: 16,
  });
  decipher.setAAD(context);
  decipher.setAuthTag(ciphertext.subarray(end - 16, end));
  return Buffer.concat([decipher.update(ciphertext.subarray(0, end - 16)), decipher.final()]);
}

function naiveIssueResponse(): Buffer {
  const { plaintext, ciphertext } = naiveIssue();
  return Buffer.from(
    JSON.stringify({ plaintext: plaintext.toString('base64'), ciphertext: ciphertext.toString('base64') }),
  );
}

const beforePlaintext = Buffer.from('{"plaintext":"');
const beforeCiphertext = Buffer.from('","ciphertext":"');
const afterCiphertext = Buffer.from('"}\n');

function issueResponse(key: MasterKey): Buffer {
  const { plaintext, ciphertext } = issueDataKey(key, context);
  const body = Buffer.allocUnsafeSlow(beforePlaintext.length + 44 + beforeCiphertext.length + 104 + 3);
  body.set(beforePlaintext, 0);
  let at = encodeBase64Into(body, beforePlaintext.length, plaintext);
  plaintext.fill(0);
  body.set(beforeCiphertext, at);
  at = encodeBase64Into(body, at + beforeCiphertext.length, ciphertext);
  body.set(afterCiphertext, at);
  return body;
}

interface Row {
  readonly name: string;
  readonly run: () => unknown;
  best: number;
  collections: number;
  collectionMs: number;
  calls: number;
}

const rows: Row[] = [];
function row(name: string, run: () => unknown): void {
  rows.push({ name, run, best: 0, collections: 0, collectionMs: 0, calls: 0 });
}

const keyFor = (algorithm: KeyAlgorithm) =>
  new MasterKey(keyBytes, keyBytes, { algorithm, createdAt: zeroInstant, createdBy: '' });
const aes = keyFor('AES256');
const chacha = keyFor('ChaCha20');
const ciphertext = issueDataKey(aes, context).ciphertext;
const chachaCiphertext = issueDataKey(chacha, context).ciphertext;
const encoded = Buffer.from(ciphertext.toString('base64'));
const encodedText = encoded.toString();
const target = Buffer.alloc(200);

row('issue AES256', () => {
  issueDataKey(aes, context).plaintext.fill(0);
});
row('issue AES256, naive', naiveIssue);
row('unwrap AES256', () => {
  open(aes, ciphertext, context).fill(0);
});
row('unwrap AES256, naive', () => naiveOpen(ciphertext));
row('issue ChaCha20', () => {
  issueDataKey(chacha, context).plaintext.fill(0);
});
row('unwrap ChaCha20', () => {
  open(chacha, chachaCiphertext, context).fill(0);
});
row('issue AES256 and its JSON body', () => issueResponse(aes));
row('issue AES256 and its JSON body, naive', naiveIssueResponse);
row('base64 of 76 bytes', () => encodeBase64Into(target, 0, ciphertext));
row('base64 of 76 bytes, by a string', () => target.write(ciphertext.toString('base64'), 0, 'latin1'));
row('76 bytes from base64, pooled', () => decodeBase64(encoded, 0, encoded.length, 'pooled'));
row('76 bytes from base64, own memory', () => decodeBase64(encoded, 0, encoded.length));
row('76 bytes from base64, by a string', () => Buffer.from(encoded.toString('latin1'), 'base64'));
row('76 bytes from base64, of a string', () => Buffer.from(encodedText, 'base64'));

for (let round = -1; round < rounds; round++) {
  for (const entry of rows) {
    await pause(settleMs);
    const [collectionsBefore, collectionMsBefore] = [collections, collectionMs];
    const forMs = (round < 0 ? 0.2 : secondsPerRow / rounds) * 1000;
    const start = performance.now();
    let calls = 0;
    let elapsedMs = 0;
    while (elapsedMs < forMs) {
      for (let i = 0; i < callsPerTurn; i++) entry.run();
      calls += callsPerTurn;
      elapsedMs = performance.now() - start;
    }
    await pause(settleMs);
    if (round < 0) continue; // warming up
    entry.best = Math.max(entry.best, calls / (elapsedMs / 1000));
    entry.calls += calls;
    entry.collections += collections - collectionsBefore;
    entry.collectionMs += collectionMs - collectionMsBefore;
  }
}

console.log(
  `node ${process.version}, best of ${rounds} rounds of ${(secondsPerRow / rounds).toFixed(2)} s\n`,
);
console.log('| operation | per second | ns | collections per 100,000 | collecting, ms per 100,000 |');
console.log('| --- | ---: | ---: | ---: | ---: |');
for (const entry of rows) {
  const per = 100_000 / entry.calls;
  console.log(
    `| ${entry.name} | ${Math.round(entry.best).toLocaleString('en')} | ${(1e9 / entry.best).toFixed(0)} | ` +
      `${(entry.collections * per).toFixed(1)} | ${(entry.collectionMs * per).toFixed(0)} |`,
  );
}
