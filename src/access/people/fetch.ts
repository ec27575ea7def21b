/**
 * What we fetch from an OpenID provider: small JSON documents over TLS, in bounded time, without following a redirect anywhere.
 * The environment's proxies and leave to skip verification are not asked for.
 */
import { readFileSync } from 'node:fs';
import { Agent } from 'undici';
import { SelloError } from '../../errors.ts';
import { unavailable } from './refusal.ts';
import { isObject, parseStrictJson } from './strict-json.ts';

export interface FetchedJson {
  readonly status: number;
  readonly body: Record<string, unknown>;
}

export interface JsonRequest {
  readonly url: string;
  /** A form is POSTed. */
  readonly form?: Readonly<Record<string, string>>;
  readonly authorization?: string;
}

/** One provider's connections. A test may give another. */
export interface JsonFetcher {
  /** @throws LoginError SELLO_LOGIN_UNAVAILABLE */
  fetch(request: JsonRequest): Promise<FetchedJson>;
  close(): Promise<void>;
}

export interface FetcherOptions {
  /** PEM of CAs; undefined: the system's. */
  readonly caFile: string | undefined;
  readonly timeoutMs: number;
}

/** Google's and Entra's key sets are 3 to 20 KB, discovery documents 2 to 10. */
export const maxDocumentBytes = 256 * 1024;

/** @throws SelloError SELLO_CONFIG_INVALID when the CA file cannot be read */
export function createFetcher(options: FetcherOptions): JsonFetcher {
  return new UndiciFetcher(options);
}

class UndiciFetcher implements JsonFetcher {
  readonly #agent: Agent;
  readonly #timeoutMs: number;

  constructor({ caFile, timeoutMs }: FetcherOptions) {
    let ca: Buffer | undefined;
    try {
      ca = caFile === undefined ? undefined : readFileSync(caFile);
    } catch (cause) {
      throw new SelloError('SELLO_CONFIG_INVALID', { detail: `CA file '${caFile}' cannot be read`, cause });
    }
    this.#timeoutMs = timeoutMs;
    this.#agent = new Agent({
      connections: 4,
      maxResponseSize: maxDocumentBytes,
      maxHeaderSize: 16_384,
      headersTimeout: timeoutMs,
      bodyTimeout: timeoutMs,
      connect: {
        timeout: timeoutMs,
        rejectUnauthorized: true,
        minVersion: 'TLSv1.2',
        ...(ca === undefined ? {} : { ca }),
      },
    });
  }

  async fetch({ url, form, authorization }: JsonRequest): Promise<FetchedJson> {
    const target = new URL(url);
    const what = `${target.origin}${target.pathname}`;
    try {
      const response = await this.#agent.request({
        origin: target.origin,
        path: `${target.pathname}${target.search}`,
        method: form === undefined ? 'GET' : 'POST',
        headers: {
          accept: 'application/json',
          'accept-encoding': 'identity',
          'user-agent': 'sello',
          ...(form === undefined ? {} : { 'content-type': 'application/x-www-form-urlencoded' }),
          ...(authorization === undefined ? {} : { authorization }),
        },
        ...(form === undefined ? {} : { body: new URLSearchParams(form).toString() }),
        signal: AbortSignal.timeout(this.#timeoutMs),
      });
      const chunks: Buffer[] = [];
      let length = 0;
      for await (const chunk of response.body) {
        length += (chunk as Buffer).length;
        if (length > maxDocumentBytes) throw new RangeError('answer too large');
        chunks.push(chunk as Buffer);
      }
      const { statusCode: status, headers } = response;
      if (status >= 300 && status < 400) throw new Error(`redirect (${status}) is not followed`);
      if (status >= 500) throw new Error(`status ${status}`);
      const type = String(headers['content-type'] ?? '');
      // RFC 7517 §8.5.1 for key sets.
      if (!/^application\/(?:json|jwk-set\+json)(?:\s*;|$)/i.test(type))
        throw new Error(`status ${status} with ${type === '' ? 'no content type' : type.slice(0, 60)}`);
      const text = new TextDecoder('utf-8', { fatal: true }).decode(Buffer.concat(chunks));
      const body = parseStrictJson(text);
      if (!isObject(body)) throw new Error('not a JSON object');
      return { status, body };
    } catch (error) {
      throw unavailable('provider not reachable', `${what}: ${describe(error)}`, error);
    }
  }

  async close(): Promise<void> {
    await this.#agent.destroy();
  }
}

function describe(error: unknown): string {
  if (!(error instanceof Error)) return 'unknown error';
  const code = (error as NodeJS.ErrnoException).code;
  return code === undefined || error.message.includes(code) ? error.message : `${code} ${error.message}`;
}
