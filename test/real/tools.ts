/**
 * The real programs that tests and the bench talk to: built once from Go modules of their own into a cache outside
 * git, keyed by everything that decides their bytes (go.mod, go.sum, sources, build arguments). They are test tools:
 * nothing of them is linked into Sello or shipped with it.
 */
import { spawn } from 'node:child_process';
import { createHash } from 'node:crypto';
import { mkdir, readdir, readFile, rename, rm, stat, writeFile } from 'node:fs/promises';
import { homedir } from 'node:os';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';

export interface Tool {
  readonly name: string;
  /** Folder with go.mod, relative to this one. */
  readonly module: string;
  /** Package to build: `.`, or an import path that the module has as a `tool`. */
  readonly package: string;
  /** Build tags, where the program has to be cut down to compile. */
  readonly tags?: string;
  readonly about: string;
}

export const tools = {
  minio: {
    name: 'minio',
    module: 'minio',
    package: 'github.com/minio/minio',
    about: 'MinIO server (AGPL), about 3 minutes on two cores',
  },
  kmsgo: { name: 'kmsgo', module: 'kmsgo', package: '.', about: "MinIO's Go client library (AGPL), seconds" },
  vault: {
    name: 'vault',
    module: 'vault',
    package: 'github.com/hashicorp/vault',
    // Without it, cloud login methods are built in whose published modules do not fit together.
    tags: 'minimal',
    about: 'HashiCorp Vault server (BUSL-1.1), about 5 minutes on two cores',
  },
  vaultKubernetes: {
    name: 'vault-plugin-auth-kubernetes',
    module: 'vault-kubernetes',
    package: 'github.com/hashicorp/vault-plugin-auth-kubernetes/cmd/vault-plugin-auth-kubernetes',
    about: "Vault's Kubernetes login as a plugin (MPL-2.0), about 1 minute",
  },
  sio: {
    name: 'sio',
    module: 'sio',
    package: '.',
    about: 'reference implementation of DARE (Apache-2.0), seconds',
  },
  tlog: {
    name: 'tlog',
    module: 'tlog',
    package: '.',
    about: 'checker of transparency logs, of Go and of transparency-dev, seconds',
  },
  stream: {
    name: 'stream',
    module: 'stream',
    package: '.',
    about: 'object streams with Go net/http, seconds',
  },
  alertmanager: {
    name: 'alertmanager',
    module: 'alertmanager',
    package: 'github.com/prometheus/alertmanager/cmd/alertmanager',
    about: "Prometheus's Alertmanager (Apache-2.0), about 2 minutes on two cores",
  },
  load: { name: 'load', module: 'load', package: '.', about: 'plain mTLS load generator, seconds' },
} as const satisfies Record<string, Tool>;

export type ToolName = keyof typeof tools;

/** A tool that cannot be had here, with the reason a person needs to fix it. */
export class ToolMissing extends Error {}

const buildTimeoutMs = 20 * 60_000;
const lockPollMs = 250;

function cacheFolder(): string {
  return join(process.env['XDG_CACHE_HOME'] || join(homedir(), '.cache'), 'sello', 'tools');
}

function moduleFolder(tool: Tool): string {
  return join(import.meta.dirname, tool.module);
}

/** Where the built program of these very sources belongs. */
export async function toolPath(name: ToolName): Promise<string> {
  const tool: Tool = tools[name];
  const built = [
    tool.package,
    process.platform,
    process.arch,
    ...(tool.tags === undefined ? [] : [tool.tags]),
  ];
  const hash = createHash('sha256').update(JSON.stringify(built));
  for (const file of (await readdir(moduleFolder(tool))).sort()) {
    if (!/^go\.(mod|sum)$|\.go$/.test(file)) continue;
    const content = await readFile(join(moduleFolder(tool), file));
    hash.update(`${file} ${String(content.length)}\n`).update(content);
  }
  return join(cacheFolder(), `${tool.name}-${hash.digest('hex').slice(0, 16)}`, tool.name);
}

/**
 * Path of the tool's program, built first where it is not there yet. Of several processes that ask at once one
 * builds and the others wait for it. Rejects with {@link ToolMissing} when it cannot be built here.
 */
export async function buildTool(
  name: ToolName,
  progress: (line: string) => void = () => undefined,
): Promise<string> {
  const path = await toolPath(name);
  if (await exists(path)) return path;
  await mkdir(join(path, '..'), { recursive: true });
  const unlock = await lock(`${path}.lock`);
  try {
    if (await exists(path)) return path;
    progress(`building ${name}: ${tools[name].about}`);
    const fresh = `${path}.${String(process.pid)}`;
    await goBuild(tools[name], fresh);
    await rename(fresh, path);
    return path;
  } finally {
    await unlock();
  }
}

/** What a test needs of tap's `t`, so that this file serves the bench too. */
interface Skippable {
  pass(message: string, extra: { skip: string }): unknown;
  fail(message: string): unknown;
}

/**
 * Paths of the tools a test file needs, or undefined when one cannot be had: then the test is skipped with the
 * reason in its output, and with `CI=true` it fails.
 */
export async function needTools<const N extends ToolName>(
  t: Skippable,
  ...names: N[]
): Promise<Record<N, string> | undefined> {
  const paths: Partial<Record<ToolName, string>> = {};
  for (const name of names) {
    try {
      paths[name] = await buildTool(name);
    } catch (error) {
      if (!(error instanceof ToolMissing)) throw error;
      const reason = `${name} is not here: ${error.message}`;
      if (process.env['CI'] === 'true') t.fail(reason);
      else t.pass(`needs ${name}`, { skip: reason });
      return undefined;
    }
  }
  return paths as Record<N, string>;
}

async function goBuild(tool: Tool, output: string): Promise<void> {
  const args = [
    'build',
    '-trimpath',
    '-buildvcs=false',
    '-mod=readonly',
    '-ldflags=-s -w',
    ...(tool.tags === undefined ? [] : ['-tags', tool.tags]),
    '-o',
    output,
    tool.package,
  ];
  const child = spawn('go', args, {
    cwd: moduleFolder(tool),
    env: { ...process.env, CGO_ENABLED: '0', GOFLAGS: '', GOWORK: 'off' },
    stdio: ['ignore', 'ignore', 'pipe'],
    timeout: buildTimeoutMs,
  });
  let complaint = '';
  child.stderr
    .setEncoding('utf8')
    .on('data', (text: string) => (complaint = (complaint + text).slice(-2000)));
  const code = await new Promise<number | null>((resolve, reject) => {
    child.once('error', (error: NodeJS.ErrnoException) => {
      reject(error.code === 'ENOENT' ? new ToolMissing('there is no `go` on PATH') : error);
    });
    child.once('close', resolve);
  });
  if (code === 0) return;
  await rm(output, { force: true });
  throw new ToolMissing(`go ${args.join(' ')} failed in test/real/${tool.module}: ${complaint.trim()}`);
}

/** Holds `path` as a lock file with the holder's process id; a lock whose holder is gone is taken over. */
async function lock(path: string): Promise<() => Promise<void>> {
  const giveUpMs = Date.now() + buildTimeoutMs;
  while (Date.now() < giveUpMs) {
    try {
      await writeFile(path, String(process.pid), { flag: 'wx' });
      return () => rm(path, { force: true });
    } catch (error) {
      if ((error as NodeJS.ErrnoException).code !== 'EEXIST') throw error;
    }
    const holder = Number(await readFile(path, 'utf8').catch(() => '0'));
    if (holder > 0 && !isAlive(holder)) await rm(path, { force: true });
    else await sleep(lockPollMs);
  }
  throw new ToolMissing(`another process holds ${path} for too long`);
}

function isAlive(pid: number): boolean {
  try {
    process.kill(pid, 0);
    return true;
  } catch (error) {
    return (error as NodeJS.ErrnoException).code === 'EPERM';
  }
}

async function exists(path: string): Promise<boolean> {
  return stat(path).then(
    (found) => found.isFile(),
    () => false,
  );
}
