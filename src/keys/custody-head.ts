/**
 * What stands at a key's own place when its bytes are with a custodian: which key it is there, and its HMAC key, wrapped. JSON; KES
 * takes it for damaged, never for a key.
 */
import { inspect } from 'node:util';
import { hmacSha256, wipe } from '../crypto/index.ts';
import { SelloError } from '../errors.ts';
import type { KeyCustody } from '../keystores/contract.ts';
import type { KeyAlgorithm } from './algorithm.ts';
import { custodyContext } from './custody-keys.ts';
import { formatInstant, parseInstant, type Instant } from './instant.ts';

const lead = Buffer.from('{"sello":"custody"');
const format = 1;
const idPattern = /^[0-9a-f]{32}$/;

export interface CustodyHeadFacts {
  /** Hexadecimal. */
  readonly id: string;
  readonly createdAt: Instant;
  readonly createdBy: string;
  /** The HMAC key, wrapped by the key's first version. */
  readonly wrappedMac: Buffer;
}

export function isCustodyHead(value: Buffer): boolean {
  return value.length > lead.length && value.compare(lead, 0, lead.length, 0, lead.length) === 0;
}

export function formatCustodyHead({ createdAt, createdBy, id, wrappedMac }: CustodyHeadFacts): Buffer {
  return Buffer.from(
    JSON.stringify({
      sello: 'custody',
      format,
      id,
      createdAt: formatInstant(createdAt),
      createdBy,
      mac: wrappedMac.toString('latin1'),
    }),
  );
}

/** @throws SelloError SELLO_STORED_KEY_UNREADABLE */
export function parseCustodyHead(value: Buffer): CustodyHeadFacts {
  let parsed: Record<string, unknown>;
  try {
    parsed = JSON.parse(value.toString()) as Record<string, unknown>;
  } catch {
    throw unreadable('not JSON');
  }
  const { createdAt, createdBy, id, mac } = parsed;
  if (parsed['format'] !== format)
    throw unreadable(`format ${String(parsed['format'])} is not known to this release`);
  const instant = typeof createdAt === 'string' ? parseInstant(createdAt) : undefined;
  if (typeof id !== 'string' || !idPattern.test(id)) throw unreadable('id');
  if (instant === undefined || typeof createdBy !== 'string') throw unreadable('date or maker');
  if (typeof mac !== 'string') throw unreadable('mac');
  return { id, createdAt: instant, createdBy, wrappedMac: Buffer.from(mac, 'latin1') };
}

/** A key in custody, in the place of one whose bytes are here. */
export class CustodyHead {
  readonly algorithm: KeyAlgorithm = 'AES256';
  readonly createdAt: Instant;
  readonly createdBy: string;
  readonly id: string;
  readonly #wrappedMac: Buffer;
  readonly #custody: KeyCustody;
  readonly #tenant: string;
  /** With `cached`, the HMAC key stays in memory as long as this. */
  readonly #keepsMac: boolean;
  #mac: Buffer | undefined;
  #isWiped = false;

  constructor(facts: CustodyHeadFacts, options: { custody: KeyCustody; tenant: string; keepsMac: boolean }) {
    this.id = facts.id;
    this.createdAt = facts.createdAt;
    this.createdBy = facts.createdBy;
    this.#wrappedMac = facts.wrappedMac;
    this.#custody = options.custody;
    this.#tenant = options.tenant;
    this.#keepsMac = options.keepsMac;
  }

  get isWiped(): boolean {
    return this.#isWiped;
  }

  equals(other: CustodyHead): boolean {
    return this.id === other.id && this.#wrappedMac.equals(other.#wrappedMac);
  }

  /** HMAC-SHA256 under the key's HMAC key, which no rotation changes. */
  mac(message: Uint8Array): Buffer | Promise<Buffer> {
    return this.#mac === undefined ? this.#unwrapAndMac(message) : hmacSha256(this.#mac, message);
  }

  async #unwrapAndMac(message: Uint8Array): Promise<Buffer> {
    const context = custodyContext('hmac', this.#tenant, this.id);
    const [key] = await this.#custody.unwrap(this.id, [{ wrapped: this.#wrappedMac, context }]);
    if (key instanceof SelloError) throw key;
    if (key === undefined) throw unreadable('its HMAC key is not of this key, or of another tenant');
    const mac = hmacSha256(key, message);
    if (this.#keepsMac && !this.#isWiped && this.#mac === undefined) this.#mac = key;
    else wipe(key);
    return mac;
  }

  wipe(): void {
    this.#isWiped = true;
    wipe(this.#mac);
    this.#mac = undefined;
  }

  toString(): string {
    return '[CustodyHead]';
  }

  toJSON(): string {
    return '[CustodyHead]';
  }

  [inspect.custom](): string {
    return '[CustodyHead]';
  }
}

function unreadable(detail: string): SelloError {
  return new SelloError('SELLO_STORED_KEY_UNREADABLE', { detail: `key in custody: ${detail}` });
}
