/** What stays in the memory of the process after secrets were wiped: looked for in /proc/self/mem. */
import { closeSync, openSync, readFileSync, readSync } from 'node:fs';
import { setFlagsFromString } from 'node:v8';
import { runInNewContext } from 'node:vm';
import t from 'tap';
import { encodeBase64 } from '../../src/crypto/index.ts';
import {
  formatStoredKey,
  issueDataKey,
  MasterKey,
  open,
  parseStoredKey,
  zeroInstant,
} from '../../src/keys/index.ts';

const mask = 0xa5;
/** Found with indexOf; too short to count as a copy of the secret, so it may lie in memory itself. */
const prefixBytes = 4;
const chunkBytes = 1 << 20;

/** A secret to look for, kept masked so that the search does not find itself. */
interface Needle {
  readonly what: string;
  readonly prefix: Buffer;
  readonly masked: Buffer;
}

function needle(what: string, secret: Buffer): Needle {
  const masked = Buffer.allocUnsafeSlow(secret.length);
  for (let i = 0; i < secret.length; i++) masked[i] = secret[i]! ^ mask;
  const prefix = Buffer.allocUnsafeSlow(prefixBytes);
  secret.copy(prefix, 0, 0, prefixBytes);
  return { what, prefix, masked };
}

function isAt(chunk: Buffer, at: number, { masked }: Needle): boolean {
  for (let i = 0; i < masked.length; i++) if ((chunk[at + i]! ^ mask) !== masked[i]) return false;
  return true;
}

/** Names of the needles found in writable memory, one entry per copy. */
function copiesInMemory(needles: readonly Needle[]): string[] {
  const found: string[] = [];
  const overlap = Math.max(...needles.map(({ masked }) => masked.length)) - 1;
  const chunk = Buffer.alloc(chunkBytes + overlap);
  const memory = openSync('/proc/self/mem', 'r');
  for (const line of readFileSync('/proc/self/maps', 'utf8').split('\n')) {
    const match = /^([0-9a-f]+)-([0-9a-f]+) rw/.exec(line);
    if (match === null) continue;
    const [start, end] = [Number.parseInt(match[1]!, 16), Number.parseInt(match[2]!, 16)];
    for (let at = start; at < end; at += chunkBytes) {
      let length: number;
      try {
        length = readSync(memory, chunk, 0, Math.min(chunk.length, end - at), at);
      } catch {
        continue; // reserved but not backed
      }
      const view = chunk.subarray(0, length);
      for (const candidate of needles) {
        let hit = view.indexOf(candidate.prefix);
        while (hit >= 0 && hit + candidate.masked.length <= length) {
          if (hit < chunkBytes && isAt(view, hit, candidate)) found.push(candidate.what);
          hit = view.indexOf(candidate.prefix, hit + 1);
        }
      }
      chunk.fill(0);
    }
  }
  closeSync(memory);
  return found;
}

setFlagsFromString('--expose-gc');
const collectGarbage = runInNewContext('gc') as () => void;
const context = Buffer.from('{"bucket":"bucket/object"}');

t.test(
  'wiped data keys and master keys leave no copy in memory',
  { skip: process.platform !== 'linux' },
  (t) => {
    for (const algorithm of ['AES256', 'ChaCha20'] as const) {
      const needles: Needle[] = [];
      const made = MasterKey.generate({ algorithm, createdAt: zeroInstant, createdBy: '' });
      const stored = formatStoredKey(made);
      const key = parseStoredKey(stored);
      for (let i = 0; i < 5000; i++) {
        const { plaintext, ciphertext } = issueDataKey(key, context);
        const opened = open(key, ciphertext, context);
        if (i % 1000 === 999) {
          const text = encodeBase64(plaintext);
          needles.push(needle(`data key ${i}`, plaintext), needle(`data key ${i} as base64`, text));
          text.fill(0);
        }
        plaintext.fill(0);
        opened.fill(0);
      }
      key.lend((bytes, macKey) => needles.push(needle('master key', bytes), needle('HMAC key', macKey!)));
      needles.push(needle('stored key', stored));
      const found = new Set(copiesInMemory(needles));
      t.ok(
        found.has('master key') && found.has('stored key'),
        'the search finds what has not been wiped yet',
      );
      stored.fill(0);
      made.wipe();
      key.wipe();
      collectGarbage(); // cipher contexts hold message keys until they are collected
      t.same(copiesInMemory(needles), [], algorithm);
    }
    t.end();
  },
);
