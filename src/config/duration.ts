/**
 * Durations as Go writes them (`5m0s`, `1h30m`, `300ms`), because KES files do: a sequence of decimal numbers,
 * each with a unit, or a bare `0`. Read as milliseconds; what is finer than a millisecond rounds up, so that a
 * life that was asked for never becomes "no limit".
 */
const unitMs: Readonly<Record<string, number>> = {
  ns: 1e-6,
  us: 1e-3,
  µs: 1e-3, // U+00B5
  μs: 1e-3, // U+03BC, as Go accepts too
  ms: 1,
  s: 1000,
  m: 60_000,
  h: 3_600_000,
};

const part = String.raw`(?:\d+\.?\d*|\.\d+)(?:ns|us|µs|μs|ms|s|m|h)`;

/** For the published JSON schema. */
export const durationPattern = `^\\+?(?:0|(?:${part})+)$`;

const whole = new RegExp(durationPattern, 'u');
const parts = /(\d+\.?\d*|\.\d+)(ns|us|µs|μs|ms|s|m|h)/gu;

/** Undefined for anything that is no duration of at least zero, or is beyond what a timer can hold exactly. */
export function parseDuration(text: string): number | undefined {
  if (text.length > 64 || !whole.test(text)) return undefined;
  let totalMs = 0;
  for (const [, amount, unit] of text.matchAll(parts)) totalMs += Number(amount) * unitMs[unit!]!;
  // Sums of decimal fractions such as 1.1s are off by less than a microsecond: do not round those up.
  const rounded = Math.ceil(totalMs - 1e-7);
  return Number.isSafeInteger(rounded) ? rounded : undefined;
}

const bytesPerUnit: Readonly<Record<string, number>> = {
  '': 1,
  B: 1,
  KiB: 1024,
  MiB: 1024 ** 2,
  GiB: 1024 ** 3,
};

export const bytesPattern = '^\\d{1,12} ?(?:B|KiB|MiB|GiB)?$';

/** `16KiB`, `1 MiB`, or a bare number of bytes. */
export function parseBytes(text: string): number | undefined {
  if (!new RegExp(bytesPattern).test(text)) return undefined;
  const [, amount, unit] = /^(\d+) ?(\D*)$/.exec(text)!;
  const bytes = Number(amount) * bytesPerUnit[unit!]!;
  return Number.isSafeInteger(bytes) ? bytes : undefined;
}
