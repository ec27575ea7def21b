/** `sello policy …` */
import { type CliCommand, examples, group } from './command.ts';
import { policyInfo } from './policy-info.ts';
import { policyLs } from './policy-ls.ts';
import { policyShow } from './policy-show.ts';

export function policy(parent: CliCommand): void {
  const command = group(parent, 'policy', 'See what policies allow');
  for (const add of [policyInfo, policyLs, policyShow]) add(command);
  examples(command, [['Show what a policy allows and denies', 'policy show my-policy']]);
}
