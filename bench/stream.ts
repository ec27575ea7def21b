/**
 * What we say about the speed of object streams: `npm run bench:stream`. The library against `openssl speed` and a plain
 * createCipheriv loop, one core; the server's streams, HTTP/1.1 and HTTP/2, against a plain TLS echo of the same bytes through the
 * same client; small objects. `--quick` takes a tenth of the bytes.
 */
import { spawnSync } from 'node:child_process';
import { createCipheriv, randomBytes } from 'node:crypto';
import os from 'node:os';
import { SegmentOpener, SegmentSealer, type StreamKey } from '../src/formats/index.ts';
import { open, seal, type Placed } from '../src/sse/index.ts';
import { callsTable } from './stream-calls.ts';
import { coresTable } from './stream-cores.ts';
import { serverTable } from './stream-server.ts';

const quick = process.argv.includes('--quick');
const mebibyte = 1_048_576;
/** Best of some runs: other programs only ever make it slower. */
const spread = Array.from({ length: quick ? 1 : 3 }, (_, i) => i);

type Aead = StreamKey['aead'];

function rate(bytes: number, work: () => void): number {
  const start = performance.now();
  work();
  return bytes / (performance.now() - start) / 1e6;
}

function keyOf(aead: Aead, segmentBytes: number): StreamKey {
  return { aead, key: randomBytes(32), baseNonce: randomBytes(12), segmentBytes };
}

function plainLoop(aead: Aead, total: number, segment: Buffer): number {
  const [key, nonce] = [randomBytes(32), randomBytes(12)];
  return rate(total, () => {
    for (let done = 0; done < total; done += segment.length) {
      const cipher = createCipheriv(aead as 'aes-256-gcm', key, nonce, { authTagLength: 16 });
      cipher.update(segment);
      cipher.final();
      cipher.getAuthTag();
    }
  });
}

function sealRate(key: StreamKey, total: number, chunk: Buffer): number {
  const out: Buffer[] = [];
  return rate(total, () => {
    const sealer = new SegmentSealer(key);
    for (let done = 0; done < total; done += chunk.length) {
      out.length = 0;
      sealer.update(chunk, out);
    }
    sealer.final(out);
  });
}

function openRate(key: StreamKey, total: number, chunkBytes: number): number {
  // One sealed segment after another, made on the way and not counted.
  const out: Buffer[] = [];
  const sealer = new SegmentSealer(key);
  const opener = new SegmentOpener(key);
  const plain = Buffer.alloc(chunkBytes);
  let spentMs = 0;
  for (let done = 0; done < total; done += chunkBytes) {
    const sealed: Buffer[] = [];
    sealer.update(plain, sealed);
    const start = performance.now();
    for (const piece of sealed) opener.update(piece, out);
    spentMs += performance.now() - start;
    out.length = 0;
  }
  const last: Buffer[] = [];
  sealer.final(last);
  for (const piece of last) opener.update(piece, out);
  opener.final(out);
  return total / spentMs / 1e6;
}

function openssl(aead: Aead, bytes: number): number | undefined {
  const name = aead === 'aes-256-gcm' ? 'aes-256-gcm' : 'chacha20-poly1305';
  const { stdout } = spawnSync(
    'openssl',
    ['speed', '-evp', name, '-bytes', String(bytes), '-seconds', quick ? '1' : '3'],
    { encoding: 'utf8' },
  );
  const thousands = /([\d.]+)k\s*$/.exec(stdout ?? '')?.[1];
  return thousands === undefined ? undefined : (Number(thousands) * 1000) / 1e9;
}

const gb = (value: number | undefined): string => (value === undefined ? '-' : value.toFixed(2));

function libraryTable(): void {
  const total = (quick ? 64 : 512) * mebibyte;
  console.log(`\nSegments, one core, GB/s (${String(total / mebibyte)} MiB, chunks of 128 KiB)\n`);
  console.log('| cipher | segment | openssl speed | createCipheriv loop | seal | open | seal / loop |');
  console.log('| --- | --- | --- | --- | --- | --- | --- |');
  const chunk = randomBytes(131_072);
  for (const aead of ['aes-256-gcm', 'chacha20-poly1305'] as const) {
    for (const segmentBytes of [16_384, 65_536, 131_072, 262_144]) {
      const key = keyOf(aead, segmentBytes);
      // In turns, so that a busy moment of the machine does not fall on one of them alone.
      let [loop, sealing, opening] = [0, 0, 0];
      for (const _ of spread) {
        loop = Math.max(loop, plainLoop(aead, total, randomBytes(segmentBytes)));
        sealing = Math.max(sealing, sealRate(key, total, chunk));
        opening = Math.max(opening, openRate(key, total / 2, 131_072));
      }
      const native = openssl(aead, segmentBytes);
      console.log(
        `| ${aead} | ${String(segmentBytes / 1024)} KiB | ${gb(native)} | ${gb(loop)} | ${gb(sealing)} | ${gb(opening)} | ${(sealing / loop).toFixed(2)} |`,
      );
    }
  }
}

async function sizesTable(): Promise<void> {
  console.log('\nWhole objects through the library, key derivation and envelope included\n');
  console.log('| size | cipher | seal, µs | seal, GB/s | open, µs |');
  console.log('| --- | --- | --- | --- | --- |');
  const placed: Placed = {
    place: { tenant: 'bench', bucket: 'bench', object: 'bench' },
    protection: { mode: 'held', key: randomBytes(32) },
  };
  const chunk = randomBytes(mebibyte);
  for (const size of [0, 1024, 4096, 65_536, mebibyte, 16 * mebibyte, 1024 * mebibyte]) {
    for (const aead of ['aes-256-gcm', 'chacha20-poly1305'] as const) {
      const runs = Math.max(
        1,
        Math.min(quick ? 300 : 3000, Math.floor((quick ? 64 : 512) * mebibyte) / Math.max(size, 1)),
      );
      let sealMs = 0;
      let openMs = 0;
      for (let i = 0; i < runs; i++) {
        const startMs = performance.now();
        using object = await seal(placed);
        const { engine } = object.seal({ aead });
        const sealed: Buffer[] = [engine.header];
        const isKept = size <= 16 * mebibyte;
        for (let at = 0; at < size; at += chunk.length) {
          if (!isKept) sealed.length = 0;
          engine.update(chunk.subarray(0, Math.min(chunk.length, size - at)), sealed);
        }
        engine.final(sealed);
        sealMs += performance.now() - startMs;
        if (!isKept) continue;
        const openStart = performance.now();
        using again = await open(object.envelope, placed);
        const opener = again.open().engine;
        const out: Buffer[] = [];
        for (const piece of sealed) opener.update(piece, out);
        opener.final(out);
        openMs += performance.now() - openStart;
      }
      const each = (ms: number) => ((ms / runs) * 1000).toFixed(1);
      console.log(
        `| ${size === 0 ? '0' : size < mebibyte ? `${String(size / 1024)} KiB` : `${String(size / mebibyte)} MiB`} | ${aead} | ${each(sealMs)} | ${gb((size * runs) / sealMs / 1e6)} | ${openMs === 0 ? '-' : each(openMs)} |`,
      );
    }
  }
}

console.log(
  `${os.cpus()[0]?.model ?? 'unknown processor'}, ${String(os.cpus().length)} cores, Node ${process.version}`,
);
console.log(`MALLOC_MMAP_THRESHOLD_=${process.env['MALLOC_MMAP_THRESHOLD_'] ?? 'not set'}`);
libraryTable();
await coresTable(quick);
await sizesTable();
await serverTable(quick);
await callsTable(quick);
