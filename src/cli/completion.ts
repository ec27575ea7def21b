/** `sello completion SHELL`: scripts for Tab completion, made from the commands there are. */
import type { Command } from 'commander';
import { type CliCommand, child, examples } from './command.ts';
import { write } from './io.ts';

const shells = ['bash', 'zsh', 'fish'] as const;

export function completion(parent: CliCommand): void {
  const command = child(parent, 'completion', 'Print a completion script for bash, zsh or fish');
  command.argument('[SHELL...]').usage(`<${shells.join(' | ')}>`);
  examples(command, [
    ['Complete in this bash', 'completion bash > ~/.sello-completion && . ~/.sello-completion'],
    ['Complete in every fish', 'completion fish > ~/.config/fish/completions/sello.fish'],
  ]);
  command.action(async (given: string[]) => {
    command.checkArguments(given, [`no shell specified (${shells.join(', ')})`]);
    const shell = shells.find((each) => each === given[0]);
    if (shell === undefined) throw command.misuse(`no completion for '${given[0]!}' (${shells.join(', ')})`);
    const program = command.io.program;
    const words = wordsOf(parent);
    const script = { bash: bashScript, zsh: zshScript, fish: fishScript }[shell](program, words);
    await write(command.io.stdout, script);
  });
}

/** What can follow a command line: `key` → its commands, `key ls` → its options. */
interface Words {
  /** Names from the top, such as `key ls`; empty for the top itself. */
  readonly path: string;
  readonly commands: readonly { readonly name: string; readonly description: string }[];
  readonly options: readonly { readonly flag: string; readonly description: string }[];
}

function wordsOf(top: Command): Words[] {
  const found: Words[] = [];
  const visit = (command: Command, path: string) => {
    const commands = command.commands.flatMap((each) =>
      [each.name(), ...each.aliases()].map((name) => ({ name, description: each.description() })),
    );
    const options = command
      .createHelp()
      .visibleOptions(command)
      .flatMap((option) =>
        option.long === undefined || option.long === null
          ? []
          : [{ flag: option.long, description: option.description }],
      );
    found.push({ path, commands, options });
    for (const each of command.commands) {
      for (const name of [each.name(), ...each.aliases()])
        visit(each, path === '' ? name : `${path} ${name}`);
    }
  };
  visit(top, '');
  return found;
}

function bashScript(program: string, words: readonly Words[]): string {
  const cases = words
    .map(({ path, commands, options }) => {
      const list = [...commands.map(({ name }) => name), ...options.map(({ flag }) => flag)].join(' ');
      return `    '${path}') words='${list}' ;;`;
    })
    .join('\n');
  const paths = words
    .filter(({ path }) => path !== '')
    .map(({ path }) => `'${path}'`)
    .join('|');
  const name = `_${program.replaceAll('-', '_')}_complete`;
  return `# bash completion for ${program}
${name}() {
  local word words path='' next i
  word=\${COMP_WORDS[COMP_CWORD]}
  for ((i = 1; i < COMP_CWORD; i++)); do
    next="\${path:+$path }\${COMP_WORDS[i]}"
    case "$next" in
    ${paths}) path=$next ;;
    esac
  done
  case "$path" in
${cases}
  esac
  COMPREPLY=()
  while IFS='' read -r next; do COMPREPLY+=("$next"); done < <(compgen -W "$words" -- "$word")
  # A word that is neither a command nor an option may be a file.
  if [[ \${#COMPREPLY[@]} -eq 0 && $word != -* ]]; then
    while IFS='' read -r next; do COMPREPLY+=("$next"); done < <(compgen -f -- "$word")
  fi
}
complete -F ${name} ${program}
`;
}

function zshScript(program: string, words: readonly Words[]): string {
  const quoted = (text: string) => text.replaceAll("'", "'\\''").replaceAll(':', '\\:');
  const cases = words
    .map(({ path, commands, options }) => {
      const entries = [
        ...commands.map(({ name, description }) => `'${name}:${quoted(description)}'`),
        ...options.map(({ flag, description }) => `'${flag}:${quoted(description)}'`),
      ];
      return `    '${path}') entries=(${entries.join(' ')}) ;;`;
    })
    .join('\n');
  const paths = words
    .filter(({ path }) => path !== '')
    .map(({ path }) => `'${path}'`)
    .join('|');
  return `#compdef ${program}
# zsh completion for ${program}
_${program}() {
  local -a entries
  local key next i
  key=''
  for ((i = 2; i < CURRENT; i++)); do
    next="\${key:+$key }\${words[i]}"
    case "$next" in
    ${paths}) key=$next ;;
    esac
  done
  case "$key" in
${cases}
  esac
  _describe '${program}' entries || _files
}
if [ "$funcstack[1]" = "_${program}" ]; then
  _${program} "$@"
else
  compdef _${program} ${program}
fi
`;
}

function fishScript(program: string, words: readonly Words[]): string {
  const quoted = (text: string) => text.replaceAll('\\', '\\\\').replaceAll("'", "\\'");
  const lines = words.flatMap(({ path, commands, options }) => {
    const names = path === '' ? [] : path.split(' ');
    const within = names.map((name) => `__fish_seen_subcommand_from ${name}`);
    const notBelow =
      commands.length === 0
        ? []
        : [`not __fish_seen_subcommand_from ${commands.map(({ name }) => name).join(' ')}`];
    const forCommands = [...within, ...notBelow].join('; and ');
    const when = (condition: string) => (condition === '' ? '' : ` -n '${condition}'`);
    return [
      ...commands.map(
        ({ name, description }) =>
          `complete -c ${program}${when(forCommands)} -f -a ${name} -d '${quoted(description)}'`,
      ),
      ...options.map(
        ({ flag, description }) =>
          `complete -c ${program}${when(forCommands)} -l ${flag.replace(/^--/, '')} -d '${quoted(description)}'`,
      ),
    ];
  });
  return `# fish completion for ${program}\n${lines.join('\n')}\n`;
}
