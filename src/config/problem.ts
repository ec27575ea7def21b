/** What is wrong with a configuration, all of it at once, each with its place. */
import { SelloError } from '../errors.ts';

/** Where something stands in the file, counted from 1. */
export interface Position {
  readonly line: number;
  readonly column: number;
}

export interface ConfigProblem {
  readonly message: string;
  readonly line: number | undefined;
  readonly column: number | undefined;
}

/** SELLO_CONFIG_INVALID with every problem found. No message holds a value that came from the environment. */
export class ConfigError extends SelloError {
  readonly problems: readonly ConfigProblem[];
  readonly file: string | undefined;

  constructor(problems: readonly ConfigProblem[], file: string | undefined, cause?: unknown) {
    super('SELLO_CONFIG_INVALID', { detail: formatProblems(problems, file), cause });
    this.name = 'ConfigError';
    this.problems = problems;
    this.file = file;
  }
}

/** One problem per line, in the form editors and terminals make a link of: `file:line:column: message`. */
export function formatProblems(problems: readonly ConfigProblem[], file: string | undefined): string {
  return problems
    .map(({ message, line, column }) => {
      const place = [file ?? 'configuration', line, column].filter((part) => part !== undefined);
      return `${place.join(':')}: ${message}`;
    })
    .join('\n');
}

/** Collects problems and notices while a file is read. */
export class ProblemList {
  readonly problems: ConfigProblem[] = [];
  readonly notices: { message: string; line: number | undefined; failsCheck: boolean }[] = [];

  refuse(message: string, at?: Position): void {
    this.problems.push({ message, line: at?.line, column: at?.column });
  }

  /** Something a person should know; the server starts all the same. */
  notice(message: string, at: Position | undefined, options: { failsCheck: boolean }): void {
    this.notices.push({ message, line: at?.line, failsCheck: options.failsCheck });
  }

  /** @throws ConfigError when anything was refused; problems come in the file's order. */
  throwIfAny(file: string | undefined): void {
    if (this.problems.length === 0) return;
    const inOrder = this.problems.toSorted((a, b) => (a.line ?? 0) - (b.line ?? 0));
    throw new ConfigError(inOrder, file);
  }
}
