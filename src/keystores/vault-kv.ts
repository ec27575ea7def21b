/**
 * Keys in Vault's KV engine, where and as KES keeps them: a KES server and Sello can work on one Vault at the same time, and either
 * can take over from the other. Values can be encrypted by a Transit key before they are stored.
 *
 * What is worse than an error here is a wrong "no such key": MinIO answers it by making a second key of that name. So only Vault's own
 * empty answer means absent; a missing mount, a deleted version or a version that `max_versions` pushed out are errors.
 */
import { wipe } from '../crypto/index.ts';
import { SelloError } from '../errors.ts';
import type { Environment } from '../config/environment.ts';
import type { VaultKvConfig } from '../config/model.ts';
import { isName, type KeyName } from '../keys/names.ts';
import {
  isVaultProblem,
  pathOf,
  secretStringAt,
  VaultConnection,
  VaultError,
  type VaultLog,
} from '../vault/index.ts';
import type { Keystore, ListOptions, NamePage, RecordStore } from './contract.ts';
import { checkListOptions, checkValue } from './limits.ts';
import { pageOf } from './name-index.ts';
import { VaultSigner } from './vault-signer.ts';
import { VaultCustody } from './vault-custody.ts';
import { isCasConflict, layoutOf, type KvLayout } from './vault-layout.ts';
import { VaultRecordStore } from './vault-records.ts';
import { ValueForm } from './vault-value.ts';

/**
 * As base64 it stays under 1 MiB: Vault's limit for a string in a request, and for an entry in its raft storage. Keys are some hundred
 * bytes.
 */
export const maxVaultValueBytes = 512 * 1024;

/** A listing that goes on uses the names its first page was taken from, this long. */
const listingLifeMs = 30_000;

export interface VaultKvOptions {
  readonly env?: Environment | undefined;
  readonly log?: VaultLog | undefined;
}

export class VaultKvKeystore implements Keystore {
  readonly kind: string;
  readonly isRemote = true;
  readonly location: string;
  readonly records: RecordStore | undefined;
  readonly custody: Keystore['custody'];
  readonly signer: Keystore['signer'];
  /** The connection, for what else speaks to this Vault on behalf of the tenant. */
  readonly vault: VaultConnection;
  readonly #config: VaultKvConfig;
  readonly #layout: KvLayout;
  readonly #form: ValueForm;
  /** One create of a name at a time in this process: version 1 has to look first. */
  readonly #creating = new Map<string, Promise<void>>();
  #listing: { readonly names: readonly KeyName[]; readonly readAtMs: number } | undefined;

  private constructor(
    config: VaultKvConfig,
    vault: VaultConnection,
    layout: KvLayout,
    log: VaultLog | undefined,
  ) {
    this.kind = config.custody === undefined ? 'vault-kv' : 'vault-transit';
    this.custody =
      config.custody === undefined
        ? undefined
        : { keys: new VaultCustody(vault, config.custody), mode: config.custody };
    this.signer = config.auditSigning === undefined ? undefined : new VaultSigner(vault, config.auditSigning);
    this.#config = config;
    this.vault = vault;
    this.#layout = layout;
    this.#form = new ValueForm(vault, config.transit);
    const { engine, prefix, recordsPrefix } = config;
    this.location = `vault ${vault.location}, ${engine}${prefix === '' ? '' : `/${prefix}`} (KV version ${String(config.version)})`;
    this.records =
      recordsPrefix !== undefined && layout.hasVersions
        ? new VaultRecordStore(vault, {
            engine,
            prefix: recordsPrefix,
            form: this.#form,
            wrapped: config.transit !== undefined,
            onForbidden:
              config.recordsAreOptional === true
                ? () =>
                    log?.warn(
                      { engine, folder: recordsPrefix },
                      `Vault's policy does not allow the folder '${recordsPrefix}': keys are served as KES serves them, without versions and states ('sello vault setup' prints what is missing)`,
                    )
                : undefined,
          })
        : undefined;
  }

  /** @throws SelloError SELLO_CONFIG_INVALID when the login is refused or the mount is of the other version */
  static async open(config: VaultKvConfig, { env, log }: VaultKvOptions = {}): Promise<VaultKvKeystore> {
    const vault = await VaultConnection.open(config.vault, { log, ...(env === undefined ? {} : { env }) });
    const mounted = await mountVersion(vault, config.engine);
    if (mounted === 2 && config.version === 1) {
      await vault.close();
      throw new SelloError('SELLO_CONFIG_INVALID', {
        detail: `the KV engine '${config.engine}' is of version 2, and the configuration says 1`,
      });
    }
    if (mounted === 1 && config.version === 2) {
      log?.warn(
        { engine: config.engine },
        `the KV engine '${config.engine}' is of version 1, and the configuration says 2: keys are read and written under a literal 'data/', as KES does`,
      );
    }
    return new VaultKvKeystore(config, vault, layoutOf(config, mounted), log);
  }

  async create(name: KeyName, value: Buffer): Promise<void> {
    checkValue(value, maxVaultValueBytes);
    const before = this.#creating.get(name);
    const mine = (before ?? Promise.resolve()).catch(() => undefined).then(() => this.#create(name, value));
    this.#creating.set(name, mine);
    try {
      await mine;
    } finally {
      if (this.#creating.get(name) === mine) this.#creating.delete(name);
      this.#listing = undefined;
    }
  }

  async #create(name: KeyName, value: Buffer): Promise<void> {
    if (await this.#exists(name)) throw new SelloError('SELLO_KEY_EXISTS');
    const stored = await this.#form.toStored(value);
    const body = this.#layout.body(name, stored);
    try {
      await this.vault.write({ path: this.#layout.path(name), body });
    } catch (error) {
      if (!(error instanceof VaultError)) throw error;
      if (isCasConflict(error)) throw new SelloError('SELLO_KEY_EXISTS', { cause: error });
      // Version 1 with a policy of `create` without `update`: Vault refuses who comes second.
      if (error.problem === 'forbidden' && (await this.#exists(name).catch(() => false))) {
        throw new SelloError('SELLO_KEY_EXISTS', { cause: error });
      }
      if (!error.mayBeDone || !(await this.#holds(name, stored))) throw error;
    } finally {
      wipe(stored, body);
    }
  }

  async read(name: KeyName): Promise<Buffer> {
    return this.#form.fromStored(await this.#readStored(name));
  }

  async delete(name: KeyName): Promise<void> {
    // Vault answers 204 whether there was a key or not.
    if (!(await this.#exists(name))) throw new SelloError('SELLO_KEY_NOT_FOUND');
    try {
      await this.vault.delete({ path: this.#layout.deletePath(name) });
    } finally {
      this.#listing = undefined;
    }
  }

  async list(options: ListOptions): Promise<NamePage> {
    checkListOptions(options);
    const { prefix, after = '', limit } = options;
    const kept = this.#listing;
    const isUsable = after !== '' && kept !== undefined && performance.now() - kept.readAtMs < listingLifeMs;
    const names = isUsable ? kept.names : await this.#readNames();
    const page = pageOf(names, prefix, after, limit);
    this.#listing = page.more ? { names, readAtMs: isUsable ? kept.readAtMs : performance.now() } : undefined;
    return page;
  }

  tokenLife(): { expiresAtMs: number; ttlMs: number } | undefined {
    return this.vault.tokenLife;
  }

  health(): Promise<void> {
    return this.vault.health();
  }

  /** What a person who checks the store should know beside keys that cannot be read. Looks no further than policies allow. */
  async notices(): Promise<string[]> {
    if (!this.#layout.hasVersions) {
      return this.#config.version === 2
        ? [`the KV engine '${this.#config.engine}' is of version 1, and the configuration says 2`]
        : [];
    }
    const { engine, prefix } = this.#config;
    const notices: string[] = [];
    for (const name of await this.#readNames()) {
      let metadata: { current_version?: number; oldest_version?: number; max_versions?: number } | undefined;
      try {
        const answer = await this.vault.read({ path: pathOf(engine, 'metadata', prefix, name) });
        metadata = answer.json('read metadata').data as typeof metadata;
      } catch (error) {
        if (isVaultProblem(error, 'forbidden')) return notices; // KES's own policy does not allow it
        if (isVaultProblem(error, 'absent')) continue;
        throw error;
      }
      const { current_version: newest = 1, max_versions: most = 0 } = metadata ?? {};
      if (newest > 1) {
        const kept = most === 0 ? 'as many as the engine keeps (10 by default)' : String(most);
        notices.push(
          `key '${name}' has ${String(newest)} versions; version 1 is the key, and is lost once more than ${kept} are written`,
        );
      }
    }
    return notices;
  }

  async close(): Promise<void> {
    await this.vault.close();
  }

  async #readStored(name: KeyName, isSecondLook = false): Promise<Buffer> {
    const { path, field, hasVersions } = this.#layout;
    let stored: Buffer | undefined;
    try {
      const answer = await this.vault.read({
        path: path(name),
        ...(hasVersions ? { query: 'version=1' } : {}),
      });
      stored = secretStringAt(answer.bytes, field(name));
      answer.wipe();
    } catch (error) {
      if (isVaultProblem(error, 'deleted'))
        throw unreadable('version 1 is deleted or destroyed in Vault', error);
      if (!isVaultProblem(error, 'absent')) throw error;
      if (hasVersions && (await this.#exists(name))) {
        // It may have been made between the two questions.
        if (!isSecondLook) return this.#readStored(name, true);
        throw unreadable('version 1 is gone: more versions were written than max_versions keeps', error);
      }
      throw new SelloError('SELLO_KEY_NOT_FOUND');
    }
    if (stored === undefined || stored.length === 0) {
      throw unreadable('the entry has no field of the name of the key, or it is no text');
    }
    return stored;
  }

  /** In any state: a deleted version is a key that was there and can be undeleted. */
  async #exists(name: KeyName): Promise<boolean> {
    try {
      (await this.vault.read({ path: this.#layout.path(name) })).wipe();
      return true;
    } catch (error) {
      if (isVaultProblem(error, 'absent')) return false;
      if (isVaultProblem(error, 'deleted')) return true;
      throw error;
    }
  }

  /** Whether a write without an answer was done. */
  async #holds(name: KeyName, stored: Buffer): Promise<boolean> {
    const found = await this.#readStored(name).catch(() => undefined);
    const isOurs = found?.equals(stored) === true;
    wipe(found);
    return isOurs;
  }

  async #readNames(): Promise<KeyName[]> {
    let answer;
    try {
      answer = await this.vault.list({ path: this.#layout.listPath });
    } catch (error) {
      // An empty folder; a missing mount is another problem.
      if (isVaultProblem(error, 'absent')) return [];
      throw error;
    }
    const { data } = answer.json('list keys') as { data?: { keys?: unknown } };
    const keys = Array.isArray(data?.keys) ? (data.keys as unknown[]) : [];
    // Folders end with a slash, and what else lies there is not ours.
    return keys.filter((key): key is KeyName => typeof key === 'string' && isName(key)).sort();
  }
}

/** The version of a mount, where the token may ask and Vault answers. */
async function mountVersion(vault: VaultConnection, engine: string): Promise<1 | 2 | undefined> {
  try {
    const answer = await vault.read({ path: pathOf('sys/internal/ui/mounts', engine) });
    const { data } = answer.json('look at the mount') as {
      data?: { type?: unknown; options?: { version?: unknown } | null };
    };
    if (data?.type !== 'kv' && data?.type !== 'generic') return undefined;
    return data.options?.version === '2' ? 2 : 1;
  } catch (error) {
    if (error instanceof VaultError) return undefined;
    throw error;
  }
}

function unreadable(detail: string, cause?: unknown): SelloError {
  return new SelloError('SELLO_STORED_KEY_UNREADABLE', { detail, cause });
}
