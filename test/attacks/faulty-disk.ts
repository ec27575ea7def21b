/** A disk that fails on command, below one folder of a real process: faulty-disk.c, compiled once per test file and preloaded. */
import { execFileSync } from 'node:child_process';
import { renameSync, rmSync, writeFileSync } from 'node:fs';
import path from 'node:path';
import type { Test } from 'tap';

export type DiskMode = 'ok' | 'eio' | 'half' | 'hang' | `slow:${number}` | 'sync-eio' | 'sync-hang';

/** The compiled shim in `folder`; undefined, with the reason shown, where there is no C compiler. */
export function compileFaultyDisk(t: Test, folder: string): string | undefined {
  const library = path.join(folder, 'faulty-disk.so');
  const source = path.join(import.meta.dirname, 'faulty-disk.c');
  try {
    execFileSync('gcc', ['-shared', '-fPIC', '-O2', '-Wall', '-Werror', '-o', library, source, '-ldl']);
  } catch (error) {
    const reason = `a disk that fails needs gcc: ${(error as Error).message.split('\n')[0]}`;
    if (process.env['CI'] === 'true' || (error as NodeJS.ErrnoException).code !== 'ENOENT') t.fail(reason);
    else t.pass('a disk that fails', { skip: reason });
    return undefined;
  }
  return library;
}

export class FaultyDisk {
  readonly env: Readonly<Record<string, string>>;
  readonly #modeFile: string;

  /** `folder` is the disk; `modeFile` must lie elsewhere. */
  constructor(library: string, folder: string, modeFile: string) {
    this.#modeFile = modeFile;
    this.env = { LD_PRELOAD: library, FAULTY_FOLDER: `${folder}/`, FAULTY_MODE: modeFile };
  }

  set mode(mode: DiskMode) {
    if (mode === 'ok') {
      rmSync(this.#modeFile, { force: true });
      return;
    }
    // The shim must never read an empty file.
    writeFileSync(`${this.#modeFile}.new`, mode);
    renameSync(`${this.#modeFile}.new`, this.#modeFile);
  }
}
