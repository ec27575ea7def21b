/**
 * A moment to the nanosecond, because KES stores and shows nanoseconds (`created_at`) and a Date would drop six
 * digits. Read and written as RFC 3339 the way Go's `time.Time` does in JSON.
 */
export interface Instant {
  /** Seconds since 1970-01-01T00:00:00Z, negative before. */
  readonly seconds: number;
  /** 0 to 999,999,999. */
  readonly nanoseconds: number;
}

/** 0001-01-01T00:00:00Z: Go's zero time, what KES shows for a stored key that has no date. */
export const zeroInstant: Instant = { seconds: -62_135_596_800, nanoseconds: 0 };

/** 9999-12-31T23:59:59Z: RFC 3339 has four digits for the year. */
const lastSecond = 253_402_300_799;

/** The instant, or undefined outside the years 1 to 9999. */
export function instant(seconds: number, nanoseconds: number): Instant | undefined {
  if (!Number.isSafeInteger(seconds) || seconds < zeroInstant.seconds || seconds > lastSecond)
    return undefined;
  if (!Number.isInteger(nanoseconds) || nanoseconds < 0 || nanoseconds > 999_999_999) return undefined;
  return { seconds, nanoseconds };
}

export function instantFromDate(date: Date): Instant {
  const milliseconds = date.getTime();
  const seconds = Math.floor(milliseconds / 1000);
  return { seconds, nanoseconds: (milliseconds - seconds * 1000) * 1_000_000 };
}

/** RFC 3339 in UTC; the fraction without trailing zeros, and none when it is zero (Go's RFC3339Nano). */
export function formatInstant({ seconds, nanoseconds }: Instant): string {
  const whole = new Date(seconds * 1000).toISOString().slice(0, 19);
  const fraction = nanoseconds === 0 ? '' : `.${String(nanoseconds).padStart(9, '0').replace(/0+$/, '')}`;
  return `${whole}${fraction}Z`;
}

const rfc3339 = /^(\d{4}-\d{2}-\d{2})T(\d{2}:\d{2}:\d{2})(?:\.(\d+))?(?:Z|([+-])(\d{2}):(\d{2}))$/;

/** Reads RFC 3339 with any offset. Digits after the ninth are dropped, as Go does. */
export function parseInstant(text: string): Instant | undefined {
  const match = rfc3339.exec(text);
  if (match === null) return undefined;
  const [, day, time, fraction = '', sign, offsetHours = '00', offsetMinutes = '00'] = match;
  const local = Date.parse(`${day}T${time}Z`);
  // Date.parse turns 30 February into 2 March and 24:00 into the next day; such a text is no date.
  if (Number.isNaN(local) || new Date(local).toISOString().slice(0, 19) !== `${day}T${time}`)
    return undefined;
  if (Number(offsetHours) > 23 || Number(offsetMinutes) > 59) return undefined;
  const offsetSeconds = (Number(offsetHours) * 60 + Number(offsetMinutes)) * 60 * (sign === '-' ? -1 : 1);
  return instant(local / 1000 - offsetSeconds, Number(fraction.slice(0, 9).padEnd(9, '0')));
}
