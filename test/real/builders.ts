/** How a test tool is built, by the language it is written in. Each leaves one file that can be started, at `output`. */
import { spawn } from 'node:child_process';
import { copyFile, chmod, rename, rm } from 'node:fs/promises';
import { dirname, join } from 'node:path';

export type Language = 'go' | 'rust' | 'python';

export interface Build {
  /** Folder with go.mod, Cargo.toml or requirements.txt. */
  readonly folder: string;
  readonly name: string;
  /** Package to build, in Go. */
  readonly package: string;
  readonly tags?: string;
  /** The program, once it is ready. */
  readonly output: string;
  /** Outside git, for what may be used again by a later build. */
  readonly cache: string;
}

/** A tool that cannot be had here, with the reason a person needs to fix it. */
export class ToolMissing extends Error {}

export const buildTimeoutMs = 20 * 60_000;

/** Files that decide a program's bytes. */
export const sourcesOf: Readonly<Record<Language, RegExp>> = {
  go: /^go\.(mod|sum)$|\.go$/,
  rust: /^Cargo\.(toml|lock)$|\.rs$/,
  python: /^requirements\.txt$|\.py$/,
};

export const builders: Readonly<Record<Language, (build: Build) => Promise<void>>> = {
  go: goBuild,
  rust: rustBuild,
  python: pythonBuild,
};

async function goBuild({ folder, output, package: wanted, tags }: Build): Promise<void> {
  const args = [
    'build',
    '-trimpath',
    '-buildvcs=false',
    '-mod=readonly',
    '-ldflags=-s -w',
    ...(tags === undefined ? [] : ['-tags', tags]),
    '-o',
    output,
    wanted,
  ];
  try {
    await run('go', args, folder, { CGO_ENABLED: '0', GOFLAGS: '', GOWORK: 'off' });
  } catch (error) {
    await rm(output, { force: true });
    throw error;
  }
}

/** Crates are compiled once for all versions of a program: they take minutes, and the program seconds. */
async function rustBuild({ cache, folder, name, output }: Build): Promise<void> {
  const target = join(cache, 'rust-target');
  await run('cargo', ['build', '--locked', '--target-dir', target], folder, {});
  await copyFile(join(target, 'debug', name), output);
}

/** Packages go beside the program: nothing is installed, and no virtual environment has paths of its own. */
async function pythonBuild({ folder, name, output }: Build): Promise<void> {
  const packages = join(dirname(output), 'packages');
  const fresh = `${packages}.${String(process.pid)}`;
  const args = ['-m', 'pip', 'install', '--quiet', '--disable-pip-version-check', '--no-deps'];
  // Wheels without machine code alone: they are the same everywhere.
  args.push('--target', fresh, '--platform', 'any', '--implementation', 'py', '--abi', 'none');
  args.push('--only-binary', ':all:', '--requirement', 'requirements.txt');
  try {
    await run('python3', args, folder, {});
    await rm(packages, { recursive: true, force: true });
    await rename(fresh, packages);
  } finally {
    await rm(fresh, { recursive: true, force: true });
  }
  await copyFile(join(folder, `${name.replaceAll('-', '_')}.py`), output);
  await chmod(output, 0o755);
}

async function run(
  command: string,
  args: readonly string[],
  cwd: string,
  env: Readonly<Record<string, string>>,
): Promise<void> {
  const child = spawn(command, args, {
    cwd,
    env: { ...process.env, ...env },
    stdio: ['ignore', 'ignore', 'pipe'],
    timeout: buildTimeoutMs,
  });
  let complaint = '';
  child.stderr
    .setEncoding('utf8')
    .on('data', (text: string) => (complaint = (complaint + text).slice(-2000)));
  const code = await new Promise<number | null>((resolve, reject) => {
    child.once('error', (error: NodeJS.ErrnoException) => {
      reject(error.code === 'ENOENT' ? new ToolMissing(`there is no \`${command}\` on PATH`) : error);
    });
    child.once('close', resolve);
  });
  if (code !== 0) throw new ToolMissing(`${command} ${args.join(' ')} failed in ${cwd}: ${complaint.trim()}`);
}
