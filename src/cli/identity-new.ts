/** `sello identity new`: an API key, and a certificate of the same identity where files are named. */
import { chmod, readFile, stat, writeFile } from 'node:fs/promises';
import { isIP } from 'node:net';
import { type ApiKey, generateApiKey, issueCertificate } from '../access/index.ts';
import { type CliCommand, child, examples } from './command.ts';
import { Failure, fileFailure } from './failure.ts';
import { parseGoDuration } from './go-duration.ts';
import { type Io, pathOf, write } from './io.ts';

interface Options {
  readonly key?: string;
  readonly cert?: string;
  readonly ip?: readonly string[];
  readonly dns?: readonly string[];
  readonly expiry?: string;
  readonly passwordFile?: string;
  readonly encrypt?: boolean;
  readonly force?: boolean;
  readonly json?: boolean;
}

const defaultExpiry = '720h';

export function identityNew(parent: CliCommand): void {
  const command = child(
    parent,
    'new',
    'Make an API key, and with --key and --cert a certificate of the same identity',
  );
  const collect = (value: string, before: string[] | undefined) => [...(before ?? []), ...value.split(',')];
  command
    .argument('[NAME...]')
    .usage('[options] [NAME]')
    .option('--key <FILE>', 'Write the private key to a file (mode 0600)')
    .option('--cert <FILE>', 'Write the certificate to a file')
    .option('--ip <ADDRESS>', 'Add an IP address to the certificate (repeatable)', collect)
    .option('--dns <NAME>', 'Add a DNS name to the certificate (repeatable)', collect)
    .option('--expiry <DURATION>', `How long the certificate is valid (default: ${defaultExpiry})`)
    .option('--encrypt', 'Encrypt the private key with the password in --password-file')
    .option('--password-file <FILE>', 'File that holds the password')
    .option('-f, --force', 'Overwrite files that exist')
    .option('--json', 'Print JSON');
  examples(command, [
    ['Make an API key', 'identity new'],
    ['Make a certificate for a client', 'identity new --key client.key --cert client.crt my-client'],
  ]);
  command.action(async (given: string[], options: Options) => {
    command.checkArguments(given, [], 1);
    const validityMs = validate(command, options);
    const apiKey = generateApiKey();
    if (options.key !== undefined && options.cert !== undefined) {
      await writeFiles(
        command.io,
        apiKey,
        { ...options, key: options.key, cert: options.cert },
        given[0] ?? '',
        validityMs,
      );
    }
    await write(
      command.io.stdout,
      options.json === true ? jsonOf(apiKey, options) : textOf(command.io, apiKey, options),
    );
  });
}

/** Checks options against each other before anything is made; returns the validity in milliseconds. */
function validate(command: CliCommand, options: Options): number {
  const expiry = options.expiry ?? defaultExpiry;
  const validityMs = parseGoDuration(expiry);
  if (validityMs === undefined) {
    throw command.misuse(
      `invalid argument "${expiry}" for "--expiry" flag: time: invalid duration "${expiry}"`,
    );
  }
  for (const address of options.ip ?? []) {
    if (isIP(address) === 0) {
      throw command.misuse(`invalid argument "${address}" for "--ip" flag: failed to parse IP: "${address}"`);
    }
  }
  const wants = (flag: string, wanted: boolean) => {
    if (wanted && (options.key === undefined || options.cert === undefined)) {
      throw new Failure(
        `'${flag}' requires a private key and certificate file. Set the '--cert' and '--key' flag`,
      );
    }
  };
  wants('--ip', options.ip !== undefined);
  wants('--dns', options.dns !== undefined);
  wants('--expiry', options.expiry !== undefined);
  wants('--encrypt', options.encrypt === true);
  wants('--cert', options.cert !== undefined);
  wants('--key', options.key !== undefined);
  if (options.encrypt === true && options.passwordFile === undefined) {
    throw new Failure("'--encrypt' requires a password. Set the '--password-file' flag");
  }
  return validityMs;
}

async function writeFiles(
  io: Io,
  apiKey: ApiKey,
  options: Options & { readonly key: string; readonly cert: string },
  commonName: string,
  validityMs: number,
): Promise<void> {
  if (options.force !== true) {
    if (await exists(io, options.key)) {
      throw new Failure('private key already exists. Use --force to overwrite it');
    }
    if (await exists(io, options.cert)) {
      throw new Failure('certificate already exists. Use --force to overwrite it');
    }
  }
  const now = new Date();
  const issued = issueCertificate({
    commonName: commonName === '' ? apiKey.identity : commonName,
    notBefore: now,
    notAfter: new Date(now.getTime() + validityMs),
    privateKey: apiKey.privateKey,
    // Storage nodes use one certificate for both directions.
    extendedKeyUsage: ['clientAuth', 'serverAuth'],
    ...(options.ip === undefined ? {} : { ipAddresses: options.ip }),
    ...(options.dns === undefined ? {} : { dnsNames: options.dns }),
  });
  const keyPem =
    options.passwordFile === undefined
      ? issued.privateKeyPem
      : (issued.privateKey.export({
          format: 'pem',
          type: 'pkcs8',
          cipher: 'aes-256-cbc',
          passphrase: await passwordFrom(io, options.passwordFile),
        }) as string);
  const flag = options.force === true ? 'w' : 'wx';
  await store(io, options.key, keyPem, { mode: 0o600, flag });
  await store(io, options.cert, issued.certificatePem, { mode: 0o644, flag });
}

async function store(
  io: Io,
  file: string,
  text: string,
  options: { mode: number; flag: string },
): Promise<void> {
  try {
    await writeFile(pathOf(io, file), text, options);
    // A file that was there before keeps the mode it had.
    await chmod(pathOf(io, file), options.mode);
  } catch (error) {
    throw fileFailure(error, file);
  }
}

async function exists(io: Io, file: string): Promise<boolean> {
  return stat(pathOf(io, file)).then(
    () => true,
    () => false,
  );
}

async function passwordFrom(io: Io, file: string): Promise<string> {
  const password = await readFile(pathOf(io, file), 'utf8').catch((error: unknown) => {
    throw fileFailure(error, file, 'reading password file');
  });
  if (password.trim() === '')
    throw new Failure(`password file '${file}' is empty`, { hint: 'Write a password into it.' });
  return password.trim();
}

function jsonOf(apiKey: ApiKey, options: Options): string {
  const object = {
    api_key: apiKey.reveal(),
    identity: apiKey.identity,
    key_file: options.key,
    cert_file: options.cert,
  };
  return `${JSON.stringify(object)}\n`;
}

function textOf(io: Io, apiKey: ApiKey, options: Options): string {
  const key = apiKey.reveal();
  const files = options.key !== undefined && options.cert !== undefined;
  return [
    'Your API key:',
    '',
    `   ${key}`,
    '',
    'Store it safely now: it is not kept anywhere and cannot be shown again.',
    '',
    'Your Identity:',
    '',
    `   ${apiKey.identity}`,
    '',
    'The identity is public: put it into a policy (or make it an admin) and',
    'the holder of the API key may use the server.',
    '',
    ...(files ? [`Private key file: ${options.key!}`, `Certificate file: ${options.cert!}`, ''] : []),
    'To compute the identity again:',
    '',
    `    ${io.program} identity of ${key}`,
    files ? `    ${io.program} identity of ${options.cert!}` : '',
    '',
  ].join('\n');
}
