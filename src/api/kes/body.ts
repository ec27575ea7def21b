/** Reads a request's body, on either protocol, up to a route's cap. */
import type { IncomingMessage } from 'node:http';
import type { Http2Request } from '../../server/http2-exchange.ts';

export type RawRequest = IncomingMessage | Http2Request;

export interface Body {
  readonly bytes: Buffer;
  /** More followed than the cap allows; `bytes` holds what came before it. */
  readonly oversize: boolean;
  /** The client declared a body, even if an empty one: KES treats that differently from none. */
  readonly declared: boolean;
}

/** What the headers say of a body, kept aside because Fastify must not read it (see plugin.ts). */
export interface Declared {
  readonly length: string | undefined;
  readonly chunked: boolean;
}

const none = Buffer.alloc(0);

/** Calls back once, with undefined when the client went away before the body was whole. */
export function readBody(raw: RawRequest, declared: Declared, cap: number, done: (body: Body | undefined) => void): void {
  const isHttp2 = 'stream' in raw;
  const source = isHttp2 ? raw.stream : raw;
  const hasBody = isHttp2 ? !raw.stream.endAfterHeaders : declared.chunked || (declared.length ?? '0') !== '0';
  if (!hasBody) {
    done({ bytes: none, oversize: false, declared: declared.chunked });
    return;
  }
  let first: Buffer | undefined;
  let rest: Buffer[] | undefined;
  let length = 0;
  let finished = false;
  const finish = (body: Body | undefined): void => {
    if (finished) return;
    finished = true;
    done(body);
  };
  const joined = (): Buffer => {
    if (rest === undefined) return first ?? none;
    const bytes = Buffer.concat([first!, ...rest]);
    return bytes;
  };
  source.on('data', (chunk: Buffer) => {
    if (finished) return;
    length += chunk.length;
    if (first === undefined) first = chunk;
    else (rest ??= []).push(chunk);
    if (length > cap) {
      finish({ bytes: joined().subarray(0, cap), oversize: true, declared: true });
      source.resume();
    }
  });
  source.on('end', () => finish({ bytes: joined(), oversize: false, declared: true }));
  source.on('close', () => finish(undefined));
}
