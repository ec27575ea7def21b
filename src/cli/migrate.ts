/** `sello migrate --from FILE --to FILE [PATTERN]`: copies keys from one keystore to another, each one verified. */
import { openKeystoreOf } from './configured-keystore.ts';
import { type CliCommand, child, examples } from './command.ts';
import { Failure, failingWith } from './failure.ts';
import { type Io, write } from './io.ts';
import type { MigrateOptions, MigrateResult } from '../keystores/index.ts';
import { hasCode } from '../errors.ts';

interface Options {
  readonly from?: string;
  readonly to?: string;
  readonly fromTenant?: string;
  readonly toTenant?: string;
  readonly merge?: boolean;
  readonly force?: boolean;
  readonly json?: boolean;
}

/** On a terminal, progress is shown as often as this. */
const progressIntervalMs = 100;

export function migrate(parent: CliCommand): void {
  const command = child(parent, 'migrate', 'Copy keys from one keystore to another');
  command
    .argument('[PATTERN...]')
    .usage('--from <FILE> --to <FILE> [PATTERN]')
    .option('--from <FILE>', 'Configuration file (Sello or KES) whose keystore holds the keys')
    .option('--to <FILE>', 'Configuration file of the keystore they go to')
    .option('--from-tenant <NAME>', 'Tenant of --from, when it has several')
    .option('--to-tenant <NAME>', 'Tenant of --to, when it has several')
    .option('--merge', 'Keep keys of the target that differ')
    .option('-f, --force', 'Replace keys of the target that differ')
    .option('--json', 'Print the result as JSON')
    .addHelpText(
      'after',
      '\nEvery key is read back and compared. Run it again after an interruption: what is there is recognised.',
    );
  examples(command, [
    ['Take the keys of a KES server over', 'migrate --from kes.yaml --to sello.yaml'],
    ['Only keys whose names begin with app', "migrate --from kes.yaml --to sello.yaml 'app*'"],
  ]);
  command.action(async (given: string[], options: Options) => {
    command.checkArguments(given, [], 1);
    if (options.force === true && options.merge === true) {
      throw new Failure("'--force' and '--merge' flags are mutually exclusive");
    }
    if (options.from === undefined) throw new Failure("missing migration source. Use '--from'");
    if (options.to === undefined) throw new Failure("missing migration target. Use '--to'");
    const { io } = command;
    const from = await openKeystoreOf(io, options.from, 'source', options.fromTenant);
    try {
      const to = await openKeystoreOf(io, options.to, 'target', options.toTenant);
      try {
        if (options.json !== true) await write(io.stdout, 'Starting key migration:\n\n');
        const result = await failingWith('', run(io, { ...options, from, to, pattern: given[0] }));
        await report(io, result, options);
      } finally {
        await to.close();
      }
    } finally {
      await from.close();
    }
  });
}

type Stores = Pick<MigrateOptions, 'from' | 'to'>;

async function run(
  io: Io,
  {
    from,
    to,
    merge,
    force,
    pattern,
  }: Stores & { merge?: boolean; force?: boolean; pattern: string | undefined },
): Promise<MigrateResult> {
  const { migrateKeys } = await import('../keystores/index.ts');
  const { moveKeyring, refuseCustody } = await import('../keys/index.ts');
  let shownAtMs = 0;
  try {
    return await migrateKeys({
      from,
      to,
      merge: merge === true,
      force: force === true,
      signal: io.signal,
      before: async (name, value) => {
        refuseCustody(value);
        await moveKeyring(from, to, name);
      },
      ...(pattern === undefined ? {} : { pattern }),
      onProgress: ({ done }) => {
        if (io.stderr.isTTY !== true || performance.now() - shownAtMs < progressIntervalMs) return;
        shownAtMs = performance.now();
        io.stderr.write(`\r${String(done)} keys ...`);
      },
    });
  } catch (error) {
    if (hasCode(error, 'SELLO_STORE_UNREACHABLE') || hasCode(error, 'SELLO_STORE_FAILED')) {
      throw new Failure(`${error.message}${error.detail === undefined ? '' : `: ${error.detail}`}`, {
        hint: 'Run the same command again when the store is back: it goes on where it stopped.',
        cause: error,
      });
    }
    if (io.signal.aborted) {
      throw new Failure('interrupted', { hint: 'Run the same command again: it goes on where it stopped.' });
    }
    throw error;
  } finally {
    if (shownAtMs > 0) io.stderr.write('\r\u001b[K');
  }
}

async function report(io: Io, result: MigrateResult, options: Options): Promise<void> {
  const migrated = result.copied + result.replaced;
  if (options.json === true) {
    const { total, copied, alreadyThere, replaced, skipped, failed } = result;
    const object = { total, copied, already_there: alreadyThere, replaced, skipped, failed };
    await write(io.stdout, `${JSON.stringify(object)}\n`);
  } else {
    // No key of the source goes unmentioned.
    for (const { name, reason } of result.skipped) await write(io.stderr, `Skipped ${name}: ${reason}\n`);
    for (const { name, detail } of result.failed) await write(io.stderr, `Failed ${name}: ${detail}\n`);
    if (result.failed.length > 0) {
      await write(io.stdout, `Migrated ${String(migrated).padStart(6)} keys\n`);
    } else {
      await write(
        io.stdout,
        migrated === 0
          ? 'Migration succeeded! No keys migrated.\n'
          : `Migrated ${String(migrated).padStart(6)} keys successfully!\n`,
      );
    }
  }
  if (result.failed.length === 0) return;
  const onlyConflicts = result.failed.every(({ code }) => code === 'SELLO_KEY_EXISTS');
  throw new Failure(`${String(result.failed.length)} of ${String(result.total)} keys not migrated`, {
    hint: onlyConflicts
      ? 'Use --merge to keep the keys of the target, or --force to replace them.'
      : 'Each is named above with its reason. Run the same command again when that is mended.',
  });
}
