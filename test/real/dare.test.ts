/** Our DARE against the reference implementation in Go, both ways. */
import { spawnSync } from 'node:child_process';
import { randomBytes } from 'node:crypto';
import t from 'tap';
import { DareOpener, DareSealer } from '../../src/formats/index.ts';
import { needTools } from './tools.ts';

const tool = await needTools(t, 'sio');
const key = randomBytes(32);
const sizes = [1, 15, 65_535, 65_536, 65_537, 131_072, 200_001];

function reference(args: string[], input: Buffer): Buffer {
  const { status, stdout, stderr } = spawnSync(tool!.sio, args, { input, maxBuffer: 1 << 26 });
  if (status !== 0) throw new Error(stderr.toString());
  return stdout;
}

function run(
  engine: { update(chunk: Buffer, out: Buffer[]): void; final(out: Buffer[]): void },
  bytes: Buffer,
): Buffer {
  const out: Buffer[] = [];
  for (let at = 0; at < bytes.length; at += 30_000) engine.update(bytes.subarray(at, at + 30_000), out);
  engine.final(out);
  return Buffer.concat(out);
}

if (tool !== undefined) {
  for (const [id, aead] of [
    [0, 'aes-256-gcm'],
    [1, 'chacha20-poly1305'],
  ] as const) {
    t.test(`${aead}: each opens what the other sealed`, (t) => {
      for (const size of sizes) {
        const plain = randomBytes(size);
        const ours = run(new DareSealer(key, { aead }), plain);
        t.ok(reference(['open', key.toString('hex')], ours).equals(plain), `${size} bytes of ours`);
        const theirs = reference(['seal', key.toString('hex'), '32', String(id)], plain);
        t.equal(theirs.length, ours.length);
        t.ok(run(new DareOpener(key, { plainBytes: size }), theirs).equals(plain), `${size} bytes of theirs`);
        const old = reference(['seal', key.toString('hex'), '16', String(id)], plain);
        t.ok(run(new DareOpener(key, { versions: [1] }), old).equals(plain), `${size} bytes of version 1.0`);
      }
      t.end();
    });
  }
  t.test('what the reference refuses we refuse', (t) => {
    const sealed = run(new DareSealer(key), randomBytes(140_000));
    for (let i = 0; i < 20; i++) {
      const changed = Buffer.from(sealed);
      changed[(i * 7919) % sealed.length]! ^= 1;
      t.throws(() => reference(['open', key.toString('hex')], changed));
      t.throws(() => run(new DareOpener(key), changed));
    }
    t.end();
  });
}
