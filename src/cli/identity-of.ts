/** `sello identity of API-KEY|CERTIFICATE-FILE` */
import { readFile } from 'node:fs/promises';
import { identityOfCertificate, parseApiKey } from '../access/index.ts';
import { type CliCommand, child, examples } from './command.ts';
import { checkApiKey } from './connect.ts';
import { Failure, fileFailure } from './failure.ts';
import { endOfValue, pathOf, readStdin, write } from './io.ts';

/** A chain of certificates in PEM is well below it. */
const maxCertificateBytes = 1024 * 1024;

export function identityOf(parent: CliCommand): void {
  const command = child(parent, 'of', 'Compute the identity of an API key or a certificate');
  command
    .argument('[ARGS...]')
    .usage('[options] <API-KEY | CERTIFICATE-FILE | ->')
    .option('--json', 'Print JSON');
  examples(command, [
    ['Identity of a certificate', 'identity of client.crt'],
    ['Identity of an API key that stays out of the shell history', 'identity of - < api-key'],
  ]);
  command.action(async (given: string[], options: { json?: boolean }) => {
    command.checkArguments(given, ['no API key or certificate specified']);
    const identity = await identityOfArgument(command, given[0]!);
    const text =
      options.json === true ? `${JSON.stringify({ identity })}\n` : identity + endOfValue(command.io);
    await write(command.io.stdout, text);
  });
}

/** An API key is told by its prefix; anything else is a file, `-` standard input with either. */
export async function identityOfArgument(command: CliCommand, argument: string): Promise<string> {
  if (argument.startsWith('kes:v1:')) return identityOfApiKeyText(argument);
  if (argument === '-') {
    const text = (await readStdin(command.io, maxCertificateBytes)).toString('utf8').trim();
    return text.startsWith('kes:v1:') ? identityOfApiKeyText(text) : identityOfPem(text, 'standard input');
  }
  let pem: string;
  try {
    pem = await readFile(pathOf(command.io, argument), 'utf8');
  } catch (error) {
    throw fileFailure(error, argument);
  }
  return identityOfPem(pem, `'${argument}'`);
}

function identityOfApiKeyText(text: string): string {
  checkApiKey(text);
  return parseApiKey(text).identity;
}

function identityOfPem(pem: string, where: string): string {
  if (/-----BEGIN [A-Z ]*PRIVATE KEY-----/.test(pem) && !pem.includes('-----BEGIN CERTIFICATE-----')) {
    throw new Failure(`failed to parse certificate in ${where}: it holds a private key`, {
      hint: 'Name the certificate that belongs to it.',
    });
  }
  try {
    return identityOfCertificate(pem);
  } catch (error) {
    throw new Failure(`failed to parse certificate in ${where}: not a PEM certificate`, {
      hint: 'A certificate begins with -----BEGIN CERTIFICATE-----.',
      cause: error,
    });
  }
}
