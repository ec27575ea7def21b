/** `sello audit …`: work on the files of an audit trail, without a server. */
import { type CliCommand, examples, group } from './command.ts';
import { auditAnchor } from './audit-anchor.ts';
import { auditCheckProof, auditProve } from './audit-prove.ts';
import { auditSearch } from './audit-search.ts';
import { auditVerify } from './audit-verify.ts';

export function audit(parent: CliCommand): void {
  const command = group(parent, 'audit', 'Verify and search audit trails, prove single records');
  for (const add of [auditVerify, auditSearch, auditProve, auditCheckProof, auditAnchor]) add(command);
  examples(command, [
    ['Is anything missing or changed?', 'audit verify /var/log/sello/acme --anchor acme.anchors'],
    [
      'Who used this key since the day before yesterday?',
      'audit search /var/log/sello/acme --key app --since 48h',
    ],
  ]);
}
