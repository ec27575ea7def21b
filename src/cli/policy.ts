/** `sello policy …` */
import { type CliCommand, examples, group } from './command.ts';
import { policyInfo } from './policy-info.ts';
import { policyLs } from './policy-ls.ts';
import { policyShow } from './policy-show.ts';
import { policyTest } from './policy-test.ts';

export function policy(parent: CliCommand): void {
  const command = group(parent, 'policy', 'See what policies allow, and why');
  for (const add of [policyInfo, policyLs, policyShow, policyTest]) add(command);
  examples(command, [
    ['Show what a policy allows and denies', 'policy show my-policy'],
    [
      'Ask whether an identity may issue data keys, and by which rule',
      'policy test --config sello.yaml --policy app issue my-key',
    ],
  ]);
}
