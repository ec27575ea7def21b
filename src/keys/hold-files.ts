/**
 * Holds on the local disk, so that a replica that restarts while the store is away still refuses what it refused: a file per hold in the
 * tenant's folder, whole or absent. A hold that was withdrawn leaves its token for a while: a replica that was down meanwhile has to
 * hear of it. Whoever can write here can restrict keys, or forget a restriction, and no more.
 */
import { mkdir, readdir, unlink } from 'node:fs/promises';
import { join } from 'node:path';
import { readWholeFile, replaceFile } from '../keystores/durable-folder.ts';
import { parseHold } from './peer-item.ts';
import { holdIdOf, type Hold } from './restraint.ts';

export interface KeptHold {
  readonly hold: Hold;
  /** Where it was asked for here. */
  readonly token?: string | undefined;
  readonly isWithdrawn: boolean;
}

const maxFileBytes = 16_384;
const hex256 = /^[0-9a-f]{64}$/;

/** How long the end of a withdrawn hold is remembered: replicas are down for less. */
export const rememberWithdrawnSeconds = 30 * 24 * 3600;

export class HoldFiles {
  readonly #folder: string;

  constructor(folder: string) {
    this.#folder = folder;
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
      if (one.isWithdrawn && one.hold.at + rememberWithdrawnSeconds < nowSeconds)
        await this.remove(one.hold.id);
      else kept.push(one);
    }
    return kept;
  }

  async write(kept: KeptHold): Promise<void> {
    await replaceFile(this.#folder, `${kept.hold.id}.json`, Buffer.from(JSON.stringify(kept)));
  }

  async remove(id: string): Promise<void> {
    await unlink(join(this.#folder, `${id}.json`)).catch((error: NodeJS.ErrnoException) => {
      if (error.code !== 'ENOENT') throw error;
    });
  }
}

function parse(content: Buffer): KeptHold | undefined {
  let value: { readonly hold?: unknown; readonly token?: unknown; readonly isWithdrawn?: unknown };
  try {
    value = JSON.parse(content.toString()) as typeof value;
  } catch {
    return undefined;
  }
  const hold = parseHold(value.hold);
  const { token, isWithdrawn } = value;
  if (hold === undefined || typeof isWithdrawn !== 'boolean') return undefined;
  if (
    token !== undefined &&
    !(typeof token === 'string' && hex256.test(token) && holdIdOf(token) === hold.id)
  )
    return undefined;
  if (isWithdrawn && token === undefined) return undefined;
  return { hold, token, isWithdrawn };
}
