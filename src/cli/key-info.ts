/** `sello key info NAME` */
import { type CliCommand, child, examples } from './command.ts';
import { type ConnectOptions, connectOptions, withClient } from './connect.ts';
import { failingWith } from './failure.ts';
import { endOfValue, write } from './io.ts';
import { colorOption, dateText, labelled } from './style.ts';

export function keyInfo(parent: CliCommand): void {
  const command = child(parent, 'info', 'Show what is known about a key');
  command.argument('[NAME...]').usage('[options] <NAME>');
  colorOption(connectOptions(command)).option('--json', 'Print JSON');
  examples(command, [['Show algorithm, date and maker of a key', 'key info my-key']]);
  command.action(async (given: string[], options: ConnectOptions & { json?: boolean }) => {
    command.checkArguments(given, ['no key name specified']);
    const info = await withClient(command.io, options, (client) =>
      failingWith('failed to describe keys', client.describeKey(given[0]!)),
    );
    if (options.json === true) {
      const { name, algorithm, createdAt, createdBy } = info;
      const object = { name, algorithm, created_at: createdAt, created_by: createdBy };
      await write(command.io.stdout, `${JSON.stringify(object)}\n`);
      return;
    }
    const rows = labelled([
      ['Name', info.name],
      ['Algorithm', info.algorithm],
      ['Date', dateText(info.createdAt)],
      ['Owner', info.createdBy],
    ]);
    await write(command.io.stdout, rows + endOfValue(command.io));
  });
}
