/** `sello key use NAME`: when each version was used last, before one is ended. */
import { type CliCommand, child, examples } from './command.ts';
import { type ConnectOptions, connectOptions, withClient } from './connect.ts';
import { failingWith } from './failure.ts';
import { write } from './io.ts';
import { type ColorChoice, colorOption, dateText, styleOf } from './style.ts';

export function keyUse(parent: CliCommand): void {
  const command = child(parent, 'use', 'Show when each version of a key was used last, by all replicas');
  command.argument('[NAME...]').usage('[options] <NAME>');
  colorOption(connectOptions(command)).option('--json', 'Print JSON');
  examples(command, [['Whether version 1 still opens anything', 'key use my-key']]);
  command.action(
    async (given: string[], options: ConnectOptions & { json?: boolean; color: ColorChoice }) => {
      command.checkArguments(given, ['no key name specified']);
      const use = await withClient(command.io, options, (client) =>
        failingWith('failed to read use of key', client.admin.use(given[0]!)),
      );
      if (options.json === true) {
        await write(command.io.stdout, `${JSON.stringify(use)}\n`);
        return;
      }
      const style = styleOf(command.io, options.color);
      const when = (date: string | null) => (date === null ? '-' : dateText(date)).padEnd(21);
      const lines = use.versions.map(
        ({ version, lastSealed, lastOpened, opened }) =>
          `${String(version).padEnd(9)}${when(lastSealed)}${when(lastOpened)}${String(opened)}`,
      );
      const heading = `${'Version'.padEnd(9)}${'Last sealed'.padEnd(21)}${'Last opened'.padEnd(21)}Times opened`;
      const none = use.versions.length === 0 ? 'No use since the key was first rotated or changed.\n' : '';
      await write(command.io.stdout, none === '' ? `${style.label(heading)}\n${lines.join('\n')}\n` : none);
    },
  );
}
