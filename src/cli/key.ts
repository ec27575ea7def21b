/** `sello key …` */
import { type CliCommand, examples, group } from './command.ts';
import { keyCreate } from './key-create.ts';
import { keyDecrypt } from './key-decrypt.ts';
import { keyDek } from './key-dek.ts';
import { keyEncrypt } from './key-encrypt.ts';
import { keyImport } from './key-import.ts';
import { keyInfo } from './key-info.ts';
import { keyLs } from './key-ls.ts';
import { keyCancelDeletion, keyDestroy, keyScheduleDeletion } from './key-end.ts';
import { keyRewrap } from './key-rewrap.ts';
import { keyRm } from './key-rm.ts';
import { keyRotate } from './key-rotate.ts';
import { keySet } from './key-set.ts';
import { keyCompromise, keyDisable, keyEnable } from './key-state.ts';
import { keyUse } from './key-use.ts';
import { keyVersions } from './key-versions.ts';

export function key(parent: CliCommand): void {
  const command = group(parent, 'key', 'Create, list and use master keys');
  for (const add of [
    ...[keyCreate, keyImport, keyInfo, keyLs, keyRm, keyEncrypt, keyDecrypt, keyDek],
    ...[keyVersions, keyRotate, keyRewrap, keyUse, keySet, keyEnable, keyDisable, keyCompromise],
    ...[keyScheduleDeletion, keyCancelDeletion, keyDestroy],
  ])
    add(command);
  examples(command, [
    ['Create a key', 'key create my-key'],
    ['Issue a data key under it', 'key dek my-key'],
    ['Give it a new version', 'key rotate my-key'],
  ]);
}
