/** Folders and root keys for tests of stores on disk. */
import { mkdtemp, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import path from 'node:path';
import type { Test } from 'tap';
import type { KeystoreConfig } from '../../src/config/model.ts';

/** A folder that goes with the test. */
export async function temporaryFolder(test: Test): Promise<string> {
  const folder = await mkdtemp(path.join(tmpdir(), 'sello-keystore-'));
  test.teardown(() => rm(folder, { recursive: true, force: true }));
  return folder;
}

export type FileConfig = Extract<KeystoreConfig, { kind: 'file' }>;

/** A file keystore not made yet, and its root key in a file. */
export async function fileConfig(test: Test, rootKey: Buffer = Buffer.alloc(32, 0x5a)): Promise<FileConfig> {
  const folder = await temporaryFolder(test);
  const keyFile = path.join(folder, 'root.key');
  await writeFile(keyFile, rootKey.toString('base64'), { mode: 0o600 });
  return { kind: 'file', path: path.join(folder, 'store'), rootKey: { from: 'file', path: keyFile } };
}
