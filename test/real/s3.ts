/** A small S3 client: Signature Version 4 over undici, path-style, answers as they are. Enough to try a storage node. */
import { createHash, createHmac } from 'node:crypto';
import { Pool } from 'undici';

export interface S3Settings {
  /** Origin such as `http://127.0.0.1:9000`. */
  readonly endpoint: string;
  readonly accessKey: string;
  readonly secretKey: string;
  readonly region?: string;
  readonly connections?: number;
  /** For `https:`: PEM of the CA. */
  readonly ca?: Buffer | undefined;
}

export interface S3Answer {
  readonly status: number;
  readonly headers: Readonly<Record<string, string>>;
  readonly body: Buffer;
  /** `<Code>` of an error document, such as `NoSuchKey`. */
  readonly code: string | undefined;
}

export interface S3Call {
  readonly query?: Readonly<Record<string, string>>;
  readonly headers?: Readonly<Record<string, string>>;
  readonly body?: Buffer;
}

const requestTimeoutMs = 30_000;
const service = 's3';

export class S3 {
  readonly #settings: S3Settings;
  readonly #pool: Pool;
  readonly #host: string;

  constructor(settings: S3Settings) {
    this.#settings = settings;
    this.#host = new URL(settings.endpoint).host;
    this.#pool = new Pool(settings.endpoint, {
      connections: settings.connections ?? 16,
      headersTimeout: requestTimeoutMs,
      bodyTimeout: requestTimeoutMs,
      ...(settings.ca === undefined ? {} : { connect: { ca: settings.ca } }),
    });
  }

  async close(): Promise<void> {
    await this.#pool.destroy();
  }

  put(bucket: string, key: string, body: Buffer, headers: Record<string, string> = {}): Promise<S3Answer> {
    return this.call('PUT', `/${bucket}/${key}`, { body, headers });
  }

  get(bucket: string, key: string, headers: Record<string, string> = {}): Promise<S3Answer> {
    return this.call('GET', `/${bucket}/${key}`, { headers });
  }

  head(bucket: string, key: string): Promise<S3Answer> {
    return this.call('HEAD', `/${bucket}/${key}`);
  }

  createBucket(bucket: string): Promise<S3Answer> {
    return this.call('PUT', `/${bucket}`);
  }

  copy(from: string, bucket: string, key: string, headers: Record<string, string> = {}): Promise<S3Answer> {
    return this.call('PUT', `/${bucket}/${key}`, {
      headers: { 'x-amz-copy-source': encodePath(from), ...headers },
    });
  }

  /** Every key of a bucket, in the order of the answers, page after page (ListObjectsV2). */
  async list(bucket: string, prefix = ''): Promise<string[]> {
    const mostPages = 1000;
    const keys: string[] = [];
    let token: string | undefined;
    for (let page = 0; page < mostPages; page++) {
      const answer = await this.call('GET', `/${bucket}`, {
        query: { 'list-type': '2', prefix, ...(token === undefined ? {} : { 'continuation-token': token }) },
      });
      expect(answer, 200);
      const text = answer.body.toString();
      for (const match of text.matchAll(/<Key>([^<]*)<\/Key>/g)) keys.push(match[1]!);
      token = element(text, 'NextContinuationToken');
      if (token === undefined) return keys;
    }
    throw new Error(`listing of ${bucket} does not end`);
  }

  /** Uploads `parts` as one object in parts. Every part but the last must have 5 MiB or more. */
  async multipart(
    bucket: string,
    key: string,
    parts: readonly Buffer[],
    headers: Record<string, string> = {},
    partHeaders: Record<string, string> = {},
  ): Promise<S3Answer> {
    const path = `/${bucket}/${key}`;
    const begun = expect(await this.call('POST', path, { query: { uploads: '' }, headers }), 200);
    const uploadId = element(begun.body.toString(), 'UploadId');
    if (uploadId === undefined) throw new Error('no UploadId');
    const listed: string[] = [];
    for (const [index, body] of parts.entries()) {
      const partNumber = String(index + 1);
      const done = expect(
        await this.call('PUT', path, { query: { partNumber, uploadId }, headers: partHeaders, body }),
        200,
      );
      listed.push(
        `<Part><PartNumber>${partNumber}</PartNumber><ETag>${done.headers['etag'] ?? ''}</ETag></Part>`,
      );
    }
    const document = `<CompleteMultipartUpload>${listed.join('')}</CompleteMultipartUpload>`;
    return this.call('POST', path, { query: { uploadId }, body: Buffer.from(document) });
  }

  /** One signed request. `path` is not yet percent-encoded. */
  async call(
    method: 'GET' | 'HEAD' | 'PUT' | 'POST' | 'DELETE',
    path: string,
    call: S3Call = {},
  ): Promise<S3Answer> {
    const body = call.body ?? Buffer.alloc(0);
    const target = encodePath(path);
    const query = Object.entries(call.query ?? {})
      .map(([name, value]) => `${encode(name)}=${encode(value)}`)
      .sort()
      .join('&');
    const headers = this.#sign(method, target, query, call.headers ?? {}, body);
    const answer = await this.#pool.request({
      method,
      path: query === '' ? target : `${target}?${query}`,
      headers,
      body: body.length === 0 ? null : body,
    });
    const received = Buffer.from(await answer.body.arrayBuffer());
    const flat = Object.entries(answer.headers).map(([name, value]) => [name, String(value)] as const);
    const isXml = String(answer.headers['content-type']).includes('xml');
    return {
      status: answer.statusCode,
      headers: Object.fromEntries(flat),
      body: received,
      code: isXml ? element(received.toString(), 'Code') : undefined,
    };
  }

  /** AWS Signature Version 4 with the payload's hash signed ("Authenticating Requests (AWS Signature Version 4)"). */
  #sign(
    method: string,
    target: string,
    query: string,
    extra: Readonly<Record<string, string>>,
    body: Buffer,
  ): Record<string, string> {
    const { accessKey, secretKey, region = 'us-east-1' } = this.#settings;
    const stamp = new Date().toISOString().replace(/[-:]|\.\d{3}/g, '');
    const day = stamp.slice(0, 8);
    const bodyHash = createHash('sha256').update(body).digest('hex');
    const headers: Record<string, string> = {
      host: this.#host,
      'x-amz-date': stamp,
      'x-amz-content-sha256': bodyHash,
    };
    for (const [name, value] of Object.entries(extra)) headers[name.toLowerCase()] = value;
    const names = Object.keys(headers).sort();
    const canonical = [
      method,
      target,
      query,
      ...names.map((name) => `${name}:${headers[name]!.trim()}`),
      '',
      names.join(';'),
      bodyHash,
    ].join('\n');
    const scope = `${day}/${region}/${service}/aws4_request`;
    const toSign = [
      'AWS4-HMAC-SHA256',
      stamp,
      scope,
      createHash('sha256').update(canonical).digest('hex'),
    ].join('\n');
    let key: Buffer = Buffer.from(`AWS4${secretKey}`);
    for (const part of [day, region, service, 'aws4_request'])
      key = createHmac('sha256', key).update(part).digest();
    const signature = createHmac('sha256', key).update(toSign).digest('hex');
    headers['authorization'] =
      `AWS4-HMAC-SHA256 Credential=${accessKey}/${scope}, SignedHeaders=${names.join(';')}, Signature=${signature}`;
    return headers;
  }
}

/** The answer, if it has this status; otherwise an error that tells the server's own. */
export function expect(answer: S3Answer, status: number): S3Answer {
  if (answer.status === status) return answer;
  throw new Error(
    `S3 answered ${String(answer.status)} ${answer.code ?? ''}: ${answer.body.toString().slice(0, 300)}`,
  );
}

export function element(xml: string, name: string): string | undefined {
  return new RegExp(`<${name}>([^<]*)</${name}>`).exec(xml)?.[1];
}

/** RFC 3986 unreserved characters stay as they are, all others are escaped (as Signature Version 4 asks). */
function encode(text: string): string {
  return encodeURIComponent(text).replace(
    /[!'()*]/g,
    (c) => `%${c.charCodeAt(0).toString(16).toUpperCase()}`,
  );
}

function encodePath(path: string): string {
  return path.split('/').map(encode).join('/');
}
