/**
 * As much of a browser as a login needs: cookies with Path, Secure, SameSite and the `__Host-` rule, redirects, and the difference between
 * a page of one's own that goes on and a site that sends one here. Each origin counts as a site.
 */
import { request as httpRequest, type IncomingHttpHeaders } from 'node:http';
import { request as httpsRequest } from 'node:https';

export interface Answer {
  readonly url: string;
  readonly status: number;
  readonly headers: IncomingHttpHeaders;
  readonly body: string;
}

interface Cookie {
  readonly value: string;
  readonly sameSite: string;
}

export interface Call {
  readonly method?: string;
  readonly headers?: Readonly<Record<string, string>>;
  readonly body?: string;
  /** Origin of the page that makes the call; none: the person typed the address. */
  readonly from?: string;
  /** False: a redirect is the answer. */
  readonly follow?: boolean;
}

export class Browser {
  readonly #jars = new Map<string, Map<string, Cookie>>();

  cookies(origin: string): Map<string, Cookie> {
    let jar = this.#jars.get(origin);
    if (jar === undefined) this.#jars.set(origin, (jar = new Map()));
    return jar;
  }

  async open(address: string, call: Call = {}): Promise<Answer> {
    let url = new URL(address);
    // A chain that another site began stays its doing, to the end.
    let isForeign = call.from !== undefined && call.from !== url.origin;
    let next = call;
    for (let hops = 0; hops < 12; hops++) {
      const answer = await this.#send(url, next, isForeign);
      const { location } = answer.headers;
      if (answer.status < 300 || answer.status > 399 || location === undefined || call.follow === false)
        return answer;
      const target = new URL(location, url);
      if (target.origin !== url.origin) isForeign = true;
      url = target;
      const { headers } = next;
      next = headers === undefined ? {} : { headers };
    }
    throw new Error('too many redirects');
  }

  /** The page goes on by itself, as `<meta http-equiv="refresh">` says: from its own origin. */
  refresh(page: Answer): Promise<Answer> {
    const target = /http-equiv="refresh" content="0; url=([^"]*)"/.exec(page.body)?.[1];
    if (target === undefined) throw new Error(`no refresh in: ${page.body}`);
    const { origin } = new URL(page.url);
    const path = target.replace(/&#(\d+);/g, (_all, code: string) => String.fromCharCode(Number(code)));
    return this.open(new URL(path, page.url).href, { from: origin });
  }

  #send(url: URL, { method = 'GET', headers = {}, body }: Call, isForeign: boolean): Promise<Answer> {
    const jar = this.cookies(url.origin);
    const sent = [...jar]
      .filter(([, { sameSite }]) => !isForeign || (sameSite === 'lax' && method === 'GET') || sameSite === '')
      .map(([name, { value }]) => `${name}=${value}`);
    return new Promise((resolve, reject) => {
      const send = url.protocol === 'https:' ? httpsRequest : httpRequest;
      const request = send(
        url,
        {
          method,
          headers: { ...(sent.length > 0 ? { cookie: sent.join('; ') } : {}), ...headers },
          ...(url.protocol === 'https:' ? { rejectUnauthorized: false } : {}),
          agent: false,
        },
        (response) => {
          const chunks: Buffer[] = [];
          response.on('data', (chunk: Buffer) => chunks.push(chunk));
          response.on('end', () => {
            for (const line of response.headers['set-cookie'] ?? []) keep(jar, line, url);
            resolve({
              url: url.href,
              status: response.statusCode!,
              headers: response.headers,
              body: Buffer.concat(chunks).toString('utf8'),
            });
          });
        },
      );
      request.on('error', reject);
      request.end(body);
    });
  }
}

function keep(jar: Map<string, Cookie>, line: string, url: URL): void {
  const [pair = '', ...attributes] = line.split(';').map((part) => part.trim());
  const at = pair.indexOf('=');
  const [name, value] = [pair.slice(0, at), pair.slice(at + 1)];
  const attribute = (wanted: string): string | undefined =>
    attributes
      .find((one) => one.toLowerCase().split('=')[0] === wanted)
      ?.split('=')[1]
      ?.toLowerCase();
  const has = (wanted: string): boolean => attributes.some((one) => one.toLowerCase() === wanted);
  // RFC 6265bis §4.1.3.2
  if (
    name.startsWith('__Host-') &&
    !(has('secure') && attribute('path') === '/' && attribute('domain') === undefined)
  )
    throw new Error(`a browser refuses: ${line}`);
  if (has('secure') && url.protocol !== 'https:') throw new Error(`a browser refuses: ${line}`);
  if (attribute('max-age') === '0' || /expires=thu, 01 jan 1970/i.test(line)) jar.delete(name);
  else jar.set(name, { value, sameSite: attribute('samesite') ?? '' });
}
