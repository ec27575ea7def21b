/** What the `keystore` commands share: the options that name a keystore, and the words for what can go wrong with one. */
import { SelloError } from '../errors.ts';
import type { CliCommand } from './command.ts';
import { Failure } from './failure.ts';

export interface KeystoreOptions {
  readonly config?: string;
  readonly tenant?: string;
  readonly json?: boolean;
}

export function keystoreOptions(command: CliCommand): CliCommand {
  command
    .option('--config <FILE>', 'Configuration file that names the keystore')
    .option('--tenant <NAME>', 'Tenant, when it has several')
    .option('--json', 'Print the result as JSON');
  return command;
}

/** The configuration file, from the option alone: these commands change or copy what it names. */
export function configOf(command: CliCommand, { config }: KeystoreOptions): string {
  if (config === undefined || config === '') throw command.misuse("no configuration file. Use '--config'");
  return config;
}

/**
 * Runs `work`; what a keystore says against it becomes a {@link Failure} with its detail, which is about files of the person
 * who reads it and holds no secret.
 */
export async function failingOnKeystore<T>(
  work: Promise<T>,
  hintOf: (error: SelloError) => string | undefined,
): Promise<T> {
  try {
    return await work;
  } catch (error) {
    if (!(error instanceof SelloError)) throw error;
    const detail = error.detail === undefined ? '' : `: ${error.detail}`;
    throw new Failure(`${error.message}${detail}`, {
      hint: hintOf(error) ?? commonHint(error),
      cause: error,
    });
  }
}

function commonHint({ code }: SelloError): string | undefined {
  switch (code) {
    case 'SELLO_ROOT_KEY_WRONG':
      return "Name the root key with that id under 'keystore.file.rootKey' of the configuration.";
    case 'SELLO_CONFIG_INVALID':
      return 'A root key is 32 bytes: raw, hexadecimal or base64.';
    case 'SELLO_STORE_UNREACHABLE':
    case 'SELLO_STORE_FAILED':
      return 'Is the path right, is the volume mounted and writable, and is there room on it?';
    default:
      return undefined;
  }
}

/** `1 key`, `3 keys`. */
export function keysText(count: number): string {
  return count === 1 ? '1 key' : `${String(count)} keys`;
}
