/** What every store accepts. Breaking these is a mistake in Sello, not bad input: hence no SELLO code. */
import type { ListOptions } from './contract.ts';

/** KES reads at most this much of a stored key. */
export const maxValueBytes = 1024 * 1024;

export const maxPageNames = 1024;

export function checkValue(value: Buffer, mostBytes = maxValueBytes): void {
  if (value.length === 0 || value.length > mostBytes) {
    throw new RangeError(`stored value: expected 1 to ${mostBytes} bytes, got ${value.length}`);
  }
}

export function checkListOptions({ limit }: ListOptions): void {
  if (!Number.isInteger(limit) || limit < 1 || limit > maxPageNames) {
    throw new RangeError(`page of names: expected 1 to ${maxPageNames}, got ${limit}`);
  }
}

const recordSegment = /^(?!\.{1,2}$)[0-9A-Za-z_.-]{1,128}$/;

/** The path of a record (contract.ts), or of a folder of records: then `least` is 1. @throws RangeError */
export function checkRecordPath(path: string, least = 2): string {
  const segments = path.split('/');
  if (segments.length < least || segments.length > 4 || !segments.every((one) => recordSegment.test(one)))
    throw new RangeError(`not a path of a record: ${JSON.stringify(path.slice(0, 100))}`);
  return path;
}
