/** A server of its own process that looks through its memory for keys. Masked keys come in, counts go out. */
import { closeSync, openSync, readFileSync, readSync, rmSync } from 'node:fs';
import { setTimeout as wait } from 'node:timers/promises';
import { randomBytes } from 'node:crypto';
import v8 from 'node:v8';
import { ObjectSite } from './site.ts';
import { credentialsOf } from '../../attacks/pki.ts';

const site = await new ObjectSite().begin();
process.on('exit', () => rmSync(site.folder, { recursive: true, force: true }));
process.send!({ port: site.port, ...credentialsOf(site.node), folder: site.folder });

const mask = 0x5a;

/** Held on purpose, as bytes and as text: what does not find these finds nothing. */
const control = randomBytes(32);
const held = { bytes: Buffer.allocUnsafeSlow(100), text: control.toString('base64') };
control.copy(held.bytes);

/** Needles are compared byte by byte against the mask: unmasked they would be found where they are looked from. */
function count(haystack: Buffer, needle: Buffer): number {
  let found = 0;
  const first = needle[0]! ^ mask;
  for (let at = haystack.indexOf(first); at !== -1; at = haystack.indexOf(first, at + 1)) {
    let i = 1;
    while (i < needle.length && haystack[at + i] === (needle[i]! ^ mask)) i++;
    if (i === needle.length) found++;
  }
  return found;
}

function memory(visit: (bytes: Buffer) => void): void {
  const file = openSync('/proc/self/mem', 'r');
  const window = Buffer.allocUnsafeSlow(4 * 1_048_576);
  try {
    for (const line of readFileSync('/proc/self/maps', 'utf8').split('\n')) {
      const match = /^([0-9a-f]+)-([0-9a-f]+) rw/.exec(line);
      if (match === null) continue;
      const end = Number.parseInt(match[2]!, 16);
      for (let at = Number.parseInt(match[1]!, 16); at < end; at += window.length) {
        try {
          const length = readSync(file, window, 0, Math.min(window.length, end - at), at);
          visit(window.subarray(0, length));
        } catch {
          // Not readable: guard pages.
        }
      }
    }
  } finally {
    window.fill(0);
    closeSync(file);
  }
}

async function snapshot(): Promise<Buffer> {
  const chunks: Buffer[] = [];
  for await (const chunk of v8.getHeapSnapshot()) chunks.push(Buffer.from(chunk as Buffer));
  return Buffer.concat(chunks);
}

process.on('message', (masked: string[]) => {
  void (async () => {
    for (let i = 0; i < 6; i++) {
      globalThis.gc!();
      await wait(50);
    }
    const controlMasked = Buffer.from(control.map((byte) => byte ^ mask));
    const keys = [...masked.map((text) => Buffer.from(text, 'hex')), controlMasked];
    // base64 of the key, masked: 40 characters of it.
    const texts = keys.map((key) => {
      const plain = Buffer.from(key.map((byte) => byte ^ mask));
      const text = Buffer.from(plain.toString('base64').slice(0, 40), 'latin1');
      const result = Buffer.from(text.map((byte) => byte ^ mask));
      plain.fill(0);
      text.fill(0);
      return result;
    });
    globalThis.gc!();
    const heap = await snapshot();
    const inHeap = texts.filter((text) => count(heap, text) > 0).length;
    heap.fill(0);
    let raw = 0;
    let found = 0;
    let text = 0;
    memory((bytes) => {
      for (const key of keys) raw += Math.min(1, count(bytes, key));
      found += Math.min(1, count(bytes, controlMasked));
      for (const each of texts) text += Math.min(1, count(bytes, each));
    });
    // Once for the control itself, which the holder keeps alive.
    process.send!({ heap: inHeap, raw, control: found, text, held: held.text.length });
  })();
});
