/** Commander with KES's words for what is wrong with a command line, and what all commands share. */
import { Command, type Option } from 'commander';
import { Failure } from './failure.ts';
import type { Io } from './io.ts';

/** A command of the tree. `io` is what its action reads and writes. */
export class CliCommand extends Command {
  readonly io: Io;

  constructor(name: string, io: Io) {
    super(name);
    this.io = io;
    this.exitOverride();
    // `identity ls --json`: options belong to the command they stand behind, not to the group before it.
    this.enablePositionalOptions();
    this.helpOption('-h, --help', 'Show this help');
    this.helpCommand(false);
    this.showSuggestionAfterError(false);
    this.configureHelp({
      // `serve, server`; arguments and options are each command's own page.
      subcommandTerm: (command) => [command.name(), ...command.aliases()].join(', '),
    });
    this.configureOutput({
      writeOut: (text) => void io.stdout.write(text),
      writeErr: (text) => void io.stderr.write(text),
      getOutHasColors: () => io.stdout.isTTY === true,
      getErrHasColors: () => io.stderr.isTTY === true,
    });
  }

  override createCommand(name: string): CliCommand {
    return new CliCommand(name, this.io);
  }

  /** `sello key ls`. */
  get fullName(): string {
    const above = this.parent === null ? [] : [(this.parent as CliCommand).fullName];
    return [...above, this.name()].join(' ');
  }

  /** A command line that cannot be understood; the message leads to the help of this command, as KES's do. */
  misuse(message: string): Failure {
    return new Failure(`${message}. See '${this.fullName} --help'`);
  }

  /**
   * Checks how many arguments there are.
   * @param missing what is missing when there are fewer than their number, one text for each
   */
  checkArguments(given: readonly string[], missing: readonly string[], most = missing.length): void {
    for (const [index, text] of missing.entries()) {
      if (given[index] === undefined) throw this.misuse(text);
    }
    if (given.length > most) throw this.misuse('too many arguments');
  }

  /** Called by commander for an option nobody declared. */
  unknownOption(flag: string): never {
    throw this.misuse(
      flag.startsWith('--')
        ? `unknown flag: ${flag}`
        : `unknown shorthand flag: '${flag.slice(1, 2)}' in ${flag}`,
    );
  }

  /** Called by commander for an option without its value. */
  optionMissingArgument(option: Option): never {
    throw this.misuse(`flag needs an argument: ${option.long ?? option.flags}`);
  }
}

/** A command that only holds others. Called alone it prints its usage and ends with 2, as KES. */
export function group(parent: CliCommand, name: string, description: string): CliCommand {
  const command = child(parent, name, description);
  command.argument('[COMMAND...]').usage('[options] <command>');
  command.action((given: string[]) => {
    if (given[0] === undefined) throw new UsageWanted(command);
    throw new Failure(`"${given[0]}" is not a ${name} command. See '${command.fullName} --help'`);
  });
  return command;
}

/** Adds a command. */
export function child(parent: CliCommand, name: string, description: string): CliCommand {
  const command = parent.createCommand(name).description(description);
  parent.addCommand(command);
  return command as CliCommand;
}

/** Examples under a help page, one per line: what it does, then the command line after `sello`. */
export function examples(command: CliCommand, lines: readonly (readonly [string, string])[]): void {
  const program = command.io.program;
  const text = lines.map(([what, line]) => `  # ${what}\n  $ ${program} ${line}`).join('\n');
  command.addHelpText('after', `\nExamples:\n${text}\n`);
}

/** Nothing was asked for: show what can be. */
export class UsageWanted extends Error {
  readonly command: Command;

  constructor(command: Command) {
    super('usage wanted');
    this.command = command;
  }
}
