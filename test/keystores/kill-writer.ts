/**
 * The process that test/keystores/kill.test.ts kills: creates, imports and deletes keys on three lanes until it dies.
 * It writes a line before each operation and one after it; written at once, so a line that says "done" is in the pipe
 * before anything else happens.
 */
import { randomBytes } from 'node:crypto';
import { writeSync } from 'node:fs';
import type { KeystoreConfig } from '../../src/config/model.ts';
import { parseKeyName, TenantKeys } from '../../src/keys/index.ts';
import { FileKeystore } from '../../src/keystores/file.ts';
import { FsKeystore } from '../../src/keystores/fs.ts';
import type { Keystore } from '../../src/keystores/index.ts';
import { MemoryKeystore } from '../../src/keystores/memory.ts';
import { readRootKey } from '../../src/keystores/root-key.ts';

const config = JSON.parse(process.argv[2]!) as KeystoreConfig;
const prefix = process.argv[3]!;
const keys = new TenantKeys(await open(), {
  maxEntries: 100,
  expiryMs: 0,
  unusedMs: 0,
  offlineMs: 0,
  negativeMs: 0,
});

/** As `openKeystore` does, without its door, which loads what speaks with Vault too: starting is most of a round. */
async function open(): Promise<Keystore> {
  if (config.kind === 'fs') return FsKeystore.open(config.path);
  // A round that warms the cache of compiled code.
  if (config.kind === 'memory') return new MemoryKeystore();
  if (config.kind !== 'file') throw new Error(config.kind);
  return FileKeystore.open({ path: config.path, rootKey: await readRootKey(config.rootKey) });
}

function say(line: string): void {
  writeSync(1, `${line}\n`);
}

async function lane(number: number): Promise<void> {
  // Bounded: a test that dies leaves no process behind.
  for (let i = 0; i < 2000; i++) {
    const name = parseKeyName(`${prefix}_${number}_${i}`);
    if (i % 2 === 0) {
      say(`create ${name}`);
      await keys.create(name, 'writer');
    } else {
      say(`import ${name}`);
      await keys.importKey(name, randomBytes(32), 'AES256', 'writer');
    }
    say(`done ${name}`);
    if (i % 3 === 2) {
      const gone = parseKeyName(`${prefix}_${number}_${i - 1}`);
      say(`delete ${gone}`);
      await keys.delete(gone);
      say(`done ${gone}`);
    }
  }
}

say('ready');
// Compiled code is kept when a process ends by itself, which only this one does: test/keystores/kill.test.ts begins with it.
if (config.kind === 'memory') process.exit();
await Promise.all([lane(1), lane(2), lane(3)]);
