/** `sello keystore check --config FILE`: opens a keystore and reads every key in it, with all its versions. */
import { SelloError } from '../errors.ts';
import type { KeyName } from '../keys/index.ts';
import type { Keystore } from '../keystores/index.ts';
import { type CliCommand, child, examples } from './command.ts';
import { keystoreOf, openKeystoreOf } from './configured-keystore.ts';
import { Failure } from './failure.ts';
import { type Io, write } from './io.ts';
import {
  type KeystoreOptions,
  configOf,
  failingOnKeystore,
  keysText,
  keystoreOptions,
} from './keystore-options.ts';

/** Names of one page, and keys read at a time. */
const pageNames = 1024;
const readLanes = 16;

interface Unreadable {
  readonly name: string;
  readonly code: string;
  readonly detail: string;
}

interface Findings {
  readonly keys: number;
  readonly unreadable: readonly Unreadable[];
}

export function keystoreCheck(parent: CliCommand): void {
  const command = child(parent, 'check', 'Read every key of a keystore and name those that cannot be read');
  command.argument('[ARGUMENT...]').usage('--config <FILE>');
  keystoreOptions(command).addHelpText(
    'after',
    "\nNo key is changed. A keystore of the kind 'file' must not be open in a server meanwhile.",
  );
  examples(command, [['Check a keystore', 'keystore check --config sello.yaml']]);
  command.action(async (given: string[], options: KeystoreOptions) => {
    const { io } = command;
    const config = configOf(command, options);
    command.checkArguments(given, []);
    const { tenant } = await keystoreOf(io, config, options.tenant);
    const store = await openKeystoreOf(io, config, 'source', options.tenant);
    let findings: Findings;
    try {
      findings = await failingOnKeystore(readAll(store, tenant, io.signal), () => undefined);
      for (const notice of (await store.notices?.()) ?? []) await write(io.stderr, `Notice: ${notice}\n`);
    } finally {
      await store.close();
    }
    await report(io, store, findings, options);
  });
}

async function readAll(store: Keystore, tenant: string, signal: AbortSignal): Promise<Findings> {
  const { keyChecker } = await import('../keys/index.ts');
  const check = keyChecker(store, tenant);
  const unreadable: Unreadable[] = [];
  const readOne = async (name: KeyName): Promise<'read' | 'gone'> => {
    try {
      await check(name);
    } catch (error) {
      if (!(error instanceof SelloError)) throw error;
      // An `fs` folder may be in use: deleted since it was listed.
      if (error.code === 'SELLO_KEY_NOT_FOUND') return 'gone';
      // A fault of the store is not one of this key: every other would follow.
      if (error.retryable) throw error;
      unreadable.push({ name, code: error.code, detail: error.detail ?? error.message });
    }
    return 'read';
  };
  let keys = 0;
  let after: KeyName | undefined;
  for (;;) {
    const { names, more } = await store.list({ prefix: '', after, limit: pageNames });
    for (let at = 0; at < names.length; at += readLanes) {
      if (signal.aborted) throw new Failure('interrupted');
      const outcomes = await Promise.all(names.slice(at, at + readLanes).map(readOne));
      keys += outcomes.filter((outcome) => outcome === 'read').length;
    }
    after = names.at(-1);
    if (!more || after === undefined) break;
  }
  unreadable.sort((a, b) => (a.name < b.name ? -1 : 1));
  return { keys, unreadable };
}

async function report(
  io: Io,
  store: Keystore,
  { keys, unreadable }: Findings,
  { json }: KeystoreOptions,
): Promise<void> {
  if (json === true) {
    const { kind, location } = store;
    const object = { kind, location, keys, readable: keys - unreadable.length, unreadable };
    await write(io.stdout, `${JSON.stringify(object)}\n`);
  } else {
    for (const { name, detail } of unreadable) await write(io.stderr, `Unreadable ${name}: ${detail}\n`);
    if (unreadable.length === 0)
      await write(
        io.stdout,
        `${store.location}: ok, ${keysText(keys)}${keys === 0 ? '' : ', all readable'}\n`,
      );
  }
  if (unreadable.length === 0) return;
  throw new Failure(`${String(unreadable.length)} of ${keysText(keys)} cannot be read`, {
    hint: 'Restore the keystore from a backup into another folder, and take these keys from there (sello migrate).',
  });
}
