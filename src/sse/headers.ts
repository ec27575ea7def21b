/**
 * From S3's request headers to the encryption they ask for, and back to the headers S3 answers with. Combinations that S3 refuses
 * are refused here, in S3's words (docs/object-api.md).
 */
import { createHash } from 'node:crypto';
import { decodeBase64, equalSecrets, wipe } from '../crypto/index.ts';
import { maxContextBytes, parseContext, type EncryptionContext } from './context.ts';
import { invalidArgument, invalidRequest, S3Error } from './s3-error.ts';

export type Headers = Readonly<Record<string, string | string[] | undefined>>;

export const sseHeader = 'x-amz-server-side-encryption';
const kmsKeyHeader = `${sseHeader}-aws-kms-key-id`;
const contextHeader = `${sseHeader}-context`;
const bucketKeyHeader = `${sseHeader}-bucket-key-enabled`;
export const customerPrefix = `${sseHeader}-customer-`;
export const copySourcePrefix = 'x-amz-copy-source-server-side-encryption-customer-';

/** What a client asks for; `default` leaves it to the bucket. */
export type SseRequest =
  | { readonly mode: 'default' }
  | { readonly mode: 'sse-s3' }
  | {
      readonly mode: 'sse-kms';
      /** undefined: the bucket's. */
      readonly keyName: string | undefined;
      readonly context: EncryptionContext;
      /** undefined: as the bucket does. */
      readonly bucketKey: boolean | undefined;
    }
  | { readonly mode: 'sse-c'; readonly customer: CustomerKey };

/** A customer's key on its way through. Wiped after use. */
export interface CustomerKey {
  /** 32 bytes. */
  readonly key: Buffer;
  /** As the client sent it: it is sent back. */
  readonly md5: string;
}

function single(headers: Headers, name: string): string | undefined {
  const value = headers[name];
  if (Array.isArray(value)) throw invalidArgument(`Header ${name} may be there once.`);
  // Node joins repeated fields with a comma; none of ours has one.
  if (value?.includes(',') === true) throw invalidArgument(`Header ${name} may be there once.`);
  return value;
}

/**
 * The customer key of a request, `undefined` when it has none.
 * @param prefix of its three headers: of the object itself or of a copy's source
 * @param isSecure false when the client's own connection to the node was not encrypted
 */
export function customerKeyOf(headers: Headers, prefix: string, isSecure: boolean): CustomerKey | undefined {
  const algorithm = single(headers, `${prefix}algorithm`);
  const key = single(headers, `${prefix}key`);
  const md5 = single(headers, `${prefix}key-md5`);
  if (algorithm === undefined && key === undefined && md5 === undefined) return undefined;
  if (!isSecure)
    throw invalidRequest(
      'Requests specifying Server Side Encryption with Customer provided keys must be made over a secure connection.',
    );
  if (algorithm === undefined)
    throw invalidArgument(
      'Requests specifying Server Side Encryption with Customer provided keys must provide a valid encryption algorithm.',
    );
  if (algorithm !== 'AES256')
    throw new S3Error(
      'InvalidEncryptionAlgorithmError',
      'The encryption request you specified is not valid. The valid value is AES256.',
      'SELLO_SSE_REQUEST_INVALID',
    );
  if (key === undefined)
    throw invalidArgument(
      'Requests specifying Server Side Encryption with Customer provided keys must provide an appropriate secret key.',
    );
  if (md5 === undefined)
    throw invalidArgument(
      'Requests specifying Server Side Encryption with Customer provided keys must provide the client calculated MD5 of the secret key.',
    );
  const text = Buffer.from(key, 'latin1');
  const bytes = decodeBase64(text);
  wipe(text);
  if (bytes?.length !== 32) {
    wipe(bytes);
    throw invalidArgument('The secret key was invalid for the specified algorithm.');
  }
  const given = decodeBase64(Buffer.from(md5, 'latin1'));
  const calculated = createHash('md5').update(bytes).digest();
  if (given === undefined || !equalSecrets(given, calculated)) {
    wipe(bytes);
    throw invalidArgument('The calculated MD5 hash of the key did not match the hash that was provided.');
  }
  return { key: bytes, md5 };
}

/** Takes the keys out of a request's headers, so that nothing that looks at them later can see them. The text itself lives on until it is collected. */
export function dropCustomerKeys(
  headers: Record<string, string | string[] | undefined>,
  rawHeaders?: string[],
): void {
  for (const prefix of [customerPrefix, copySourcePrefix]) {
    if (headers[`${prefix}key`] !== undefined) headers[`${prefix}key`] = undefined;
  }
  if (rawHeaders === undefined) return;
  for (let i = 0; i < rawHeaders.length; i += 2) {
    const name = rawHeaders[i]!.toLowerCase();
    if (name === `${customerPrefix}key` || name === `${copySourcePrefix}key`) rawHeaders[i + 1] = '';
  }
}

/** Names of a KMS key as clients write them: bare, MinIO's `arn:aws:kms:NAME`, or AWS's `arn:aws:kms:REGION:ACCOUNT:key/NAME`. */
function keyNameOf(text: string): string {
  const aws = /^arn:aws:kms:[^:/]*:[^:/]*:key\/([^/]+)$/.exec(text);
  if (aws !== null) return aws[1]!;
  return text.startsWith('arn:aws:kms:') ? text.slice('arn:aws:kms:'.length) : text;
}

/** As MinIO answers it, and as clients that expect an ARN want it. */
export function keyArn(keyName: string): string {
  return `arn:aws:kms:${keyName}`;
}

/** The encryption that a request for sealing names. @throws S3Error */
export function sseRequestOf(headers: Headers, isSecure: boolean): SseRequest {
  const mode = single(headers, sseHeader);
  const keyId = single(headers, kmsKeyHeader);
  const contextText = single(headers, contextHeader);
  const bucketKeyText = single(headers, bucketKeyHeader);
  const customer = customerKeyOf(headers, customerPrefix, isSecure);
  try {
    if (customer !== undefined) {
      if (mode !== undefined || keyId !== undefined || contextText !== undefined)
        throw invalidArgument(
          'Server Side Encryption with Customer provided key is incompatible with the encryption method specified.',
        );
      return { mode: 'sse-c', customer };
    }
    if (mode === undefined) {
      if (keyId !== undefined || contextText !== undefined)
        throw invalidArgument(
          'Server Side Encryption with AWS KMS managed key requires HTTP header x-amz-server-side-encryption : aws:kms',
        );
      return { mode: 'default' };
    }
    if (mode === 'AES256') {
      if (keyId !== undefined || contextText !== undefined)
        throw invalidArgument(
          'x-amz-server-side-encryption-aws-kms-key-id and -context are for aws:kms only.',
        );
      return { mode: 'sse-s3' };
    }
    if (mode !== 'aws:kms') throw invalidArgument('The encryption method specified is not supported.');
    if (bucketKeyText !== undefined && !/^(?:true|false)$/i.test(bucketKeyText))
      throw invalidArgument(`The value specified in ${bucketKeyHeader} is not a Boolean.`);
    return {
      mode: 'sse-kms',
      keyName: keyId === undefined ? undefined : keyNameOf(keyId),
      context: contextText === undefined ? {} : contextOf(contextText),
      bucketKey: bucketKeyText === undefined ? undefined : bucketKeyText.toLowerCase() === 'true',
    };
  } catch (error) {
    wipe(customer?.key);
    throw error;
  }
}

function contextOf(base64: string): EncryptionContext {
  const json = decodeBase64(Buffer.from(base64, 'latin1'), 0, base64.length, 'pooled');
  const context = json === undefined || json.length > maxContextBytes ? undefined : parseContext(json);
  if (context === undefined) {
    throw invalidArgument(
      `${contextHeader} is the base64 of a JSON object of strings, of at most ${String(maxContextBytes)} bytes.`,
    );
  }
  return context;
}

/** Requests that read an object may carry a customer key and nothing else of encryption. @throws S3Error */
export function refuseSseOnRead(headers: Headers): void {
  for (const name of [sseHeader, kmsKeyHeader, contextHeader, bucketKeyHeader]) {
    if (headers[name] !== undefined)
      throw invalidArgument(`${name} header is not supported for this operation.`);
  }
}

/** What S3 says of an object's encryption in its answers. */
export interface SseShown {
  readonly mode: 'sse-s3' | 'sse-kms' | 'sse-c';
  readonly keyName: string;
  readonly isBucketKey: boolean;
  /** SSE-C. */
  readonly md5?: string | undefined;
}

export function answerHeaders({ mode, keyName, isBucketKey, md5 }: SseShown): Record<string, string> {
  switch (mode) {
    case 'sse-s3':
      return { [sseHeader]: 'AES256', ...(isBucketKey ? { [bucketKeyHeader]: 'true' } : {}) };
    case 'sse-kms':
      return {
        [sseHeader]: 'aws:kms',
        [kmsKeyHeader]: keyArn(keyName),
        ...(isBucketKey ? { [bucketKeyHeader]: 'true' } : {}),
      };
    case 'sse-c':
      return {
        [`${customerPrefix}algorithm`]: 'AES256',
        ...(md5 === undefined ? {} : { [`${customerPrefix}key-md5`]: md5 }),
      };
  }
}
