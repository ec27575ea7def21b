/**
 * An Ed25519 key in Vault's Transit engine that signs the checkpoints of a tenant's audit trail: its private half never leaves Vault, so
 * that a node alone cannot sign a past that was not.
 */
import { SelloError } from '../errors.ts';
import { isVaultProblem, pathOf, type VaultConnection } from '../vault/index.ts';
import type { RemoteSigner, SignerKey } from './contract.ts';

const keyType = 'ed25519';
const publicKeyBytes = 32;
const signatureBytes = 64;

export class VaultSigner implements RemoteSigner {
  readonly #vault: VaultConnection;
  readonly #engine: string;
  readonly #key: string;

  constructor(vault: VaultConnection, { engine, key }: { readonly engine: string; readonly key: string }) {
    this.#vault = vault;
    this.#engine = engine;
    this.#key = key;
  }

  get location(): string {
    return `${this.#engine}/keys/${this.#key}`;
  }

  async publicKey(): Promise<SignerKey> {
    let data: Record<string, unknown>;
    try {
      const answer = await this.#vault.read({ path: pathOf(this.#engine, 'keys', this.#key) });
      data = (answer.json('read a Transit key').data ?? {}) as Record<string, unknown>;
    } catch (error) {
      if (isVaultProblem(error, 'absent')) throw this.#unusable('there is no such key', error);
      throw error;
    }
    // A derived one would be another key for each context.
    if (data['type'] !== keyType || data['derived'] !== false)
      throw this.#unusable(`it is ${String(data['type'])}, and has to be ${keyType}, not derived`);
    if (data['exportable'] !== false || data['allow_plaintext_backup'] !== false)
      throw this.#unusable('it can be exported');
    const version = data['latest_version'];
    const keys = data['keys'] as Readonly<Record<string, { public_key?: unknown } | undefined>> | undefined;
    const text = keys?.[String(version)]?.public_key;
    const raw = typeof text === 'string' ? Buffer.from(text, 'base64') : undefined;
    if (typeof version !== 'number' || raw?.length !== publicKeyBytes)
      throw this.#unusable('its public half cannot be read');
    return { version, raw };
  }

  async sign(version: number, message: Buffer): Promise<Buffer> {
    // Ed25519 signs the same bytes the same way: what was signed already may be signed again.
    const answer = await this.#vault.write({
      path: pathOf(this.#engine, 'sign', this.#key),
      body: { input: message.toString('base64'), key_version: version },
      isRepeatable: true,
    });
    const { signature } = (answer.json('sign').data ?? {}) as { signature?: unknown };
    const found = typeof signature === 'string' ? /^vault:v\d{1,9}:([0-9A-Za-z+/=]+)$/.exec(signature) : null;
    const bytes = Buffer.from(found?.[1] ?? '', 'base64');
    if (bytes.length !== signatureBytes) throw this.#unusable('its signature cannot be read');
    return bytes;
  }

  #unusable(why: string, cause?: unknown): SelloError {
    return new SelloError('SELLO_AUDIT_UNAVAILABLE', {
      detail: `the Transit key '${this.location}' cannot sign checkpoints: ${why}`,
      cause,
    });
  }
}
