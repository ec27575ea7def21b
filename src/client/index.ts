/**
 * Client for Sello and every KES server: `sello/client`.
 *
 * ```ts
 * import { createClient } from 'sello/client';
 *
 * const client = createClient({ endpoints: ['kes.example:7373'], apiKey: process.env.SELLO_API_KEY });
 * const dataKey = await client.generateKey('my-key', Buffer.from('{"bucket":"photos"}'));
 * // … encrypt with dataKey.plaintext, store dataKey.ciphertext …
 * dataKey.plaintext.fill(0);
 * client.close();
 * ```
 */
import { certificateOf, parseApiKey } from '../access/index.ts';
import { SelloClient } from './client.ts';
import { parseEndpoint } from './endpoint.ts';
import { Transport } from './transport.ts';

export { AdminClient } from './admin.ts';
export type {
  DestructionReceipt,
  KeyAction,
  ChangeInfo,
  HeldInfo,
  HoldInfo,
  KeyringInfo,
  WithdrawnInfo,
  KeySettings,
  KeyUseInfo,
  KeyVersionInfo,
  RewrapOutcome,
  RewrapRequest,
  VersionAction,
} from './admin.ts';
export { SelloClient } from './client.ts';
export { ClientError, ConnectionError } from './errors.ts';
export type * from './model.ts';

export interface ClientOptions {
  /** `host`, `host:port` or `https://host:port`, in any number; the port is 7373 when not named. */
  readonly endpoints: readonly string[];
  /** `kes:v1:…`. Either this or a certificate with its key. */
  readonly apiKey?: string | undefined;
  readonly certPem?: string | undefined;
  readonly keyPem?: string | Buffer | undefined;
  /** Of an encrypted `keyPem`. */
  readonly keyPassword?: string | undefined;
  /** CA certificates (PEM) that the server's certificate must descend from. Default: Node's own list. */
  readonly ca?: string | Buffer | readonly (string | Buffer)[] | undefined;
  /** Do not check the server's certificate. For trying things out. */
  readonly insecure?: boolean | undefined;
  /** For one try: connecting, sending and reading the answer. Default 15 s, as KES's routes. */
  readonly timeoutMs?: number | undefined;
  /** Bounds of the random pause before another try. Default 200 to 1,000 ms, as KES clients. */
  readonly retryDelayMs?: readonly [number, number] | undefined;
  /** Milliseconds of a clock, for the 30 s in which a failed endpoint is tried last. */
  readonly now?: (() => number) | undefined;
}

/**
 * Makes a client. Nothing is connected yet.
 * @throws TypeError when the options are not usable, SelloError SELLO_API_KEY_INVALID
 */
export function createClient(options: ClientOptions): SelloClient {
  if (options.endpoints.length === 0) throw new TypeError('createClient: at least one endpoint is needed');
  const endpoints = options.endpoints.map(parseEndpoint);
  return new SelloClient(
    new Transport({
      endpoints,
      ...credentialsOf(options),
      ca: options.ca,
      insecure: options.insecure ?? false,
      timeoutMs: options.timeoutMs ?? 15_000,
      retryDelayMs: options.retryDelayMs ?? [200, 1000],
      now: options.now ?? Date.now,
    }),
  );
}

function credentialsOf(options: ClientOptions) {
  const { apiKey, certPem, keyPem, keyPassword } = options;
  if (apiKey !== undefined) {
    if (certPem !== undefined || keyPem !== undefined) {
      throw new TypeError('createClient: either apiKey or certPem with keyPem, not both');
    }
    const { certificatePem, privateKeyPem } = certificateOf(parseApiKey(apiKey));
    return { certPem: certificatePem, keyPem: privateKeyPem };
  }
  if (certPem === undefined || keyPem === undefined) {
    throw new TypeError('createClient: apiKey, or certPem with keyPem, is needed');
  }
  return { certPem, keyPem, keyPassword };
}
