/**
 * Tells when files change: certificates, CA and CRL files, the configuration itself.
 *
 * Watched are folders, not files: an editor or a certificate tool renames a new file over the old one, and
 * Kubernetes swaps a symbolic link (`..data`) two steps away from the file, so a watch on the file would go on
 * watching what is no longer there. Where the system does not tell (network file systems, a lost event), a slow
 * look at every file does. Either way a file counts as changed when what its path leads to is another file or has
 * other times or another size; events about a folder's other files wake nobody.
 */
import { watch } from 'node:fs';
import type { BigIntStats, FSWatcher } from 'node:fs';
import { readdir, readlink, lstat, stat } from 'node:fs/promises';
import { dirname, join, parse, resolve, sep } from 'node:path';
import type { Config } from './model.ts';

export interface WatchOptions {
  /** Changes within this time are one: a certificate and its key are two files. 500 ms. */
  readonly debounceMs?: number;
  /** How often every file is looked at without an event. 10 s. */
  readonly pollMs?: number;
  /** False: looking alone, where events do not work. */
  readonly events?: boolean;
  /** Hears what `onChange` throws; the watch goes on. Without it the error is dropped. */
  readonly onError?: (error: unknown) => void;
}

export interface FileWatch {
  close(): void;
}

/** Everything that a reload reads: the configuration, and the certificate, CA and CRL files in it. */
export function watchedFiles(config: Config): string[] {
  const files = [
    config.file,
    ...config.listeners.flatMap(({ tls }) => [tls.certFile, tls.keyFile]),
    ...peopleFiles(config.operators),
    ...(config.peers === undefined
      ? []
      : [config.peers.tls.certFile, config.peers.tls.keyFile, config.peers.caFile]),
    ...config.tenants.flatMap(({ clients }) => [clients.caFile, ...clients.crlFiles]),
  ];
  return [...new Set(files.filter((file) => file !== undefined))];
}

function peopleFiles(operators: Config['operators']): (string | undefined)[] {
  if (operators === undefined) return [];
  const { tls, oidc, ldap } = operators;
  return [tls.certFile, tls.keyFile, ...[...oidc, ...ldap].map(({ caFile }) => caFile)];
}

/**
 * Calls `onChange` with the paths that changed, never twice at once. Resolves when changes from now on will be seen.
 * The watch does not keep the process alive.
 */
export async function watchFiles(
  paths: readonly string[],
  onChange: (changed: string[]) => void | Promise<void>,
  options: WatchOptions = {},
): Promise<FileWatch> {
  const watcher = new Watcher(
    paths.map((path) => resolve(path)),
    onChange,
    options,
  );
  await watcher.start();
  return watcher;
}

/** Events that do not cease put a look off this many times. */
const longestDebounces = 4;

class Watcher implements FileWatch {
  readonly #paths: readonly string[];
  readonly #onChange: (changed: string[]) => void | Promise<void>;
  readonly #debounceMs: number;
  readonly #pollMs: number;
  readonly #events: boolean;
  readonly #onError: (error: unknown) => void;
  readonly #folders = new Map<string, FSWatcher>();
  #seen = new Map<string, string>();
  #timer: NodeJS.Timeout | undefined;
  /** When the first of the events came that are waited out. */
  #wantedAtMs: number | undefined;
  #poll: NodeJS.Timeout | undefined;
  #isLooking = false;
  #lookAgain = false;
  #isClosed = false;

  constructor(
    paths: readonly string[],
    onChange: (changed: string[]) => void | Promise<void>,
    { debounceMs = 500, pollMs = 10_000, events = true, onError = () => {} }: WatchOptions,
  ) {
    this.#paths = paths;
    this.#onChange = onChange;
    this.#debounceMs = debounceMs;
    this.#pollMs = pollMs;
    this.#events = events;
    this.#onError = onError;
  }

  async start(): Promise<void> {
    // Watch first, then look: a change in between is seen as an event.
    await this.#followFolders();
    this.#seen = await fingerprints(this.#paths);
    this.#poll = setInterval(() => this.#soon(), this.#pollMs);
    this.#poll.unref();
  }

  close(): void {
    this.#isClosed = true;
    clearTimeout(this.#timer);
    clearInterval(this.#poll);
    for (const folder of this.#folders.values()) folder.close();
    this.#folders.clear();
  }

  /** Waits until it has been quiet for the debounce time, but not for ever: a log in the same folder is never quiet. */
  #soon(): void {
    if (this.#isClosed) return;
    const nowMs = performance.now();
    this.#wantedAtMs ??= nowMs;
    const lastMs = this.#wantedAtMs + longestDebounces * this.#debounceMs;
    clearTimeout(this.#timer);
    this.#timer = setTimeout(
      () => void this.#look(),
      Math.min(this.#debounceMs, Math.max(0, lastMs - nowMs)),
    );
    this.#timer.unref();
  }

  async #look(): Promise<void> {
    this.#wantedAtMs = undefined;
    if (this.#isLooking) {
      this.#lookAgain = true;
      return;
    }
    this.#isLooking = true;
    try {
      await this.#followFolders();
      const now = await fingerprints(this.#paths);
      const changed = this.#paths.filter((path) => now.get(path) !== this.#seen.get(path));
      this.#seen = now;
      if (changed.length > 0 && !this.#isClosed) await this.#onChange(changed);
    } catch (error) {
      this.#onError(error);
    } finally {
      this.#isLooking = false;
      if (this.#lookAgain) {
        this.#lookAgain = false;
        this.#soon();
      }
    }
  }

  /** Links lead elsewhere after a swap, so the folders are found anew each time. */
  async #followFolders(): Promise<void> {
    if (!this.#events) return;
    const wanted = new Set<string>();
    for (const path of this.#paths) for (const folder of await foldersOf(path)) wanted.add(folder);
    if (this.#isClosed) return;
    for (const [folder, watcher] of this.#folders) {
      if (wanted.has(folder)) continue;
      watcher.close();
      this.#folders.delete(folder);
    }
    for (const folder of wanted) if (!this.#folders.has(folder)) this.#watchFolder(folder);
  }

  #watchFolder(folder: string): void {
    try {
      const watcher = watch(folder, { persistent: false }, () => this.#soon());
      // A folder that goes away takes its watch along; the next look finds the folder that took its place.
      watcher.on('error', () => this.#forget(folder, watcher));
      watcher.on('close', () => this.#forget(folder, watcher));
      this.#folders.set(folder, watcher);
    } catch {
      // Not there (yet), or no watches left: polling sees it.
    }
  }

  #forget(folder: string, watcher: FSWatcher): void {
    if (this.#folders.get(folder) === watcher) this.#folders.delete(folder);
  }
}

/** As Linux: more links than this in a row are a loop. */
const maxLinks = 40;

/** Every folder in which a rename can change what `path` leads to: its own, and that of each link on the way. */
async function foldersOf(path: string): Promise<Set<string>> {
  const folders = new Set<string>([dirname(path)]);
  let rest = path;
  for (let links = 0; links <= maxLinks; links++) {
    const link = await firstLink(rest);
    if (link === undefined) break;
    folders.add(dirname(link.at));
    rest = resolve(dirname(link.at), link.target, link.remainder);
    folders.add(dirname(rest));
  }
  if ((await stat(rest).catch(() => undefined))?.isDirectory()) folders.add(rest);
  return folders;
}

async function firstLink(
  path: string,
): Promise<{ at: string; target: string; remainder: string } | undefined> {
  const { root } = parse(path);
  const steps = path.slice(root.length).split(sep).filter(Boolean);
  let here = root;
  for (const [i, step] of steps.entries()) {
    here = join(here, step);
    const found = await lstat(here).catch(() => undefined);
    if (found === undefined) return undefined;
    if (found.isSymbolicLink()) {
      return {
        at: here,
        target: await readlink(here).catch(() => '.'),
        remainder: steps.slice(i + 1).join(sep),
      };
    }
  }
  return undefined;
}

async function fingerprints(paths: readonly string[]): Promise<Map<string, string>> {
  return new Map(
    await Promise.all(paths.map(async (path): Promise<[string, string]> => [path, await fingerprint(path)])),
  );
}

/** Changes when the path leads to another file or the file was written. A folder's is that of its files. */
async function fingerprint(path: string): Promise<string> {
  const found = await stat(path, { bigint: true }).catch(() => undefined);
  if (found === undefined) return 'absent';
  if (!found.isDirectory()) return describe(found);
  const names = (await readdir(path).catch(() => [])).toSorted();
  const files = await Promise.all(
    names.map(async (name) => {
      const file = await stat(join(path, name), { bigint: true }).catch(() => undefined);
      return `${name}:${file === undefined ? 'absent' : describe(file)}`;
    }),
  );
  return [`${found.dev}.${found.ino}`, ...files].join('\n');
}

function describe({ dev, ino, size, mtimeNs, ctimeNs }: BigIntStats): string {
  return [dev, ino, size, mtimeNs, ctimeNs].join('.');
}
