/**
 * kill -9 while keys are created, imported and deleted: nothing acknowledged is missing, nothing deleted comes back,
 * nothing half-written shows. 150 kills of each store on disk; KILLS changes that.
 */
import { execFileSync, spawn } from 'node:child_process';
import { once } from 'node:events';
import { randomBytes } from 'node:crypto';
import { readdir, writeFile } from 'node:fs/promises';
import path from 'node:path';
import t, { type Test } from 'tap';
import type { KeystoreConfig } from '../../src/config/model.ts';
import { hasCode } from '../../src/errors.ts';
import { parseKeyName, parseStoredKey, type KeyName } from '../../src/keys/index.ts';
import { openKeystore, type Keystore } from '../../src/keystores/index.ts';
import { fileConfig, temporaryFolder, type FileConfig } from './folders.ts';

t.setTimeout(280_000);

const kills = Number(process.env['KILLS'] ?? 150);
const longestWorkMs = 25;
const mostStartMs = 20_000;
const rotator = path.join(import.meta.dirname, 'kill-rotator.ts');
const writer = path.join(import.meta.dirname, 'kill-writer.ts');

interface Round {
  /** The last word on each name: what was asked, and whether that was acknowledged. */
  readonly names: Map<KeyName, { asked: string; done: boolean }>;
  readonly underWay: number;
}

/** Starting is most of a round: compiled code is kept between them. */
function writerEnvironment(cacheFolder: string): NodeJS.ProcessEnv {
  return { ...process.env, NODE_COMPILE_CACHE: cacheFolder, NODE_V8_COVERAGE: undefined };
}

/** Starts a writer, lets it work for a moment, kills it, and reads all that it said. */
async function writeAndKill(config: KeystoreConfig, prefix: string, cacheFolder: string): Promise<Round> {
  const child = spawn(process.execPath, [writer, JSON.stringify(config), prefix], {
    stdio: ['ignore', 'pipe', 'inherit'],
    env: writerEnvironment(cacheFolder),
  });
  const deadline = setTimeout(() => child.kill('SIGKILL'), mostStartMs);
  let said = '';
  let armed = false;
  child.stdout.setEncoding('utf8').on('data', (text: string) => {
    said += text;
    if (armed || !said.startsWith('ready\n')) return;
    armed = true;
    setTimeout(() => child.kill('SIGKILL'), Math.random() * longestWorkMs);
  });
  const [, signal] = (await once(child, 'close')) as [number | null, string | null];
  clearTimeout(deadline);
  if (!armed || signal !== 'SIGKILL') throw new Error(`the writer ended by itself (${signal}): ${said}`);
  const names: Round['names'] = new Map();
  // What follows the last line break was cut off by the kill.
  for (const line of said.slice(0, said.lastIndexOf('\n')).split('\n').slice(1)) {
    const [verb, text] = line.split(' ') as [string, string];
    const name = parseKeyName(text);
    if (verb === 'done') names.get(name)!.done = true;
    else names.set(name, { asked: verb, done: false });
  }
  return { names, underWay: [...names.values()].filter((each) => !each.done).length };
}

async function exists(store: Keystore, name: KeyName): Promise<boolean> {
  try {
    // Complete, or the parser throws.
    parseStoredKey(await store.read(name)).wipe();
    return true;
  } catch (error) {
    if (hasCode(error, 'SELLO_KEY_NOT_FOUND')) return false;
    throw error;
  }
}

async function listAll(store: Keystore): Promise<KeyName[]> {
  const names: KeyName[] = [];
  for (let more = true; more;) {
    const after = names.at(-1);
    const page = await store.list({ prefix: '', limit: 1024, ...(after === undefined ? {} : { after }) });
    names.push(...page.names);
    more = page.more;
  }
  return names;
}

async function survives(
  t: Test,
  config: Extract<KeystoreConfig, { path: string }>,
  cacheFolder: string,
): Promise<void> {
  const expected = new Set<KeyName>();
  const wrong: string[] = [];
  let operations = 0;
  let underWay = 0;
  for (let round = 0; round < kills; round++) {
    const { names, underWay: cut } = await writeAndKill(config, `r${round}`, cacheFolder);
    operations += names.size;
    underWay += cut;
    const store = await openKeystore(config);
    for (const [name, { asked, done }] of names) {
      const there = await exists(store, name);
      if (done && there !== (asked !== 'delete'))
        wrong.push(`round ${round}: acknowledged ${asked} of ${name} is lost`);
      if (there) expected.add(name);
    }
    if (round % 10 === 9 || round === kills - 1) {
      const listed = await listAll(store);
      const extra = listed.filter((name) => !expected.has(name));
      if (extra.length > 0 || listed.length !== expected.size) {
        wrong.push(
          `round ${round}: listed ${listed.length} of ${expected.size}, not expected: ${extra.join(' ')}`,
        );
      }
    }
    await store.close();
  }
  const store = await openKeystore(config);
  for (const name of expected) if (!(await exists(store, name))) wrong.push(`in the end ${name} is missing`);
  await store.close();
  t.strictSame(wrong, []);
  const left = (await readdir(config.path, { recursive: true })).filter((name) =>
    name.includes('.sello-tmp-'),
  );
  t.strictSame(left, [], 'no temporary file is left');
  t.ok(operations > kills * 3, `${operations} operations`);
  t.ok(underWay > kills / 3, `${underWay} of them cut off by the kill`);
}

t.test(`${2 * kills} kills while keys are written`, { timeout: 280_000 }, async (t) => {
  const cacheFolder = path.join(await temporaryFolder(t), 'compiled');
  const fs = { kind: 'fs', path: path.join(await temporaryFolder(t), 'keys') } as const;
  execFileSync(process.execPath, [writer, '{"kind":"memory"}', 'warm'], {
    env: writerEnvironment(cacheFolder),
  });
  const began = performance.now();
  await Promise.all([survives(t, fs, cacheFolder), survives(t, await fileConfig(t), cacheFolder)]);
  t.comment(`${Math.round(performance.now() - began)} ms`);
});

t.test(
  'kills while the root key is changed: the store opens with the one acknowledged last, or the next',
  async (t) => {
    const folder = await temporaryFolder(t);
    const files = ['one', 'two'].map((name) => path.join(folder, name)) as [string, string];
    for (const file of files) await writeFile(file, randomBytes(32));
    const config = (file: string): FileConfig => ({
      kind: 'file',
      path: path.join(folder, 'store'),
      rootKey: { from: 'file', path: file },
    });
    const made = await openKeystore(config(files[0]));
    await made.create(parseKeyName('k'), Buffer.from('v'));
    await made.close();
    let rotations = 0;
    for (let round = 0; round < 20; round++) {
      const child = spawn(process.execPath, [rotator, path.join(folder, 'store'), ...files], {
        stdio: ['ignore', 'pipe', 'inherit'],
      });
      const deadline = setTimeout(() => child.kill('SIGKILL'), mostStartMs);
      let said = '';
      child.stdout.setEncoding('utf8').on('data', (text: string) => {
        if (said === '') setTimeout(() => child.kill('SIGKILL'), Math.random() * 4 * longestWorkMs);
        said += text;
      });
      await once(child, 'close');
      clearTimeout(deadline);
      rotations += said.split('\n').filter((line) => line.startsWith('rotated')).length;
      let opened = 0;
      for (const file of files) {
        try {
          const store = await openKeystore(config(file));
          t.equal((await store.read(parseKeyName('k'))).toString(), 'v');
          await store.close();
          opened++;
        } catch (error) {
          if (!hasCode(error, 'SELLO_ROOT_KEY_WRONG')) throw error;
        }
      }
      t.equal(opened, 1, 'exactly one root key opens it');
    }
    t.ok(rotations > 5, `${rotations} rotations`);
  },
);
