/**
 * One process writes a stream. The lock is a file with the identity of the process; it is taken over when that process has certainly
 * ended. Where that cannot be known (another host or container) the stream is left alone, and a new one is begun.
 */
import { randomUUID } from 'node:crypto';
import { link, readFile, rename, unlink, writeFile } from 'node:fs/promises';
import path from 'node:path';
import { formatIdentity, identifyProcess, livenessOf, parseIdentity } from '../keystores/index.ts';
import { lockName } from './segment.ts';

/** Streams of this process: it may have two on one trail while a reload goes on. */
const held = new Set<string>();

/** @returns false when somebody else has it, or may have */
export async function takeStream(folder: string): Promise<boolean> {
  if (held.has(folder)) return false;
  held.add(folder);
  try {
    if (await take(path.join(folder, lockName))) return true;
  } catch (error) {
    held.delete(folder);
    throw error;
  }
  held.delete(folder);
  return false;
}

export async function releaseStream(folder: string): Promise<void> {
  await unlink(path.join(folder, lockName)).catch(() => undefined);
  held.delete(folder);
}

async function take(file: string): Promise<boolean> {
  const own = `${formatIdentity(identifyProcess(process.pid))}\n`;
  for (let tries = 0; tries < 2; tries++) {
    try {
      await writeFile(file, own, { flag: 'wx', mode: 0o640 });
      return true;
    } catch (error) {
      if ((error as NodeJS.ErrnoException).code !== 'EEXIST') throw error;
    }
    const text = await readFile(file, 'utf8').catch(() => '');
    const owner = parseIdentity(text.trim());
    if (owner === undefined) return false;
    // Our own identity in a lock that this process does not hold: left when an unlink failed.
    if (text !== own && livenessOf(owner) !== 'dead') return false;
    if (!(await removeIfStill(file, text))) return false;
  }
  return false;
}

/** Removes the lock that was looked at; of several processes one succeeds. */
async function removeIfStill(file: string, text: string): Promise<boolean> {
  const aside = `${path.dirname(file)}/.sello-tmp-${randomUUID()}`;
  try {
    await rename(file, aside);
  } catch {
    return false;
  }
  const is = (await readFile(aside, 'utf8')) === text;
  // It was somebody's fresh lock: give it back, unless there is a newer one again.
  if (!is) await link(aside, file).catch(() => undefined);
  await unlink(aside);
  return is;
}
