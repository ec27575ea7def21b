/** A key with its versions, as the commands that look at one or change one print it. */
import type { ChangeInfo, HoldInfo, KeyringInfo } from '../client/index.ts';
import { type CliCommand } from './command.ts';
import { type ConnectOptions, connectOptions, withClient } from './connect.ts';
import { failingWith } from './failure.ts';
import { write, type Io } from './io.ts';
import type { AdminClient } from '../client/index.ts';
import { type ColorChoice, type Style, colorOption, dateText, labelled, styleOf } from './style.ts';

export interface KeyringOptions extends ConnectOptions {
  readonly json?: boolean;
  readonly color: ColorChoice;
}

/** `--token` of a command that can take a hold back. */
export const tokenHelp = 'Of what another replica holds, to take it back: it was printed there';

/** The options of a command that shows a keyring. */
export function keyringOptions(command: CliCommand): CliCommand {
  colorOption(connectOptions(command)).option('--json', 'Print JSON');
  return command;
}

/** Runs one call of the operators' API and prints the key as it is then. */
export async function showKeyring(
  command: CliCommand,
  options: KeyringOptions,
  failed: string,
  call: (admin: AdminClient) => Promise<ChangeInfo>,
): Promise<void> {
  const { io } = command;
  const info = await withClient(io, options, (client) => failingWith(failed, call(client.admin)));
  await write(io.stdout, keyringText(io, options, info));
}

function keyringText(io: Io, { color, json }: KeyringOptions, info: ChangeInfo): string {
  if (json === true) return `${JSON.stringify(info)}\n`;
  const style = styleOf(io, color);
  if ('held' in info || 'withdrawn' in info) return heldText(info, style);
  return storedText(info, style);
}

/** What happened while the keystore is away: nobody may take it for a change that is made. */
function heldText(info: Exclude<ChangeInfo, KeyringInfo>, style: Style): string {
  const { known, told } = info.peers;
  const others = known === 0 ? 'none is known' : `${String(told)} of ${String(known)} have heard at once`;
  if ('withdrawn' in info)
    return `${labelled([
      ['Name', info.key],
      ['Taken back', info.withdrawn.map(holdText).join(', ')],
      ['Peers', others],
    ])}\n\nThe keystore had not seen it.\n`;
  const { held } = info;
  const rows = labelled([
    ['Name', info.key],
    ['Held', style.bad(holdText(held))],
    ['Kept on', held.keptOn],
    ['Peers', others],
    ['Token', held.token],
  ]);
  const unknown = held.isKeyKnown ? '' : ' This replica cannot tell whether the key exists.';
  return `${rows}\n\nThe keystore cannot be reached: this is in force here and on peers that heard it, and written when it is back.${unknown}\n`;
}

function holdText({ change, version }: HoldInfo): string {
  return version === null ? change : `${change.replace('-version', '')} version ${String(version)}`;
}

function storedText(info: KeyringInfo, style: Style): string {
  const { deletion, rotateEverySeconds, nextRotation } = info;
  const rows = labelled([
    ['Name', info.key],
    ['State', stateText(info.state, style)],
    ['Seals with', info.sealingVersion === null ? 'nothing' : `version ${String(info.sealingVersion)}`],
    [
      'Opens from',
      info.minDecryptionVersion === 1 ? undefined : `version ${String(info.minDecryptionVersion)}`,
    ],
    ['Rewrap only', info.rewrapOnly ? 'compromised versions' : undefined],
    ['Cross face', info.crossFace ? 'yes' : undefined],
    [
      'Rotates',
      rotateEverySeconds === 0
        ? undefined
        : `every ${spanText(rotateEverySeconds)}, next ${dateText(nextRotation!)}`,
    ],
    ['Ends', deletion === null ? undefined : `${dateText(deletion.after)}, asked for by ${deletion.by}`],
    [
      'Changed',
      info.changedAt === null
        ? undefined
        : `${dateText(info.changedAt)} by ${info.changedBy === '' ? 'nobody known' : info.changedBy}`,
    ],
  ]);
  const heading = `${'Version'.padEnd(9)}${'State'.padEnd(13)}${'Algorithm'.padEnd(11)}${'Created'.padEnd(21)}Note`;
  const versions = info.versions.map(({ version, state, algorithm, createdAt, destroyAfter }) => {
    const note =
      destroyAfter !== null
        ? `may be destroyed from ${dateText(destroyAfter)}`
        : version === info.sealingVersion
          ? 'seals'
          : version < info.minDecryptionVersion
            ? 'below the minimum'
            : '';
    const date = createdAt === null ? '-' : dateText(createdAt);
    // Colours take no room: padding goes round them.
    const shown = stateText(state, style) + ' '.repeat(Math.max(1, 13 - state.length));
    return `${String(version).padEnd(9)}${shown}${algorithm.padEnd(11)}${date.padEnd(21)}${note}`.trimEnd();
  });
  return `${rows}\n\n${style.label(heading)}\n${versions.join('\n')}\n`;
}

function stateText(state: string, style: Style): string {
  return state === 'enabled' ? style.good(state) : style.bad(state);
}

/** `90 days`, `36 hours`, `90 minutes`: the largest unit that says it whole. */
function spanText(seconds: number): string {
  for (const [unit, size] of [
    ['days', 86_400],
    ['hours', 3600],
    ['minutes', 60],
  ] as const)
    if (seconds % size === 0) return `${String(seconds / size)} ${unit}`;
  return `${String(seconds)} seconds`;
}

/** `--version` of a command about one version. */
export function versionOf(command: CliCommand, text: string): number {
  if (!/^[1-9]\d{0,8}$/.test(text)) throw command.misuse(`invalid version '${text}'`);
  return Number(text);
}
