/** Real clients that stream an object through seal and open, both ways at once. */
import { spawn } from 'node:child_process';
import { createHash } from 'node:crypto';
import { closeSync, createReadStream, ftruncateSync, openSync, readFileSync, writeSync } from 'node:fs';
import { Readable } from 'node:stream';
import type { Test } from 'tap';
import { Client } from 'undici';
import { ObjectSite } from '../api/objects/site.ts';
import { needTools } from './tools.ts';

export const mebibyte = 1_048_576;

async function output(
  command: string,
  argv: readonly string[],
): Promise<{ code: number | null; text: string }> {
  const child = spawn(command, argv, { stdio: ['ignore', 'pipe', 'pipe'] });
  let text = '';
  child.stdout.on('data', (chunk: Buffer) => (text += chunk.toString('latin1')));
  child.stderr.on('data', (chunk: Buffer) => (text += chunk.toString('latin1')));
  const code = await new Promise<number | null>((resolve, reject) => {
    child.once('error', reject);
    child.once('close', resolve);
  });
  return { code, text };
}

async function digestOf(source: AsyncIterable<Uint8Array>): Promise<string> {
  const hash = createHash('sha256');
  for await (const chunk of source) hash.update(chunk);
  return hash.digest('hex');
}

/** Bytes that differ from segment to segment. */
function* plaintext(total: number): Generator<Buffer> {
  const chunk = Buffer.alloc(65_536);
  for (let at = 0; at < total; at += chunk.length) {
    chunk.writeDoubleLE(at);
    yield Buffer.from(chunk.subarray(0, Math.min(chunk.length, total - at)));
  }
}

export async function streamWithEveryClient(t: Test, total: number): Promise<void> {
  const site = await new ObjectSite().begin();
  t.teardown(() => site.remove());
  site.write('node.crt', site.node.certificatePem);
  site.write('node.key', site.node.privateKeyPem);
  const url = (route: string) =>
    `https://127.0.0.1:${String(site.port)}/objects/v1/${route}?bucket=photos&object=a`;

  const tool = await needTools(t, 'stream');
  for (const protocol of tool === undefined ? [] : ['1', '2']) {
    const address = `127.0.0.1:${String(site.port)}`;
    const argv = [address, site.file('node.crt'), site.file('node.key'), protocol, String(total)];
    t.same(await output(tool!.stream, argv), { code: 0, text: 'same\n' }, `Go's net/http, HTTP/${protocol}`);
  }

  const file = openSync(site.file('plain'), 'w');
  for (const chunk of plaintext(Math.min(total, 64 * mebibyte))) writeSync(file, chunk);
  ftruncateSync(file, total);
  closeSync(file);
  const expected = await digestOf(createReadStream(site.file('plain')));
  for (const protocol of ['--http1.1', '--http2']) {
    const curl = (route: string, from: string, to: string, ...more: string[]) =>
      output('curl', ['-sS', '-k', '--fail', protocol, '--cert', site.file('node.crt'), '--key', site.file('node.key'), '-X', 'POST', '-T', site.file(from), '-D', site.file('headers'), '-o', site.file(to), ...more, url(route)]); // prettier-ignore
    t.same(await curl('seal', 'plain', 'sealed'), { code: 0, text: '' }, `curl ${protocol} seals`);
    const envelope = /^x-sello-envelope: (\S+)/im.exec(readFileSync(site.file('headers'), 'latin1'))![1]!;
    const opened = await curl('open', 'sealed', 'opened', '-H', `x-sello-envelope: ${envelope}`);
    t.same(opened, { code: 0, text: '' }, `curl ${protocol} opens`);
    t.equal(await digestOf(createReadStream(site.file('opened'))), expected);
  }

  for (const allowH2 of [false, true]) {
    const client = new Client(`https://127.0.0.1:${String(site.port)}`, {
      allowH2,
      pipelining: allowH2 ? 2 : 1,
      bodyTimeout: 60_000,
      connect: { cert: site.node.certificatePem, key: site.node.privateKeyPem, rejectUnauthorized: false },
    });
    const second = allowH2 ? client : new Client(`https://127.0.0.1:${String(site.port)}`, { connect: { cert: site.node.certificatePem, key: site.node.privateKeyPem, rejectUnauthorized: false } }); // prettier-ignore
    const sealed = await client.request({
      method: 'POST',
      path: new URL(url('seal')).pathname + new URL(url('seal')).search,
      body: Readable.from(plaintext(total)),
    });
    t.equal(sealed.statusCode, 200);
    const opened = await second.request({
      method: 'POST',
      path: new URL(url('open')).pathname + new URL(url('open')).search,
      headers: { 'x-sello-envelope': String(sealed.headers['x-sello-envelope']) },
      body: sealed.body,
    });
    t.equal(opened.statusCode, 200);
    const digest = await digestOf(opened.body);
    t.equal(
      digest,
      await digestOf(Readable.from(plaintext(total))),
      `undici, ${allowH2 ? 'HTTP/2' : 'HTTP/1.1'}`,
    );
    await client.destroy();
    await second.destroy();
  }
}
