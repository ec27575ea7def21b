/** What a bucket's settings make of a request for encryption. */
import { wipe } from '../crypto/index.ts';
import type { BucketEncryption } from '../config/model.ts';
import type { EncryptionContext } from './context.ts';
import type { CustomerKey, SseRequest } from './headers.ts';
import { accessDenied, invalidArgument, invalidRequest } from './s3-error.ts';

/** How a new envelope is to be sealed. */
export type SseDecision =
  | {
      readonly mode: 'sse-s3' | 'sse-kms';
      readonly keyName: string;
      readonly context: EncryptionContext;
      readonly usesBucketKey: boolean;
    }
  | { readonly mode: 'sse-c'; readonly customer: CustomerKey };

/** @throws S3Error; a customer key is wiped then */
export function decideEncryption(
  request: SseRequest,
  bucket: BucketEncryption,
  requiresKmsKeyId: boolean,
): SseDecision {
  if (request.mode === 'sse-c') {
    if (bucket.allowsCustomerKeys && !bucket.isForced) return { mode: 'sse-c', customer: request.customer };
    wipe(request.customer.key);
    throw accessDenied('Server Side Encryption with Customer provided keys is not allowed for this bucket.');
  }
  const { keyName, usesBucketKey } = bucket;
  const mode = request.mode === 'default' ? bucket.mode : request.mode;
  if (mode === 'none')
    throw invalidRequest('No encryption was requested, and this bucket has none by default.');
  if (request.mode !== 'sse-kms') {
    if (bucket.isForced && mode !== bucket.mode)
      throw accessDenied('This bucket accepts its own default encryption only.');
    return { mode, keyName, context: {}, usesBucketKey };
  }
  if (request.keyName === undefined && requiresKmsKeyId)
    throw invalidArgument('x-amz-server-side-encryption-aws-kms-key-id is required with aws:kms.');
  const wanted = request.keyName ?? keyName;
  if (bucket.isForced && (bucket.mode !== 'sse-kms' || wanted !== keyName))
    throw accessDenied('This bucket accepts its own default encryption only.');
  if (request.keyName !== undefined && wanted !== keyName && !isAllowed(wanted, bucket.allowedKeys))
    throw accessDenied('This bucket does not accept the specified KMS key.');
  const wantsBucketKey = request.bucketKey ?? usesBucketKey;
  // A data key that serves a bucket is bound to no client's context: with one, each object has its own.
  const hasContext = Object.keys(request.context).length > 0;
  return { mode, keyName: wanted, context: request.context, usesBucketKey: wantsBucketKey && !hasContext };
}

function isAllowed(keyName: string, patterns: readonly string[]): boolean {
  if (patterns.length === 0) return true;
  return patterns.some((pattern) =>
    pattern.endsWith('*') ? keyName.startsWith(pattern.slice(0, -1)) : keyName === pattern,
  );
}
