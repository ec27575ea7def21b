/**
 * Holds on the local disk, so that a replica that restarts while the store is away still refuses what it refused: a file per hold in the
 * tenant's folder, whole or absent. A hold that was withdrawn leaves its token for a while: a replica that was down meanwhile has to
 * hear of it. Whoever can write here can restrict keys, or forget a restriction, and no more.
 */
import { mkdir, readdir, unlink } from 'node:fs/promises';
import { join } from 'node:path';
import { setTimeout as delay } from 'node:timers/promises';
import { readWholeFile, replaceFile } from '../keystores/durable-folder.ts';
import { rememberWithdrawnSeconds } from './ended-holds.ts';
import { isCount } from './keyring-record.ts';
import { parseHold } from './peer-item.ts';
import { lockOf, type Hold } from './restraint.ts';

export interface KeptHold {
  readonly hold: Hold;
  /** Where it was asked for here, or is withdrawn. */
  readonly token?: string | undefined;
  /** Asked for, or withdrawn, at this replica. */
  readonly isOurs: boolean;
  /** When it was withdrawn, seconds since the epoch by the clock here. */
  readonly endedAt?: number | undefined;
}

const maxFileBytes = 16_384;
/** As long as an audit record may take. */
const answersWithinMs = 2_000;
const hex256 = /^[0-9a-f]{64}$/;

export class HoldFiles {
  readonly #folder: string;
  /** What is being done to a hold's file. */
  readonly #last = new Map<string, Promise<boolean>>();

  readonly #onTrouble: (error: unknown) => void;
  readonly #put: typeof replaceFile;
  /** Calls that the disk has not answered in time. While there are any, no other waits for it. */
  #hanging = 0;

  /** @param onTrouble told of a file that could not be written or removed: a hold is in force all the same */
  constructor(folder: string, onTrouble: (error: unknown) => void, put = replaceFile) {
    this.#folder = folder;
    this.#onTrouble = onTrouble;
    this.#put = put;
  }

  async load(nowSeconds: number): Promise<KeptHold[]> {
    await mkdir(this.#folder, { recursive: true, mode: 0o700 });
    const kept: KeptHold[] = [];
    for (const name of (await readdir(this.#folder)).sort()) {
      if (!/^[0-9a-f]{64}\.json$/.test(name)) continue;
      const content = await readWholeFile(join(this.#folder, name), maxFileBytes);
      const one = Buffer.isBuffer(content) ? parse(content) : undefined;
      if (one === undefined)
        throw new Error(`'${join(this.#folder, name)}' is no hold: look at it, and take it away`);
      if (one.endedAt !== undefined && one.endedAt + rememberWithdrawnSeconds < nowSeconds)
        await this.remove(one.hold.id);
      else kept.push(one);
    }
    return kept;
  }

  /** @returns whether it is on the disk. Never throws */
  write(kept: KeptHold): Promise<boolean> {
    const { id } = kept.hold;
    return this.#inOrder(id, () => this.#put(this.#folder, `${id}.json`, Buffer.from(JSON.stringify(kept))));
  }

  /** Never throws. */
  async remove(id: string): Promise<void> {
    await this.#inOrder(id, () =>
      unlink(join(this.#folder, `${id}.json`)).catch((error: NodeJS.ErrnoException) => {
        if (error.code !== 'ENOENT') throw error;
      }),
    );
  }

  /** A hold may end while it is written. A disk that hangs holds up nobody: what peers tell comes one after the other. */
  async #inOrder(id: string, work: () => Promise<void>): Promise<boolean> {
    if (this.#hanging > 0) {
      this.#onTrouble(new Error('the disk does not answer'));
      return false;
    }
    const mine = (this.#last.get(id) ?? Promise.resolve(true)).then(work).then(
      () => true,
      (error: unknown) => {
        this.#onTrouble(error);
        return false;
      },
    );
    this.#last.set(id, mine);
    void mine.finally(() => {
      if (this.#last.get(id) === mine) this.#last.delete(id);
    });
    const waiting = new AbortController();
    const late = delay(answersWithinMs, 'late' as const, { signal: waiting.signal, ref: false });
    const answer = await Promise.race([mine, late.catch(() => 'late' as const)]);
    waiting.abort();
    if (answer !== 'late') return answer;
    this.#hanging++;
    void mine.finally(() => this.#hanging--);
    this.#onTrouble(new Error('the disk does not answer'));
    return false;
  }
}

function parse(content: Buffer): KeptHold | undefined {
  let value: Partial<Record<keyof KeptHold, unknown>>;
  try {
    value = JSON.parse(content.toString()) as typeof value;
  } catch {
    return undefined;
  }
  const hold = parseHold(value.hold);
  const { endedAt, isOurs, token } = value;
  if (hold === undefined || typeof isOurs !== 'boolean') return undefined;
  if (endedAt !== undefined && !isCount(endedAt)) return undefined;
  // What shows the end of a withdrawn one, or lets one that was asked for here be written and taken back.
  if (token === undefined) return isOurs || endedAt !== undefined ? undefined : { hold, isOurs };
  if (typeof token !== 'string' || !hex256.test(token) || lockOf(token) !== hold.lock) return undefined;
  return isOurs || endedAt !== undefined ? { hold, token, isOurs, endedAt } : undefined;
}
