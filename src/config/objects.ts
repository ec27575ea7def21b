/** A tenant's `objects` section: every bucket ends up with all of its settings. */
import type { BucketEncryption, ObjectsConfig } from './model.ts';
import type { SelloTenant } from './schema-sello.ts';

export function objectsOf(source: SelloTenant['objects']): ObjectsConfig | undefined {
  if (source === undefined) return undefined;
  const everyBucket: BucketEncryption = {
    mode: source.default,
    keyName: source.key,
    isForced: source.forced,
    allowsCustomerKeys: source.sseC,
    allowedKeys: source.allowedKeys,
    usesBucketKey: source.bucketKey,
  };
  const buckets = Object.entries(source.buckets).map(([name, bucket]) => {
    const encryption: BucketEncryption = {
      mode: bucket.default ?? everyBucket.mode,
      keyName: bucket.key ?? everyBucket.keyName,
      isForced: bucket.forced ?? everyBucket.isForced,
      allowsCustomerKeys: bucket.sseC ?? everyBucket.allowsCustomerKeys,
      allowedKeys: bucket.allowedKeys ?? everyBucket.allowedKeys,
      usesBucketKey: bucket.bucketKey ?? everyBucket.usesBucketKey,
    };
    return [name, encryption] as const;
  });
  return {
    cipher: source.cipher,
    everyBucket,
    buckets: Object.fromEntries(buckets),
    bucketKeys: { maxAgeMs: source.bucketKeys.maxAge, maxObjects: source.bucketKeys.maxObjects },
    wrongCustomerKeyStatus: source.wrongCustomerKey === '400' ? 400 : 403,
    requiresKmsKeyId: source.requireKmsKeyId,
    maxStreams: source.maxStreams,
  };
}

/** What holds for a bucket. */
export function encryptionOf({ buckets, everyBucket }: ObjectsConfig, bucket: string): BucketEncryption {
  return Object.hasOwn(buckets, bucket) ? buckets[bucket]! : everyBucket;
}
