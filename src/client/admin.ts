/** The operators' API as calls (docs/admin-api.md). */
import { ClientError } from './errors.ts';
import type { Transport } from './transport.ts';

export interface KeyVersionInfo {
  readonly version: number;
  readonly state: 'enabled' | 'disabled' | 'compromised' | 'destroyed';
  readonly algorithm: string;
  readonly custody: string;
  /** RFC 3339; null where it is not known. */
  readonly createdAt: string | null;
  readonly changedAt: string | null;
  readonly destroyAfter: string | null;
}

export interface KeyringInfo {
  readonly key: string;
  /** Null: the key was never rotated or changed. */
  readonly id: string | null;
  readonly state: string;
  readonly generation: number;
  readonly sealingVersion: number | null;
  readonly minDecryptionVersion: number;
  readonly rewrapOnly: boolean;
  readonly crossFace: boolean;
  readonly rotateEverySeconds: number;
  readonly nextRotation: string | null;
  readonly changedAt: string | null;
  readonly changedBy: string;
  readonly deletion: { readonly requestedAt: string; readonly after: string; readonly by: string } | null;
  readonly versions: readonly KeyVersionInfo[];
}

export interface HoldInfo {
  readonly id: string;
  readonly change: 'disable' | 'schedule-deletion' | 'disabled-version' | 'compromised-version';
  readonly version: number | null;
  readonly at: string;
  readonly by: string;
}

/** The keystore could not be reached: the change is in force on the replicas, and in the store when it is back. */
export interface HeldInfo {
  readonly key: string;
  readonly held: HoldInfo & {
    /** Takes the hold back at any replica. */
    readonly token: string;
    /** `memory`: a replica that restarts meanwhile has forgotten it. */
    readonly keptOn: 'disk' | 'memory';
    /** False: the replica does not have the key in memory, and cannot tell whether it exists. */
    readonly isKeyKnown: boolean;
  };
  /** Other replicas, and those that heard it at once. */
  readonly peers: { readonly known: number; readonly told: number };
}

/** Holds that the store had not seen were taken back. */
export interface WithdrawnInfo {
  readonly key: string;
  readonly withdrawn: readonly HoldInfo[];
  readonly peers: { readonly known: number; readonly told: number };
}

/** The key after a change; or what is in force of it while the keystore is away. */
export type ChangeInfo = KeyringInfo | HeldInfo | WithdrawnInfo;

export interface KeyUseInfo {
  readonly key: string;
  readonly versions: readonly {
    readonly version: number;
    readonly lastSealed: string | null;
    readonly lastOpened: string | null;
    readonly opened: number;
  }[];
}

export interface KeySettings {
  readonly minDecryptionVersion?: number;
  readonly rewrapOnly?: boolean;
  readonly crossFace?: boolean;
  readonly rotateEverySeconds?: number;
}

export interface RewrapRequest {
  /** Base64. */
  readonly ciphertext: string;
  /** Base64; empty when not given. */
  readonly context?: string | undefined;
  readonly face?: string | undefined;
}

export type RewrapOutcome =
  | { readonly ciphertext: string; readonly from: number; readonly version: number }
  | { readonly error: string; readonly message: string };

/** What ended, for those who have to prove it. */
export interface DestructionReceipt {
  readonly tenant: string;
  readonly key: string;
  readonly id: string | null;
  readonly destroyedAt: string;
  readonly destroyedBy: string;
  readonly versions: readonly { readonly version: number; readonly fingerprint: string | null }[];
}

export type KeyAction = 'rotate' | 'enable' | 'disable' | 'cancel-deletion';
export type VersionAction = 'enable' | 'disable' | 'compromise' | 'cancel-destruction';

/** Every method rejects with {@link ClientError} when the server refuses; its message says why. */
export class AdminClient {
  readonly #transport: Transport;

  constructor(transport: Transport) {
    this.#transport = transport;
  }

  /** A key with its versions and their states. */
  async keyring(key: string): Promise<KeyringInfo> {
    return (await this.#call('GET', `keys/${segment(key)}`)) as KeyringInfo;
  }

  /** When each version was used last. */
  async use(key: string): Promise<KeyUseInfo> {
    return (await this.#call('GET', `keys/${segment(key)}/use`)) as KeyUseInfo;
  }

  /** What is held of a key on the replica that answers. */
  async holds(key: string): Promise<readonly (HoldInfo & { readonly isOurs: boolean })[]> {
    const { holds } = (await this.#call('GET', `keys/${segment(key)}/holds`)) as {
      holds: (HoldInfo & { isOurs: boolean })[];
    };
    return holds;
  }

  /** @param token of a hold that another replica was asked for, to take it back */
  async act(key: string, action: 'rotate'): Promise<KeyringInfo>;
  async act(key: string, action: KeyAction, token?: string): Promise<ChangeInfo>;
  async act(key: string, action: KeyAction, token?: string): Promise<ChangeInfo> {
    return (await this.#call('POST', `keys/${segment(key)}/${action}`, { token })) as ChangeInfo;
  }

  /** @param token as for {@link act} */
  async actOnVersion(
    key: string,
    version: number,
    action: VersionAction,
    token?: string,
  ): Promise<ChangeInfo> {
    return (await this.#call('POST', `keys/${segment(key)}/versions/${String(version)}/${action}`, {
      token,
    })) as ChangeInfo;
  }

  async configure(key: string, settings: KeySettings): Promise<KeyringInfo> {
    return (await this.#call('POST', `keys/${segment(key)}/settings`, settings)) as KeyringInfo;
  }

  /** Of the key, or of one version of it. */
  async scheduleEnd(key: string, version: number | undefined, waitSeconds?: number): Promise<ChangeInfo> {
    const path =
      version === undefined ? 'schedule-deletion' : `versions/${String(version)}/schedule-destruction`;
    return (await this.#call('POST', `keys/${segment(key)}/${path}`, { waitSeconds })) as ChangeInfo;
  }

  /** Ends what is due: the key, or one version of it. */
  async destroy(key: string, version?: number): Promise<DestructionReceipt> {
    const path = version === undefined ? 'destroy' : `versions/${String(version)}/destroy`;
    const { receipt } = (await this.#call('POST', `keys/${segment(key)}/${path}`, {})) as {
      receipt: DestructionReceipt;
    };
    return receipt;
  }

  /** At most 1,000 at once; outcomes in the same order. */
  async rewrap(key: string, items: readonly RewrapRequest[]): Promise<readonly RewrapOutcome[]> {
    const answer = (await this.#call('POST', `keys/${segment(key)}/rewrap`, { items }, true)) as {
      items: RewrapOutcome[];
    };
    if (answer.items.length !== items.length)
      throw new ClientError(502, 'answer of the server cannot be read');
    return answer.items;
  }

  async acceptRestore(): Promise<void> {
    await this.#call('POST', 'restore/accept', {});
  }

  async #call(method: 'GET' | 'POST', path: string, body?: unknown, isRepeatable = false): Promise<unknown> {
    const answer = await this.#transport.call({
      method,
      path: `/admin/v1/${path}`,
      ...(body === undefined ? {} : { body: Buffer.from(JSON.stringify(body)), once: !isRepeatable }),
    });
    try {
      return JSON.parse(answer.body.toString());
    } catch {
      throw new ClientError(502, 'answer of the server cannot be read');
    }
  }
}

function segment(key: string): string {
  if (!/^[0-9A-Za-z_-]{1,80}$/.test(key))
    throw new ClientError(400, `key name '${key}' is empty, too long or contains invalid characters`);
  return key;
}
