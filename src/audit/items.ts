/**
 * A batch on record: one record for the items that succeeded and one for each way in which others failed, each with the list of its items, or
 * as many such records as the list needs, because a record has a bound (see line.ts). Outcome, rule and error are the record's, what is an
 * item's own is in the list; items that are alike in a row are one entry with their number.
 */
import { auditLine, itemText, maxLineBytes } from './line.ts';
import type { AuditItem, AuditRecord } from './record.ts';

/** `,"items":[]`, and what `sello.cut` may say of items. */
const frameBytes = 11 + 128;

/**
 * The records of items that share an outcome.
 * @param base what all have in common; without bucket, object and context
 */
export function recordsOfItems(base: AuditRecord, items: readonly AuditItem[]): AuditRecord[] {
  const [only] = items;
  if (items.length === 1) return [{ ...base, ...only }];
  const room = maxLineBytes - frameBytes - auditLine({ ...base, count: items.length }).length;
  const records: AuditRecord[] = [];
  let listed: AuditItem[] = [];
  let bytes = 0;
  let count = 0;
  const close = (): void => {
    records.push({ ...base, count, items: listed });
    listed = [];
    bytes = count = 0;
  };
  for (const entry of inRows(items)) {
    const length = itemText(entry).length + 1;
    if (listed.length > 0 && bytes + length > room) close();
    listed.push(entry);
    bytes += length;
    count += entry.count ?? 1;
  }
  if (listed.length > 0) close();
  return records;
}

/** Those alike in a row as one. */
function inRows(items: readonly AuditItem[]): AuditItem[] {
  const rows: AuditItem[] = [];
  for (let i = 0; i < items.length;) {
    const item = items[i]!;
    let end = i + 1;
    while (end < items.length && isAlike(item, items[end]!)) end++;
    rows.push(end === i + 1 ? item : { ...item, count: end - i });
    i = end;
  }
  return rows;
}

function isAlike(a: AuditItem, b: AuditItem): boolean {
  return (
    a.object === b.object &&
    a.bucket === b.bucket &&
    a.contextSha256 === b.contextSha256 &&
    a.key === b.key &&
    a.keyVersion === b.keyVersion
  );
}
