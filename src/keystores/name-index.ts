/**
 * The names of a store on disk, sorted in memory, so that a page of a list costs no walk over 100,000 files.
 * The truth stays on disk: before a page is given, every folder whose modification time changed is read again.
 *
 * Own creates and deletes are noted at once. Changes by other processes are seen by the next list, unless reading
 * the changed folder is so costly that it would be done all the time: then within {@link rereadFactor} times what
 * the last reading took (100,000 names in one folder: about a second; a store of some thousand names: a few ms).
 */

/** Folders are read again no sooner than this many times the last reading's duration after it, */
const rereadFactor = 10;

/** unless that reading was shorter than this. */
const cheapReadMs = 20;

/**
 * A modification time younger than this at the reading proves nothing: two changes within one tick of the file
 * system's clock look alike (ext4 without multigrain timestamps: 4 ms; some network and FAT file systems: 2 s).
 */
const coarsestTickMs = 2000;

export interface IndexedFolder {
  /** Modification time in nanoseconds. Rejects when the folder cannot be reached. */
  changedAt(): Promise<bigint>;
  /** The legal names in it, in any order. */
  names(): Promise<string[]>;
}

interface FolderState {
  readonly folder: IndexedFolder;
  readonly names: Set<string>;
  /** Undefined: has to be read. */
  changedAt: bigint | undefined;
}

interface Change {
  readonly folder: number;
  readonly name: string;
  readonly exists: boolean;
}

export class NameIndex {
  readonly #folders: readonly FolderState[];
  /** Names in order; lacks what is in `#unsorted`, still holds what is in `#gone`. */
  #sorted: string[] = [];
  readonly #unsorted = new Set<string>();
  readonly #gone = new Set<string>();
  #refreshing: Promise<void> | undefined;
  #refreshNext: Promise<void> | undefined;
  /** Own changes since the running refresh began: newer than what it read. */
  readonly #meanwhile: Change[] = [];
  #readAgainAtMs = -Infinity;
  #complete = false;

  constructor(folders: readonly IndexedFolder[]) {
    this.#folders = folders.map((folder) => ({ folder, names: new Set(), changedAt: undefined }));
  }

  /** This process made or removed `name` in folder number `folder`. */
  note(folder: number, name: string, exists: boolean): void {
    if (this.#refreshing !== undefined) this.#meanwhile.push({ folder, name, exists });
    if (this.#complete) this.#apply(folder, name, exists);
    // Another process may have undone it before this note.
    this.#folders[folder]!.changedAt = undefined;
  }

  /** Names after `after` that begin with `prefix`, at most `limit`, in byte order (names are ASCII). */
  async page(prefix: string, after: string, limit: number): Promise<{ names: string[]; more: boolean }> {
    await this.#refresh();
    return pageOf(this.#merge(), prefix, after, limit);
  }

  /** Resolves once a refresh that began after this call has ended: an older one may lack a name made since. */
  #refresh(): Promise<void> {
    if (this.#refreshing === undefined) return this.#startRefresh();
    const start = (): Promise<void> => this.#startRefresh();
    this.#refreshNext ??= this.#refreshing.then(start, start);
    return this.#refreshNext;
  }

  #startRefresh(): Promise<void> {
    this.#refreshNext = undefined;
    this.#meanwhile.length = 0;
    const refresh = this.#readChanged().finally(() => {
      if (this.#refreshing === refresh) this.#refreshing = undefined;
    });
    this.#refreshing = refresh;
    return refresh;
  }

  async #readChanged(): Promise<void> {
    const times = await Promise.all(this.#folders.map(({ folder }) => folder.changedAt()));
    const changed = this.#folders.flatMap((state, at) => (state.changedAt === times[at] ? [] : [at]));
    if (changed.length === 0) return;
    const beganMs = performance.now();
    if (this.#complete && beganMs < this.#readAgainAtMs) return;
    const read = await Promise.all(changed.map((at) => this.#folders[at]!.folder.names()));
    const wallNs = BigInt(Date.now()) * 1_000_000n;
    for (const [position, at] of changed.entries()) {
      const state = this.#folders[at]!;
      const found = new Set(read[position]!);
      // What this process did since is not in what was read, or not reliably.
      for (const { folder, name, exists } of this.#meanwhile) {
        if (folder !== at) continue;
        if (exists) found.add(name);
        else found.delete(name);
      }
      for (const name of state.names) if (!found.has(name)) this.#apply(at, name, false);
      for (const name of found) if (!state.names.has(name)) this.#apply(at, name, true);
      const settled = wallNs - times[at]! > BigInt(coarsestTickMs) * 1_000_000n;
      state.changedAt = settled ? times[at] : undefined;
    }
    this.#complete = true;
    const endedMs = performance.now();
    const tookMs = endedMs - beganMs;
    this.#readAgainAtMs = tookMs < cheapReadMs ? endedMs : endedMs + tookMs * rereadFactor;
  }

  #apply(folder: number, name: string, exists: boolean): void {
    const { names } = this.#folders[folder]!;
    if (names.has(name) === exists) return;
    if (exists) {
      names.add(name);
      if (!this.#gone.delete(name)) this.#unsorted.add(name);
    } else {
      names.delete(name);
      if (!this.#unsorted.delete(name)) this.#gone.add(name);
    }
  }

  #merge(): readonly string[] {
    if (this.#unsorted.size + this.#gone.size === 0) return this.#sorted;
    const added = [...this.#unsorted].sort();
    const merged: string[] = [];
    let next = 0;
    for (const name of this.#sorted) {
      while (next < added.length && added[next]! < name) merged.push(added[next++]!);
      if (!this.#gone.has(name)) merged.push(name);
    }
    while (next < added.length) merged.push(added[next++]!);
    this.#unsorted.clear();
    this.#gone.clear();
    this.#sorted = merged;
    return merged;
  }
}

/** Names after `after` that begin with `prefix`, at most `limit`. */
export function pageOf<Name extends string>(
  sorted: readonly Name[],
  prefix: string,
  after: string,
  limit: number,
): { names: Name[]; more: boolean } {
  const names: Name[] = [];
  let at = firstIndexFrom(sorted, prefix > after ? prefix : after);
  if (after !== '' && sorted[at] === after) at++;
  for (; at < sorted.length && sorted[at]!.startsWith(prefix); at++) {
    if (names.length === limit) return { names, more: true };
    names.push(sorted[at]!);
  }
  return { names, more: false };
}

/** Index of the first name that is not before `bound`. */
function firstIndexFrom(sorted: readonly string[], bound: string): number {
  let low = 0;
  let high = sorted.length;
  while (low < high) {
    const middle = (low + high) >>> 1;
    if (sorted[middle]! < bound) low = middle + 1;
    else high = middle;
  }
  return low;
}
