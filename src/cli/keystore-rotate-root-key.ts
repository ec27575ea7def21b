/** `sello keystore rotate-root-key --config FILE --to SOURCE`: puts a file keystore under another root key. */
import type { SecretSource } from '../config/model.ts';
import { type CliCommand, child, examples } from './command.ts';
import { fileKeystoreOf } from './configured-keystore.ts';
import { Failure } from './failure.ts';
import { type Io, pathOf, write } from './io.ts';
import { type KeystoreOptions, configOf, failingOnKeystore, keystoreOptions } from './keystore-options.ts';

export function keystoreRotateRootKey(parent: CliCommand): void {
  const command = child(parent, 'rotate-root-key', 'Put a file keystore under another root key');
  command
    .argument('[ARGUMENT...]')
    .usage('--config <FILE> --to <file:PATH | env:NAME | credential:NAME>')
    .option('--to <SOURCE>', 'Where the new root key is: file:PATH, env:NAME or credential:NAME');
  keystoreOptions(command).addHelpText(
    'after',
    '\nThe keys stay as they are, and a server that has the keystore open goes on. The configuration file is not changed:\nthe command says what to change in it. Run it again after an interruption.',
  );
  examples(command, [
    ['Use a root key in a file', 'keystore rotate-root-key --config sello.yaml --to file:new-root.key'],
  ]);
  command.action(async (given: string[], options: KeystoreOptions & { to?: string }) => {
    const { io } = command;
    const config = configOf(command, options);
    command.checkArguments(given, []);
    if (options.to === undefined) throw command.misuse("no new root key. Use '--to'");
    const to = sourceOf(io, options.to);
    const { keystore, tenant } = await fileKeystoreOf(io, config, options.tenant);
    const { rotateRootKey } = await import('../keystores/index.ts');
    const result = await failingOnKeystore(
      rotateRootKey(keystore.path, keystore.rootKey, to, io.env),
      ({ code }) =>
        code === 'SELLO_ROOT_KEY_WRONG'
          ? 'Neither the configured root key nor the new one is the one this keystore is under. Nothing was changed.'
          : undefined,
    );
    const field = rootKeyField(to);
    if (options.json === true) {
      const object = { result, keystore: keystore.path, tenant, config, root_key: field };
      await write(io.stdout, `${JSON.stringify(object)}\n`);
      return;
    }
    const [[kind, value]] = Object.entries(field) as [[string, string]];
    const lines = [
      result === 'rotated'
        ? `${keystore.path} is under the new root key.`
        : `${keystore.path} was under the new root key already.`,
      `Change ${config} before the server starts again; tenant ${tenant}:`,
      '',
      '    keystore:',
      '      file:',
      `        rootKey: { ${kind}: ${JSON.stringify(value)} }`,
      '',
      'Keep the old root key as long as backups made under it.',
    ];
    await write(io.stdout, `${lines.join('\n')}\n`);
  });
}

/** `file:PATH`, `env:NAME` or `credential:NAME`. */
function sourceOf(io: Io, text: string): SecretSource {
  const [, from, value] = /^(file|env|credential):(.+)$/s.exec(text) ?? [];
  if (from === undefined || value === undefined) {
    // The text itself is not repeated: it may be the key.
    throw new Failure("'--to' names no place of a root key", {
      hint: 'Write file:PATH, env:NAME or credential:NAME.',
    });
  }
  if (from === 'file') return { from, path: pathOf(io, value) };
  return from === 'env' ? { from, name: value } : { from: 'credential', name: value };
}

/** As it is written in a configuration. */
function rootKeyField(source: SecretSource): Record<string, string> {
  return { [source.from]: source.from === 'file' ? source.path : source.name };
}
