/**
 * The real programs that tests and the bench talk to: built once from Go modules (and a few in other languages) of their own into a
 * cache outside git, keyed by everything that decides their bytes (lock files, sources, build arguments). They are test tools: nothing
 * of them is linked into Sello or shipped with it.
 */
import { createHash } from 'node:crypto';
import { mkdir, readdir, readFile, rename, rm, stat, writeFile } from 'node:fs/promises';
import { homedir } from 'node:os';
import { basename, join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { builders, buildTimeoutMs, sourcesOf, ToolMissing, type Language } from './builders.ts';

export { ToolMissing };

export interface Tool {
  readonly name: string;
  /** Folder with go.mod, Cargo.toml or requirements.txt, relative to this one. */
  readonly module: string;
  /** Go unless given. */
  readonly language?: Language;
  /** Package to build, in Go: `.`, or an import path that the module has as a `tool`. */
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
  h2spec: {
    name: 'h2spec',
    module: 'h2spec',
    package: 'github.com/summerwind/h2spec/cmd/h2spec',
    about: 'conformance tests for HTTP/2 servers (MIT), seconds',
  },
  vaultGo: {
    name: 'vault-go',
    module: 'vault-go',
    package: '.',
    about: "HashiCorp's Go client of Vault (MPL-2.0), seconds",
  },
  vaultPython: {
    name: 'vault-python',
    module: 'vault-python',
    language: 'python',
    package: '.',
    about: 'hvac, the Python client of Vault (Apache-2.0), seconds',
  },
  vaultRust: {
    name: 'vault-rust',
    module: 'vault-rust',
    language: 'rust',
    package: '.',
    about: 'vaultrs, the Rust client of Vault (MIT), about 3 minutes on two cores',
  },
  load: { name: 'load', module: 'load', package: '.', about: 'plain mTLS load generator, seconds' },
} as const satisfies Record<string, Tool>;

export type ToolName = keyof typeof tools;

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
  const sources = sourcesOf[tool.language ?? 'go'];
  for (const file of (await readdir(moduleFolder(tool), { recursive: true })).sort()) {
    if (!sources.test(basename(file))) continue;
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
    const tool: Tool = tools[name];
    await builders[tool.language ?? 'go']({
      ...tool,
      folder: moduleFolder(tool),
      output: fresh,
      cache: cacheFolder(),
    });
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
