/** The servers that are measured, each a child process pinned to its cores, each with one key and one client. */
import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { mkdir, readFile } from 'node:fs/promises';
import { join } from 'node:path';
import { createInterface } from 'node:readline';
import { Agent, request } from 'undici';
import type { CertificateFiles, TestAuthority } from '../test/real/certificates.ts';
import { KmsGo } from '../test/real/kmsgo.ts';
import { kesConfig, Sello } from '../test/real/sello.ts';

export interface Rival {
  readonly name: string;
  /** Origin for HTTP/2. */
  readonly h2: string;
  /** Origin for HTTP/1.1. */
  readonly h1: string;
  readonly pid: number;
  readonly keyName: string;
  /** Base64 of a data key's ciphertext under that key and the bench's context. */
  readonly ciphertext: string;
  stop(): Promise<void>;
}

export interface Ground {
  readonly folder: string;
  readonly authority: TestAuthority;
  readonly client: CertificateFiles;
  readonly kmsgo: string;
  /** V8 options for every rival alike. */
  readonly nodeOptions: readonly string[];
}

const keyName = 'bench';
const context = Buffer.from('{"bucket":"bucket/object"}').toString('base64');

/** Where records go: nowhere, into a plain file, into a trail with its chain and tree, into a trail on the disk. */
export type AuditKind = 'off' | 'file' | 'trail' | 'synced trail';

/** Sello as it is sold: audit `written`, keys on disk, the caller a policy identity (not an admin). */
export async function startSello(
  ground: Ground,
  name: string,
  cores: string,
  processes: number,
  audit: AuditKind = 'file',
): Promise<Rival> {
  const folder = join(ground.folder, name);
  await mkdir(folder, { recursive: true });
  const sello = await Sello.start({
    folder,
    authority: ground.authority,
    wrapper: ['taskset', '-c', cores],
    nodeOptions: ground.nodeOptions,
    config: (facts) => ({
      ...kesConfig(facts),
      sello: { processes, audit: auditConfig(audit, folder) },
    }),
    policies: {
      node: {
        allow: ['/v1/status', '/v1/key/generate/bench*', '/v1/key/decrypt/bench*', '/v1/key/list/*'],
        deny: ['/v1/key/generate/bench-closed*'],
        identities: [ground.client.identity],
      },
    },
  });
  const admin = new KmsGo({
    program: ground.kmsgo,
    endpoint: sello.endpoint,
    ca: ground.authority.ca,
    credential: { apiKey: sello.admin.text },
  });
  await admin.ok('create', { name: keyName });
  await admin.close();
  return {
    name,
    h2: sello.endpoint,
    h1: sello.endpoint,
    pid: sello.pid,
    keyName,
    ciphertext: await firstCiphertext(ground, sello.endpoint),
    stop: async () => void (await sello.stop()),
  };
}

function auditConfig(kind: AuditKind, folder: string): object {
  if (kind === 'off') return { mode: 'off' };
  if (kind === 'file') return { mode: 'written', path: join(folder, 'audit.jsonl') };
  return { mode: kind === 'trail' ? 'written' : 'synced', path: join(folder, 'audit/') };
}

export async function startBare(ground: Ground, cores: string, crypto: 'plain' | 'prepared'): Promise<Rival> {
  const name = `bare-${crypto}`;
  const server = await ground.authority.issue(name, 'server');
  const program = join(import.meta.dirname, 'bare-server.ts');
  const child = spawn(
    'taskset',
    ['-c', cores, process.execPath, ...ground.nodeOptions, program, server.cert, server.key, crypto],
    { stdio: ['ignore', 'pipe', 'inherit'] },
  );
  const [line] = (await Promise.race([
    once(createInterface({ input: child.stdout }), 'line'),
    once(child, 'exit').then(() => Promise.reject(new Error('the bare server did not come up'))),
  ])) as [string];
  const ports = JSON.parse(line) as { h2: number; h1: number };
  const h1 = `https://127.0.0.1:${String(ports.h1)}`;
  return {
    name,
    h2: `https://127.0.0.1:${String(ports.h2)}`,
    h1,
    pid: child.pid!,
    keyName,
    ciphertext: await firstCiphertext(ground, h1),
    stop: async () => {
      const ended = once(child, 'exit');
      child.kill('SIGTERM');
      await ended;
    },
  };
}

async function firstCiphertext(ground: Ground, origin: string): Promise<string> {
  const dispatcher = new Agent({
    connect: {
      ca: await readFile(ground.authority.ca),
      cert: await readFile(ground.client.cert),
      key: await readFile(ground.client.key),
    },
  });
  const { statusCode, body } = await request(`${origin}/v1/key/generate/${keyName}`, {
    method: 'PUT',
    body: JSON.stringify({ context }),
    dispatcher,
  });
  const text = await body.text();
  await dispatcher.destroy();
  if (statusCode !== 200) throw new Error(`first data key: ${String(statusCode)} ${text}`);
  return (JSON.parse(text) as { ciphertext: string }).ciphertext;
}
