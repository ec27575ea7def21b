/** KES's log levels: Go's slog numbers, names with an offset, `on` and `off`. */
import type { LogLevel } from './model.ts';

const named: Readonly<Record<string, number>> = { DEBUG: -4, INFO: 0, WARN: 4, ERROR: 8 };
export const slogInfo = 0;

/** slog's number: `on` is INFO, `off` is above ERROR. Undefined when it is no level. */
export function parseKesLevel(text: string): number | undefined {
  const word = text.toUpperCase();
  if (word === 'ON' || word === 'TRUE') return slogInfo;
  if (word === 'OFF' || word === 'FALSE') return named['ERROR']! + 1;
  if (/^[+-]?\d{1,4}$/.test(word)) return Number(word);
  const parts = /^(DEBUG|INFO|WARN|ERROR)([+-]\d{1,4})?$/.exec(word);
  return parts === null ? undefined : named[parts[1]!]! + Number(parts[2] ?? 0);
}

/** Ours at that threshold: everything of the level or above is written. */
export function logLevelOf(slog: number): LogLevel {
  if (slog < -4) return 'trace';
  if (slog === -4) return 'debug';
  if (slog <= 0) return 'info';
  if (slog <= 4) return 'warn';
  return slog <= 8 ? 'error' : 'silent';
}
