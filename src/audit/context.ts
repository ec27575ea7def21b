/** Bucket and object of an encryption context, where it names them as MinIO and its forks do. */

export interface ObjectName {
  readonly bucket: string;
  /** Absent for a key that is the bucket's. */
  readonly object?: string | undefined;
}

/** A longer context is not looked into: its hash is on record. */
const maxContextBytes = 4_096;

/** S3's rule for names of buckets. */
const bucketName = /^[0-9A-Za-z][0-9A-Za-z._-]{1,62}$/;

/** `{"BUCKET":"BUCKET/OBJECT"}` or `{"BUCKET":"BUCKET"}`: the one entry. All other values are on record as a hash alone. */
export function objectOf(context: Buffer): ObjectName | undefined {
  if (context.length > maxContextBytes || context[0] !== 0x7b) return undefined;
  let entries: [string, unknown][];
  try {
    entries = Object.entries(JSON.parse(context.toString('utf8')) as Record<string, unknown>);
  } catch {
    return undefined;
  }
  const [bucket, value] = entries[0] ?? [];
  if (entries.length !== 1 || bucket === undefined || typeof value !== 'string' || !bucketName.test(bucket))
    return undefined;
  if (value === bucket) return { bucket };
  return value.startsWith(`${bucket}/`) ? { bucket, object: value.slice(bucket.length + 1) } : undefined;
}
