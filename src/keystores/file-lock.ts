/**
 * One server at a time: a file keystore belongs to the process that opened it, and to the workers that name the same
 * owner. Two servers would each serve keys from memory that the other has deleted.
 *
 * Locks are numbered files, and the highest number counts. Taking over means making the next number by link(2),
 * which one contender wins; numbers never go back, so a contender that looked long ago cannot come in under
 * a newer lock. A released lock stays as a file that says so.
 *
 * Whether the owner lives is looked up where pids can be compared. Elsewhere (another container or host on the same
 * volume) only the file's modification time tells, which every holder renews: it is watched for change, so clocks
 * are not compared.
 */
import { mkdir, readdir, readFile, stat, unlink, utimes } from 'node:fs/promises';
import path from 'node:path';
import { setTimeout as delay } from 'node:timers/promises';
import { SelloError } from '../errors.ts';
import { errnoOf } from './disk-errors.ts';
import { createFile, FolderSync, replaceFile } from './durable-folder.ts';
import { formatIdentity, identifyProcess, livenessOf, parseIdentity } from './process-identity.ts';

const folderName = 'locks';

const renewEveryMs = 2000;

/** A holder elsewhere that renews nothing for this long has ended: three renewals and some. */
export const defaultWatchMs = 7000;

const pollEveryMs = 250;

/** Each round means that another contender came or went in between. */
const mostRounds = 20;

const released = 'released\n';

/** Users of one store within this process: a reload opens a store again before it closes the old one. */
const users = new Map<string, number>();

/** Opening and closing of one folder take turns. */
const turns = new Map<string, Promise<unknown>>();

function inTurn<T>(folder: string, work: () => Promise<T>): Promise<T> {
  const turn = (turns.get(folder) ?? Promise.resolve()).then(work, work);
  turns.set(folder, turn);
  const forget = (): void => {
    if (turns.get(folder) === turn) turns.delete(folder);
  };
  turn.then(forget, forget);
  return turn;
}

export class FileLock {
  readonly #storeFolder: string;
  readonly #locks: string;
  readonly #owner: string;
  readonly #name: string;
  readonly #renewal: NodeJS.Timeout;
  /** True once another server took the store over: this one was taken for dead. */
  lost = false;

  private constructor(storeFolder: string, owner: string, name: string) {
    this.#storeFolder = storeFolder;
    this.#locks = path.join(storeFolder, folderName);
    this.#owner = owner;
    this.#name = name;
    this.#renewal = setInterval(() => void this.renew(), renewEveryMs).unref();
  }

  /**
   * @param storeFolder absolute
   * @param ownerPid the process whose life holds the lock: this one, or the supervisor of this worker
   * @throws SelloError SELLO_STORE_LOCKED
   */
  static acquire(storeFolder: string, ownerPid: number, watchMs = defaultWatchMs): Promise<FileLock> {
    return inTurn(storeFolder, async () => {
      const owner = formatIdentity(identifyProcess(ownerPid));
      const name = await take(path.join(storeFolder, folderName), owner, watchMs);
      users.set(storeFolder, (users.get(storeFolder) ?? 0) + 1);
      return new FileLock(storeFolder, owner, name);
    });
  }

  /** Shows watchers elsewhere that this holder lives, and notices when it has been replaced. */
  async renew(): Promise<void> {
    const now = new Date();
    try {
      await utimes(path.join(this.#locks, this.#name), now, now);
    } catch (error) {
      if (errnoOf(error) !== 'ENOENT') return;
      // Gone with the whole store (a volume that may come back), or removed by a successor?
      const names = await lockNames(this.#locks).catch(() => []);
      if ((names.at(-1) ?? '') > this.#name) this.lost = true;
    }
  }

  /** The last user in the owning process releases; a worker's lock ends with its supervisor. */
  release(): Promise<void> {
    clearInterval(this.#renewal);
    return inTurn(this.#storeFolder, async () => {
      const others = (users.get(this.#storeFolder) ?? 1) - 1;
      if (others > 0) {
        users.set(this.#storeFolder, others);
        return;
      }
      users.delete(this.#storeFolder);
      if (this.lost || this.#owner !== formatIdentity(identifyProcess(process.pid))) return;
      // A store whose folder is gone has no lock to release.
      await replaceFile(this.#locks, this.#name, Buffer.from(released)).catch(() => undefined);
    });
  }
}

async function take(locks: string, owner: string, watchMs: number): Promise<string> {
  await mkdir(locks, { recursive: true, mode: 0o700 });
  const sync = new FolderSync(locks);
  for (let round = 0; round < mostRounds; round++) {
    const current = (await lockNames(locks)).at(-1);
    if (current !== undefined) {
      const state = await stateOf(locks, current, owner, watchMs);
      if (state === 'ours') return current;
      if (state === 'changed') continue;
    }
    const name = lockName(current === undefined ? 1 : numberOf(current) + 1);
    if (!(await tryCreate(name, owner, sync))) continue;
    const names = await lockNames(locks);
    if (names.at(-1) !== name) {
      await remove(path.join(locks, name));
      continue;
    }
    for (const older of names.slice(0, -1)) await remove(path.join(locks, older));
    return name;
  }
  throw locked('other servers are trying to open it at the same time');
}

/** False when somebody else was first; also when their clean-up took our temporary file from under us. */
async function tryCreate(name: string, owner: string, sync: FolderSync): Promise<boolean> {
  try {
    return await createFile(name, Buffer.from(`${owner}\n`), sync);
  } catch (error) {
    if (errnoOf(error) === 'ENOENT') return false;
    throw error;
  }
}

async function stateOf(
  locks: string,
  name: string,
  owner: string,
  watchMs: number,
): Promise<'ours' | 'free' | 'changed'> {
  const file = path.join(locks, name);
  let content: string;
  try {
    content = await readFile(file, 'utf8');
  } catch (error) {
    if (errnoOf(error) === 'ENOENT') return 'changed';
    throw error;
  }
  if (content === released) return 'free';
  if (content.trim() === owner) return 'ours';
  const identity = parseIdentity(content.trim());
  const liveness = identity === undefined ? 'elsewhere' : livenessOf(identity);
  if (liveness === 'alive') throw locked(`process ${identity!.pid} has it open`);
  if (liveness === 'dead') return 'free';
  const modifiedAt = await modified(file);
  const until = performance.now() + watchMs;
  while (performance.now() < until) {
    await delay(Math.min(pollEveryMs, watchMs));
    const now = await modified(file);
    if (now === undefined) return 'changed';
    if (now === modifiedAt) continue;
    if ((await readFile(file, 'utf8').catch(() => released)) === released) return 'changed';
    throw locked('a process on another host or in another container has it open');
  }
  return 'free';
}

async function modified(file: string): Promise<bigint | undefined> {
  try {
    return (await stat(file, { bigint: true })).mtimeNs;
  } catch (error) {
    if (errnoOf(error) === 'ENOENT') return undefined;
    throw error;
  }
}

/** Ascending: the numbers have a fixed width. */
async function lockNames(locks: string): Promise<string[]> {
  return (await readdir(locks)).filter((name) => /^lock-[0-9]{10}$/.test(name)).sort();
}

function lockName(number: number): string {
  return `lock-${String(number).padStart(10, '0')}`;
}

function numberOf(name: string): number {
  return Number(name.slice('lock-'.length));
}

async function remove(file: string): Promise<void> {
  try {
    await unlink(file);
  } catch (error) {
    if (errnoOf(error) !== 'ENOENT') throw error;
  }
}

function locked(detail: string): SelloError {
  return new SelloError('SELLO_STORE_LOCKED', { detail });
}
