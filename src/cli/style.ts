/** Colour, dates and sizes for people. */
import { Option } from 'commander';
import type { CliCommand } from './command.ts';
import type { Io } from './io.ts';

export type ColorChoice = 'always' | 'auto' | 'never';

export interface Style {
  /** Dim, for labels. */
  label(text: string): string;
  good(text: string): string;
  bad(text: string): string;
  name(text: string): string;
}

/** The option that decides about colour. */
export function colorOption(command: CliCommand): CliCommand {
  command.addOption(
    new Option('--color <WHEN>', 'Use colours').choices(['always', 'auto', 'never']).default('auto'),
  );
  return command;
}

/** `auto`: on a terminal, unless NO_COLOR is set (no-color.org). */
export function styleOf(
  io: Io,
  choice: ColorChoice = 'auto',
  stream: { isTTY?: boolean } = io.stdout,
): Style {
  const noColor = io.env['NO_COLOR'];
  const wanted = stream.isTTY === true && (noColor === undefined || noColor === '');
  const colored = choice === 'always' || (choice === 'auto' && wanted);
  const paint = (codes: string) => (text: string) => (colored ? `\u001b[${codes}m${text}\u001b[0m` : text);
  return { label: paint('2'), good: paint('1;38;5;46'), bad: paint('1;38;5;196'), name: paint('1;38;5;37') };
}

/** `2026-11-22 23:45:40` in local time; what cannot be read as a time is left as it is. */
export function dateText(time: string): string {
  // KES gives nanoseconds; fractions are cut, not rounded, and years before 100 kept by Date's own parser.
  const date = new Date(time.replace(/\.\d+/, ''));
  if (Number.isNaN(date.getTime())) return time;
  const two = (value: number) => String(value).padStart(2, '0');
  const day = `${String(date.getFullYear()).padStart(4, '0')}-${two(date.getMonth() + 1)}-${two(date.getDate())}`;
  return `${day} ${two(date.getHours())}:${two(date.getMinutes())}:${two(date.getSeconds())}`;
}

/** `3.8MB`: decimal units, one digit. */
export function sizeText(bytes: number): string {
  const units = ['B', 'KB', 'MB', 'GB', 'TB'];
  let value = bytes;
  let unit = 0;
  while (value >= 1000 && unit < units.length - 1) {
    value /= 1000;
    unit++;
  }
  return unit === 0 ? `${String(bytes)}B` : `${value.toFixed(1)}${units[unit]!}`;
}

/** `4 minutes`; days and hours together. */
export function uptimeText(seconds: number): string {
  if (seconds > 24 * 3600) {
    return `${String(Math.floor(seconds / 86_400))} days ${String(Math.floor((seconds % 86_400) / 3600))} hours`;
  }
  if (seconds > 3600) return `${String(Math.floor(seconds / 3600))} hours`;
  if (seconds > 60) return `${String(Math.floor(seconds / 60))} minutes`;
  return `${String(Math.floor(seconds))} seconds`;
}

/** `Name        app`: labels in a column of twelve, as KES. Rows without a value are left out. */
export function labelled(rows: readonly (readonly [string, string | undefined])[]): string {
  return rows
    .filter(([, value]) => value !== undefined)
    .map(([label, value]) => `${label.padEnd(12)}${value!}`)
    .join('\n');
}
