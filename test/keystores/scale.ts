/** What a store with many keys must hold: opening, pages of a list, and moving all of them. Run with 10,000 and 100,000. */
import { randomBytes } from 'node:crypto';
import { mkdirSync, writeFileSync } from 'node:fs';
import path from 'node:path';
import t from 'tap';
import type { KeystoreConfig } from '../../src/config/model.ts';
import { readHeader, openHeader } from '../../src/keystores/file-header.ts';
import { shardFolder } from '../../src/keystores/file-layout.ts';
import { FileNames } from '../../src/keystores/file-names.ts';
import { sealRecord } from '../../src/keystores/file-record.ts';
import { migrateKeys, openKeystore, readRootKey, type Keystore } from '../../src/keystores/index.ts';
import { key } from './contract.ts';
import { fileConfig, temporaryFolder, type FileConfig } from './folders.ts';

const mostOpenMs = 3000;
const mostMedianPageMs = 20;

function nameOf(i: number): string {
  return `bucket-${i % 97}_key-${i}`;
}

/** As the store itself writes them, without waiting for the disk each time. */
async function fillFile(config: FileConfig, count: number): Promise<void> {
  await (await openKeystore(config)).close();
  const { header, storeKey } = openHeader(
    (await readHeader(config.path))!,
    await readRootKey(config.rootKey),
  );
  const names = new FileNames(storeKey, header.storeId);
  for (let i = 0; i < count; i++) {
    const name = nameOf(i);
    const { shard, file } = names.fileOf(name);
    const record = sealRecord(header, storeKey, name, randomBytes(140));
    writeFileSync(path.join(shardFolder(config.path, shard), file), record);
  }
}

function fillFs(folder: string, count: number): void {
  mkdirSync(folder, { recursive: true });
  for (let i = 0; i < count; i++)
    writeFileSync(path.join(folder, nameOf(i)), randomBytes(105).toString('base64'));
}

/** Opens the store, and pages through it three times. */
async function measure(
  config: KeystoreConfig,
  count: number,
): Promise<{ openMs: number; firstPageMs: number; medianPageMs: number }> {
  const began = performance.now();
  const store = await openKeystore(config);
  await store.read(key(nameOf(count - 1)));
  const openMs = performance.now() - began;
  const pagesMs: number[] = [];
  for (let round = 0; round < 3; round++) {
    let seen = 0;
    let last = '';
    for (let more = true; more;) {
      const from = performance.now();
      const page = await store.list({
        prefix: '',
        limit: 1024,
        ...(last === '' ? {} : { after: key(last) }),
      });
      pagesMs.push(performance.now() - from);
      for (const name of page.names) {
        if (name <= last) throw new Error(`${name} after ${last}`);
        last = name;
        seen++;
      }
      more = page.more;
    }
    if (seen !== count) throw new Error(`listed ${seen} of ${count}`);
  }
  await store.close();
  const sorted = [...pagesMs].sort((a, b) => a - b);
  return { openMs, firstPageMs: pagesMs[0]!, medianPageMs: sorted[sorted.length >> 1]! };
}

async function everyName(store: Keystore): Promise<number> {
  let count = 0;
  let after: ReturnType<typeof key> | undefined;
  for (;;) {
    const page = await store.list({ prefix: '', limit: 1024, ...(after === undefined ? {} : { after }) });
    count += page.names.length;
    if (!page.more) return count;
    after = page.names.at(-1);
  }
}

export function testScale(count: number): void {
  for (const kind of ['fs', 'file'] as const) {
    t.test(`${kind}: opens ${count} keys within 3 s, and lists a page within 20 ms`, async (t) => {
      const config =
        kind === 'file' ? await fileConfig(t) : ({ kind, path: await temporaryFolder(t) } as const);
      if (config.kind === 'file') await fillFile(config, count);
      else fillFs(config.path, count);
      const { openMs, firstPageMs, medianPageMs } = await measure(config, count);
      const rssMb = process.memoryUsage.rss() / 2 ** 20;
      t.comment(
        `open ${openMs.toFixed(0)} ms, first page ${firstPageMs.toFixed(0)} ms, median page ${medianPageMs.toFixed(1)} ms, RSS ${rssMb.toFixed(0)} MiB`,
      );
      t.ok(openMs + firstPageMs < mostOpenMs, `${openMs} + ${firstPageMs} ms`);
      t.ok(medianPageMs < mostMedianPageMs, `${medianPageMs} ms`);
    });
  }

  t.test(`${count} keys move from fs to file, each one flushed and verified`, async (t) => {
    const folder = await temporaryFolder(t);
    fillFs(folder, count);
    const from = await openKeystore({ kind: 'fs', path: folder });
    const config = await fileConfig(t);
    const to = await openKeystore(config);
    const began = performance.now();
    const result = await migrateKeys({ from, to });
    t.comment(`${((performance.now() - began) / 1000).toFixed(1)} s`);
    t.match(result, { total: count, copied: count, failed: [], skipped: [] });
    await to.close();
    const again = await openKeystore(config);
    t.equal(await everyName(again), count);
    await again.close();
  });
}
