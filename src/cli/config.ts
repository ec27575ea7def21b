/** `sello config …` */
import { type CliCommand, group } from './command.ts';
import { configCheck } from './config-check.ts';

export function config(parent: CliCommand): void {
  configCheck(group(parent, 'config', 'Check configuration files'));
}
