/** For tests: what a configuration is refused for, as the text a person sees. */
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
