/** The process that test/keystores/kill.test.ts kills while it changes a store's root key to and fro. */
import { writeSync } from 'node:fs';
import type { SecretSource } from '../../src/config/model.ts';
import { rotateRootKey } from '../../src/keystores/index.ts';

const [folder, one, two] = process.argv.slice(2) as [string, string, string];
const source = (file: string): SecretSource => ({ from: 'file', path: file });
writeSync(1, 'ready\n');
for (let i = 0; i < 5000; i++) {
  const [from, to] = i % 2 === 0 ? [one, two] : [two, one];
  // Where the last one was killed, the store may be under the other key already: then this says so and goes on.
  writeSync(1, `${await rotateRootKey(folder, source(from), source(to))} ${to}\n`);
}
