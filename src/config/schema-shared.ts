/** The sections that both dialects have, with Sello's defaults. */
import { bytes, choice, count, duration, flag, section } from './fields.ts';

/**
 * Bounds against slow, greedy and hostile peers. Node's own defaults leave most of these open or at minutes;
 * idle time is KES's 90 s, header time KES's 5 s.
 */
export function limitsSection(maxConnectionAge: string) {
  return section('Bounds on connections and requests, per process.', {
    maxConnections: count(
      10_000,
      { minimum: 1, maximum: 1_000_000 },
      'Open connections; more are closed on arrival.',
    ),
    maxRequestsInFlight: count(
      4096,
      { minimum: 1, maximum: 1_000_000 },
      'Requests being served; more answer 503.',
    ),
    headersTimeout: duration('5s', 'Time for a request’s headers to arrive.'),
    requestTimeout: duration('30s', 'Time for a whole request to arrive.'),
    idleTimeout: duration('90s', 'An idle connection is closed after this time.'),
    handshakeTimeout: duration('5s', 'Time for the TLS handshake.'),
    maxHeaderBytes: bytes('16KiB', 'Size of a request’s headers.'),
    maxConnectionAge: duration(
      maxConnectionAge,
      'A connection is asked to end (no request is lost) at about this age, so that load spreads over replicas; `0`: never.',
    ),
    shutdownTimeout: duration('30s', 'Time for requests in flight to end after SIGTERM.'),
    http2: section('Bounds of one HTTP/2 connection.', {
      maxConcurrentStreams: count(250, { minimum: 1, maximum: 100_000 }, 'Requests at once.'),
      maxResetsPerSecond: count(
        200,
        { minimum: 1, maximum: 1_000_000 },
        'Streams a client may reset per second before its connection is closed (CVE-2023-44487).',
      ),
      maxSettings: count(32, { minimum: 1, maximum: 1024 }, 'Entries of one SETTINGS frame.'),
      maxOutstandingPings: count(
        10,
        { minimum: 1, maximum: 1024 },
        'PING frames while the answers to earlier ones are not taken.',
      ),
      maxSessionMemoryMb: count(10, { minimum: 1, maximum: 1024 }, 'Memory of one connection, in MB.'),
    }),
  });
}

export const propagation = duration(
  '10s',
  'Deletes, policy changes and revocations reach every process and replica within this time.',
);

export const processes = count(1, { minimum: 1, maximum: 256 }, 'Worker processes that share the port.');

export const auditMode = {
  default: 'written',
  description:
    '`written`: the kernel has each record before a secret leaves. `synced`: the disk has it. `off`: nothing is written.',
} as const;
export const auditModes = ['written', 'synced', 'off'] as const;
export const auditDeadline = duration(
  '2s',
  'A record that takes longer to write gives the caller 503 and no key.',
);

/** A CA, policy or quota of the first release is per tenant; a KES file has one tenant. */
export function quotaSection(maxRequestsInFlight: number) {
  return section('What this tenant may use, per process.', {
    requestsPerSecond: count(0, { minimum: 0, maximum: 10_000_000 }, 'Requests per second; `0`: no limit.'),
    burst: count(
      0,
      { minimum: 0, maximum: 10_000_000 },
      'Requests at once above the rate; `0`: as many as `requestsPerSecond`.',
    ),
    maxRequestsInFlight: count(
      maxRequestsInFlight,
      { minimum: 1, maximum: 1_000_000 },
      'Requests of this tenant being served; never more than `limits.maxRequestsInFlight`.',
    ),
  });
}

export const lifecycle = section('How keys and their versions end (docs/rotation.md).', {
  deletionWait: duration(
    '168h',
    'The least time between asking for the end of a key or a version and its end. Until then it can be called off.',
  ),
  quiet: duration('720h', 'A version that opened something within this time is not destroyed.'),
  dualControl: flag(
    false,
    'Destroying takes two people, on the operators’ listener: no certificate, and no KES client, deletes a key.',
  ),
});

export const cacheBounds = {
  maxEntries: count(
    10_000,
    { minimum: 1, maximum: 10_000_000 },
    'Keys held in memory; the least used go first.',
  ),
  negative: duration('1s', 'How long “no such key” is remembered; `0`: not at all.'),
};

export const errorTexts = choice(['current', '2021'], {
  default: 'current',
  description:
    '`2021`: the error texts that clients before 2022 compare with (MinIO before RELEASE.2022-03).',
});

export const listForm = choice(['json', 'ndjson'], {
  default: 'json',
  description:
    'How lists are answered. `json`: an object per page (KES since 2023-10). `ndjson`: a line per entry, all at once, found by globs (KES before, and all that clients of that age read).',
});

export const patternMatching = choice(['prefix', 'glob'], {
  default: 'prefix',
  description:
    'How KES path patterns match. `prefix`: a last `*` matches any ending, all else is literal (KES since 2023-10). `glob`: `*`, `?` and `[…]` anywhere, never across `/` (KES before).',
});

export const requireClientAuthEku = (value: boolean) =>
  flag(value, 'Client certificates must name the extended key usage “client authentication”.');
