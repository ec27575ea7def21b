/** From options and environment to a client: where the server is, who the caller is. KES's variables count too. */
import { readFile } from 'node:fs/promises';
import { Option } from 'commander';
import { parseApiKey } from '../access/index.ts';
import { type SelloClient, createClient } from '../client/index.ts';
import { hasCode } from '../errors.ts';
import type { CliCommand } from './command.ts';
import { Failure, fileFailure } from './failure.ts';
import { type Io, pathOf } from './io.ts';

/** Variables in the order in which they are looked at; the first that is set counts. */
export const variables = {
  server: ['SELLO_SERVER', 'MINIO_KES_SERVER', 'KES_SERVER', 'MINIO_KMS_KES_ENDPOINT'],
  apiKey: ['SELLO_API_KEY', 'MINIO_KES_API_KEY', 'KES_API_KEY', 'MINIO_KMS_KES_API_KEY'],
  apiKeyFile: ['SELLO_API_KEY_FILE'],
  keyFile: [
    'SELLO_KEY_FILE',
    'MINIO_KES_KEY_FILE',
    'KES_CLIENT_KEY',
    'MINIO_KES_CLIENT_KEY',
    'MINIO_KMS_KES_KEY_FILE',
  ],
  certFile: [
    'SELLO_CERT_FILE',
    'MINIO_KES_CERT_FILE',
    'KES_CLIENT_CERT',
    'MINIO_KES_CLIENT_CERT',
    'MINIO_KMS_KES_CERT_FILE',
  ],
  keyPasswordFile: ['SELLO_KEY_PASSWORD_FILE'],
  caFile: ['SELLO_CA_FILE'],
} as const;

const defaultServer = '127.0.0.1:7373';

export interface ConnectOptions {
  readonly insecure?: boolean;
  readonly server?: string;
  readonly apiKey?: string;
  readonly ca?: string;
}

/** Declares the options every command that talks to a server has. `-s` and `-a` only where no other option has that letter. */
export function connectOptions(command: CliCommand, letters: { server?: boolean } = {}): CliCommand {
  command
    .option('-k, --insecure', "Do not check the server's certificate (to try things out)")
    .option(
      `${letters.server === true ? '-s, ' : ''}--server <HOST:PORT>`,
      'Server to ask, several with commas',
    )
    .option('--ca <FILE>', "CA certificates that the server's certificate must descend from")
    // An API key on a command line is seen by every user of the machine: taken as KES's `ls` does, not advertised.
    .addOption(new Option(`${letters.server === true ? '-a, ' : ''}--api-key <KEY>`).hideHelp())
    // KES had enclaves once; its own CLI still takes the option and ignores it.
    .addOption(new Option('-e, --enclave <NAME>').hideHelp());
  return command;
}

/** The servers a command would ask, as given. */
export function serversOf(io: Io, options: ConnectOptions): string[] {
  const text = options.server ?? variable(io, 'server') ?? defaultServer;
  return text
    .split(',')
    .map((part) => part.trim())
    .filter((part) => part !== '');
}

/** A client from options and environment. The caller closes it. */
export async function connect(
  io: Io,
  options: ConnectOptions,
  servers = serversOf(io, options),
): Promise<SelloClient> {
  const caFile = options.ca ?? variable(io, 'caFile');
  const ca = caFile === undefined ? undefined : await read(io, caFile, 'reading CA file');
  const credentials = await credentialsOf(io, options);
  try {
    return createClient({ endpoints: servers, ...credentials, ca, insecure: options.insecure === true });
  } catch (error) {
    if (error instanceof TypeError) {
      throw new Failure(error.message.replace(/^createClient: /, ''), {
        hint: 'Servers are written HOST:PORT, in --server or SELLO_SERVER.',
        cause: error,
      });
    }
    throw error;
  }
}

/** Runs `work` with a client and closes it. */
export async function withClient<T>(
  io: Io,
  options: ConnectOptions,
  work: (client: SelloClient) => Promise<T>,
): Promise<T> {
  const client = await connect(io, options);
  try {
    return await work(client);
  } finally {
    client.close();
  }
}

async function credentialsOf(io: Io, options: ConnectOptions) {
  const apiKey =
    options.apiKey ?? variable(io, 'apiKey') ?? (await secretFrom(io, variable(io, 'apiKeyFile')));
  if (apiKey !== undefined) {
    checkApiKey(apiKey, 'parsing API key: ');
    return { apiKey };
  }
  const keyFile = variable(io, 'keyFile');
  const certFile = variable(io, 'certFile');
  if (keyFile === undefined && certFile === undefined) {
    throw new Failure('no API key specified. Consider setting MINIO_KES_API_KEY');
  }
  if (keyFile === undefined)
    throw new Failure('no private key file specified. Consider setting MINIO_KES_KEY_FILE');
  if (certFile === undefined)
    throw new Failure('no certificate file specified. Consider setting MINIO_KES_CERT_FILE');
  const keyPem = await read(io, keyFile, 'reading private key file');
  const certPem = (await read(io, certFile, 'reading certificate file')).toString('utf8');
  const keyPassword = await secretFrom(io, variable(io, 'keyPasswordFile'));
  if (
    keyPassword === undefined &&
    /-----BEGIN ENCRYPTED PRIVATE KEY-----|Proc-Type: 4,ENCRYPTED/.test(keyPem.toString('latin1'))
  ) {
    throw new Failure(`private key '${keyFile}' is encrypted`, {
      hint: 'Put its password into a file and name that file in SELLO_KEY_PASSWORD_FILE.',
    });
  }
  return { keyPem, certPem, keyPassword };
}

/**
 * Says what is wrong with an API key, in KES's words.
 * @throws Failure
 */
export function checkApiKey(text: string, lead = ''): void {
  try {
    parseApiKey(text);
  } catch (error) {
    if (!hasCode(error, 'SELLO_API_KEY_INVALID')) throw error;
    throw new Failure(lead + (error.detail ?? error.message), {
      hint: "API keys look like kes:v1:AD9E7F… 'sello identity new' makes one.",
      hintOnTerminalOnly: true,
      cause: error,
    });
  }
}

function variable(io: Io, name: keyof typeof variables): string | undefined {
  return variables[name].map((each) => io.env[each]).find((value) => value !== undefined && value !== '');
}

async function secretFrom(io: Io, file: string | undefined): Promise<string | undefined> {
  return file === undefined ? undefined : (await read(io, file, '')).toString('utf8').trim();
}

async function read(io: Io, file: string, prefix: string): Promise<Buffer> {
  try {
    return await readFile(pathOf(io, file));
  } catch (error) {
    throw fileFailure(error, file, prefix);
  }
}
