/** `sello audit anchor`: what a tenant's keystore knows about its audit streams, as a file for `audit verify`. */
import { openKeystoreOf } from './configured-keystore.ts';
import { type CliCommand, child, examples } from './command.ts';
import { Failure } from './failure.ts';
import { write } from './io.ts';
import { type KeystoreOptions, configOf, failingOnKeystore } from './keystore-options.ts';

export function auditAnchor(parent: CliCommand): void {
  const command = child(parent, 'anchor', "Print what a tenant's keystore knows about its audit streams");
  command.argument('[ARGUMENT...]').usage('--config <FILE>');
  command
    .option('--config <FILE>', 'Configuration file that names the keystore')
    .option('--tenant <NAME>', 'Tenant, when it has several')
    .addHelpText('after', "\nA keystore of the kind 'file' must not be open in a server meanwhile.");
  examples(command, [['Keep what is known today', 'audit anchor --config sello.yaml > acme.anchors']]);
  command.action(async (given: string[], options: KeystoreOptions) => {
    const { io } = command;
    const config = configOf(command, options);
    command.checkArguments(given, []);
    const store = await openKeystoreOf(io, config, 'source', options.tenant);
    try {
      const { records } = store;
      if (records === undefined)
        throw new Failure(`keystore ${store.location} has no place for anchors`, {
          hint: "Keep checkpoints elsewhere in its place (docs/audit.md), and give them with 'audit verify --checkpoint'.",
        });
      const { formatAnchors, readAnchors } = await import('../audit/index.ts');
      const { anchors, damaged } = await failingOnKeystore(readAnchors(records), () => undefined);
      if (damaged.length > 0)
        throw new Failure(`anchors of these streams are damaged: ${damaged.join(' ')}`, {
          hint: 'Somebody wrote into the keystore. Use a file of anchors that was kept earlier.',
        });
      await write(io.stdout, formatAnchors(anchors));
    } finally {
      await store.close();
    }
  });
}
