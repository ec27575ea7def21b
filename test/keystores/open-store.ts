/** A server in miniature for lock tests: opens the file keystore of argv[2], says how that went, closes it when its input ends. */
import { SelloError } from '../../src/errors.ts';
import { openKeystore } from '../../src/keystores/index.ts';
import type { FileConfig } from './folders.ts';

const config = JSON.parse(process.argv[2]!) as FileConfig;
const ownerPid = process.argv[3] === undefined ? process.pid : Number(process.argv[3]);
try {
  const store = await openKeystore(config, { ownerPid });
  process.stdout.write('open\n');
  for await (const _ of process.stdin);
  await store.close();
} catch (error) {
  if (!(error instanceof SelloError)) throw error;
  process.stdout.write(`${error.code}\n`);
}
