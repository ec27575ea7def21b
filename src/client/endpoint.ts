/** Where a server listens, and which of several to ask. */

export interface Endpoint {
  readonly host: string;
  readonly port: number;
  /** `https://host:port`. */
  readonly origin: string;
  /** `host:port`, for people. */
  readonly name: string;
}

/** KES: the port when an endpoint names none. */
export const defaultPort = 7373;

/**
 * Reads `host`, `host:port`, `[v6]:port` or `https://…` of these.
 * @throws TypeError for anything else; plain `http:` included, since keys never travel in clear.
 */
export function parseEndpoint(text: string): Endpoint {
  const trimmed = text.trim();
  const withScheme = /^[a-z][a-z0-9+.-]*:\/\//i.test(trimmed) ? trimmed : `https://${trimmed}`;
  let url: URL;
  try {
    url = new URL(withScheme);
  } catch {
    throw new TypeError(`endpoint '${text}' is not of the form host:port`);
  }
  if (url.protocol !== 'https:') throw new TypeError(`endpoint '${text}' must use https`);
  const extra = url.username !== '' || url.password !== '' || url.search !== '' || url.hash !== '';
  if (extra || (url.pathname !== '/' && url.pathname !== '') || url.hostname === '') {
    throw new TypeError(`endpoint '${text}' is not of the form host:port`);
  }
  // URL drops https's own port, so that ":443" written out is told from none by the text.
  const port = url.port !== '' ? Number(url.port) : /:443\/?$/.test(trimmed) ? 443 : defaultPort;
  const authority = `${url.hostname}:${String(port)}`;
  return {
    host: url.hostname.replace(/^\[|\]$/g, ''),
    port,
    origin: `https://${authority}`,
    name: authority,
  };
}

/** How long an endpoint that failed is left alone while others can be asked (KES clients: 30 s). */
export const penaltyMs = 30_000;

/**
 * Order in which endpoints are tried: those on this machine first, then the others at random, those that failed in
 * the last {@link penaltyMs} at the end.
 */
export class EndpointChoice<T extends { readonly endpoint: Endpoint }> {
  readonly #entries: { readonly target: T; parkedUntilMs: number }[];
  readonly #now: () => number;

  constructor(targets: readonly T[], now: () => number) {
    this.#entries = targets.map((target) => ({ target, parkedUntilMs: 0 }));
    this.#now = now;
  }

  order(): T[] {
    const nowMs = this.#now();
    return this.#entries
      .map(({ target, parkedUntilMs }) => ({
        target,
        rank: [parkedUntilMs > nowMs ? parkedUntilMs : 0, isLocal(target.endpoint) ? 0 : 1, Math.random()],
      }))
      .sort((a, b) => a.rank[0]! - b.rank[0]! || a.rank[1]! - b.rank[1]! || a.rank[2]! - b.rank[2]!)
      .map(({ target }) => target);
  }

  /** The endpoint failed: others first for a while. */
  park(target: T): void {
    const entry = this.#entries.find((candidate) => candidate.target === target);
    if (entry !== undefined) entry.parkedUntilMs = this.#now() + penaltyMs;
  }

  /** The endpoint works again. */
  release(target: T): void {
    const entry = this.#entries.find((candidate) => candidate.target === target);
    if (entry !== undefined) entry.parkedUntilMs = 0;
  }
}

function isLocal(endpoint: Endpoint): boolean {
  return endpoint.host === 'localhost' || endpoint.host === '::1' || endpoint.host.startsWith('127.');
}
