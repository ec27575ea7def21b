/** For tests: what a configuration is refused for, as the text a person sees. */
import type { Test } from 'tap';
import { ConfigError, parseConfig } from '../../src/config/index.ts';
import type { ParseOptions } from '../../src/config/index.ts';

export function problemsOf(text: string, options: Partial<ParseOptions> = {}): string[] {
  try {
    parseConfig(text, { env: {}, ...options });
  } catch (error) {
    if (error instanceof ConfigError) {
      return error.problems.map(({ message, line }) => `${line ?? '-'}: ${message}`);
    }
    throw error;
  }
  return [];
}

/** Claims that a configuration has these problems, in this order, and no others. A text is a part of the problem. */
export function refuses(
  t: Test,
  text: string,
  expected: readonly (string | RegExp)[],
  options: Partial<ParseOptions> = {},
): void {
  compare(t, problemsOf(text, options), expected);
}

/** `t.match` on lists passes when more is found than expected; this does not. */
export function compare(t: Test, found: readonly string[], expected: readonly (string | RegExp)[]): void {
  const fits =
    found.length === expected.length &&
    expected.every((part, i) => (typeof part === 'string' ? found[i]!.includes(part) : part.test(found[i]!)));
  if (fits) t.pass(expected.join('; '));
  else t.fail(`expected ${expected.map(String).join('\n')}\nbut found\n${found.join('\n')}`);
}
