/** Answers that are not streams: JSON for programs, S3's XML for nodes that hand errors on as they are. */
import type { IncomingMessage, ServerResponse } from 'node:http';
import type { S3Error } from '../../sse/s3-error.ts';
import { isHttp2, type RawRequest, type RawResponse } from './call.ts';

export interface Answer {
  readonly status: number;
  readonly headers?: Readonly<Record<string, string>>;
  readonly type?: string;
  readonly body?: Buffer;
  /** The body holds key material: overwrite it once sent. */
  readonly secret?: boolean;
}

export function json(value: unknown, headers: Readonly<Record<string, string>> = {}): Answer {
  return { status: 200, headers, type: 'application/json', body: Buffer.from(`${JSON.stringify(value)}\n`) };
}

function escapeXml(text: string): string {
  return text.replace(/[<>&'"]/g, (character) => `&#${String(character.charCodeAt(0))};`);
}

export function errorAnswer(error: S3Error, accept: string | undefined, requestId: string): Answer {
  const { code, message, status, sello } = error;
  const headers: Record<string, string> = { 'x-sello-error': sello, 'x-amz-error-code': code };
  if (status === 503) headers['retry-after'] = '1';
  if (accept?.includes('xml') === true) {
    const text = `<?xml version="1.0" encoding="UTF-8"?>\n<Error><Code>${code}</Code><Message>${escapeXml(message)}</Message><RequestId>${requestId}</RequestId></Error>`;
    return { status, headers, type: 'application/xml', body: Buffer.from(text) };
  }
  const body = { code, message, error: sello, requestId };
  return { status, headers, type: 'application/json', body: Buffer.from(`${JSON.stringify(body)}\n`) };
}

/** How long, and how much of, a body that nobody wants is taken in, so that its sender comes to read the answer. */
const lingerMs = 2000;
const lingerBytes = 4 * 1_048_576;

/** Sends an answer in one piece. */
export function send(raw: RawRequest, response: RawResponse, answer: Answer): void {
  const { status, headers = {}, type, body, secret } = answer;
  if (isHttp2(response)) {
    response.statusCode = status;
    for (const [name, value] of Object.entries(headers)) response.setHeader(name, value);
    if (type !== undefined) response.setHeader('content-type', type);
    response.setHeader('content-length', String(body?.length ?? 0));
    if (secret === true) response.wipeAfterSend = true;
    response.end(body);
    return;
  }
  const request = raw as IncomingMessage;
  response.writeHead(status, {
    ...headers,
    ...(type === undefined ? {} : { 'content-type': type }),
    'content-length': String(body?.length ?? 0),
    ...(request.complete ? {} : { connection: 'close' }),
  });
  if (secret === true && body !== undefined) response.once('close', () => body.fill(0));
  if (request.complete) response.end(body);
  else endAfterBody(request, response, body);
}

/** A connection that is closed over unread bytes is reset, and the client may never see the answer: take some of them in first. */
function endAfterBody(request: IncomingMessage, response: ServerResponse, body: Buffer | undefined): void {
  let taken = 0;
  const end = (): void => {
    clearTimeout(timer);
    request.off('end', end);
    request.off('close', end);
    request.off('data', count);
    if (!response.writableEnded) response.end();
  };
  const count = (chunk: Buffer): void => {
    taken += chunk.length;
    if (taken > lingerBytes) end();
  };
  const timer = setTimeout(end, lingerMs);
  if (body !== undefined) response.write(body);
  else response.flushHeaders();
  request.on('data', count);
  request.once('end', end);
  request.once('close', end);
  request.resume();
}
