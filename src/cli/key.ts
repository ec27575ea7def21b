/** `sello key …` */
import { type CliCommand, examples, group } from './command.ts';
import { keyCreate } from './key-create.ts';
import { keyDecrypt } from './key-decrypt.ts';
import { keyDek } from './key-dek.ts';
import { keyEncrypt } from './key-encrypt.ts';
import { keyImport } from './key-import.ts';
import { keyInfo } from './key-info.ts';
import { keyLs } from './key-ls.ts';
import { keyRm } from './key-rm.ts';

export function key(parent: CliCommand): void {
  const command = group(parent, 'key', 'Create, list and use master keys');
  for (const add of [keyCreate, keyImport, keyInfo, keyLs, keyRm, keyEncrypt, keyDecrypt, keyDek])
    add(command);
  examples(command, [
    ['Create a key', 'key create my-key'],
    ['Issue a data key under it', 'key dek my-key'],
  ]);
}
