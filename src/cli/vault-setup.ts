/** `sello vault setup --config FILE --tenant NAME`: prints, or applies, what Vault has to be told for a tenant. */
import { type CliCommand, child, examples } from './command.ts';
import { keystoreOf } from './configured-keystore.ts';
import { Failure } from './failure.ts';
import { type Io, pathOf, write } from './io.ts';
import { configOf } from './keystore-options.ts';
import type { AnySecret, VaultKvConfig } from '../config/model.ts';
import { SelloError } from '../errors.ts';

interface Options {
  readonly config?: string;
  readonly tenant?: string;
  readonly apply?: boolean;
  readonly tokenFile?: string;
  readonly policy?: string;
}

export function vaultSetup(parent: CliCommand): void {
  const command = child(parent, 'setup', 'Print or apply policies, engines and the login role of a tenant');
  command
    .argument('[ARGUMENT...]')
    .usage('--config <FILE>')
    .option('--config <FILE>', 'Configuration file that names the Vault')
    .option('--tenant <NAME>', 'Tenant, when it has several')
    .option('--policy <ROLE>', "Print one policy alone: 'runtime' or 'administrator'")
    .option('--apply', 'Do it, with the token in VAULT_TOKEN or in --token-file')
    .option('--token-file <FILE>', "File with an administrator's token")
    .addHelpText(
      'after',
      '\nWithout --apply nothing is asked of Vault: a shell script is printed. Everything can be run again. Engines and keys that are\nthere stay as they are; policies and the role are replaced.',
    );
  examples(command, [
    ['Print it as a shell script', 'vault setup --config sello.yaml --tenant acme'],
    ['Do it', 'vault setup --config sello.yaml --tenant acme --apply --token-file admin.token'],
  ]);
  command.action(async (given: string[], options: Options) => {
    const { io } = command;
    const file = configOf(command, options);
    command.checkArguments(given, []);
    const { keystore, tenant } = await keystoreOf(io, file, options.tenant);
    if (keystore.kind !== 'vault-kv') {
      throw new Failure(`keystore of ${file} is of the kind '${keystore.kind}'`, {
        hint: "This is for keystores in Vault: 'vaultKv' in a Sello file, 'vault' in a KES file.",
      });
    }
    const { policyRules, policyText, remainingSteps, setupSteps } =
      await import('../keystores/vault-setup.ts');
    if (options.policy !== undefined) {
      if (options.policy !== 'runtime' && options.policy !== 'administrator') {
        throw command.misuse("'--policy' is 'runtime' or 'administrator'");
      }
      await write(io.stdout, policyText(policyRules(keystore, options.policy)));
      return;
    }
    const steps = setupSteps(keystore, tenant);
    if (options.apply === true) await apply(io, keystore, steps, options.tokenFile);
    else {
      const namespace =
        keystore.vault.namespace === '' ? [] : [`export VAULT_NAMESPACE=${keystore.vault.namespace}`];
      const script = steps.map(
        ({ about, shell, mayExist }) => `# ${about}${mayExist ? ' (may be there already)' : ''}\n${shell}`,
      );
      await write(io.stdout, `${[...namespace, ...script].join('\n\n')}\n`);
    }
    const rest = remainingSteps(keystore, tenant);
    await write(
      options.apply === true ? io.stdout : io.stderr,
      `\nBy hand:\n${rest.map((line) => `  ${line}\n`).join('')}`,
    );
  });
}

async function apply(
  io: Io,
  { vault }: VaultKvConfig,
  steps: readonly { about: string; path: string; body: object; mayExist: boolean }[],
  tokenFile: string | undefined,
): Promise<void> {
  const { isVaultProblem, pathOf: vaultPath, VaultConnection } = await import('../vault/index.ts');
  const token: AnySecret =
    tokenFile === undefined
      ? { from: 'env', name: 'VAULT_TOKEN' }
      : { from: 'file', path: pathOf(io, tokenFile) };
  let connection;
  try {
    connection = await VaultConnection.open(
      { ...vault, login: { method: 'token', namespace: vault.namespace, token } },
      { env: io.env },
    );
    for (const { about, path, body, mayExist } of steps) {
      let done = 'done';
      try {
        await connection.write({ path: vaultPath(path), body });
      } catch (error) {
        const isThere =
          isVaultProblem(error, 'refused') &&
          error.messages.some((text) => /already in use|existing mount/.test(text));
        if (!mayExist || !isThere) throw error;
        done = 'there already';
      }
      await write(io.stdout, `${about}: ${done}\n`);
    }
  } catch (error) {
    if (!(error instanceof SelloError)) throw error;
    throw new Failure(error.detail ?? error.message, {
      hint: 'Is the token one of an administrator, and the address right? What was done is kept; run it again.',
      cause: error,
    });
  } finally {
    await connection?.close();
  }
}
