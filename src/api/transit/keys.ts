/** The Transit engine's keys: made, shown, listed, configured, rotated and ended as Vault's are, in the tenant's own keyring. */
import { hasCode, SelloError, type ErrorCode } from '../../errors.ts';
import {
  defaultTransitSettings,
  leastRotationSeconds,
  type KeyAlgorithm,
  type KeyChange,
  type KeyringRecord,
} from '../../keys/index.ts';
import { fault, noContent, notFound, type VaultAnswer, type VaultFault } from './answers.ts';
import { decoded } from './body.ts';
import type { EngineHandler } from './engine.ts';
import type { Values } from './fields.ts';
import { keyNamed } from './key-name.ts';
import { reservedKey } from './kv-seal.ts';

const algorithms = { 'aes256-gcm96': 'AES256', 'chacha20-poly1305': 'ChaCha20' } as const;

/** What Vault has besides. */
const otherTypes = new Set([
  'aes128-gcm96', 'ecdsa-p256', 'ecdsa-p384', 'ecdsa-p521', 'ed25519', 'rsa-2048', 'rsa-3072', 'rsa-4096', 'hmac', 'managed_key',
  'aes128-cmac', 'aes256-cmac', 'aes192-cmac', 'ml-dsa', 'hybrid', 'slh-dsa',
]); // prettier-ignore

const namesPerPage = 1024;

function ok(data: unknown): VaultAnswer {
  return { status: 200, data, mountType: 'transit' };
}

/** A key as `GET keys/NAME` shows it: every version that opens, and when it was made. */
function view(name: string, record: KeyringRecord): Record<string, unknown> {
  const { minDecryptionVersion, rotateEvery, transit = defaultTransitSettings, versions } = record;
  const { deletionAllowed, derived, minEncryptionVersion } = transit;
  const shown = versions.filter(({ version }) => version >= minDecryptionVersion);
  return {
    allow_plaintext_backup: false,
    auto_rotate_period: rotateEvery,
    ...(derived ? { convergent_encryption: false } : {}),
    deletion_allowed: deletionAllowed,
    derived,
    exportable: false,
    imported_key: false,
    ...(derived ? { kdf: 'hkdf_sha256' } : {}),
    keys: Object.fromEntries(shown.map(({ version, createdAt }) => [String(version), createdAt])),
    latest_version: versions.length,
    min_available_version: 0,
    min_decryption_version: minDecryptionVersion,
    min_encryption_version: minEncryptionVersion,
    name,
    supports_decryption: true,
    supports_derivation: true,
    supports_encryption: true,
    supports_signing: false,
    type: versions.at(-1)?.algorithm === 'ChaCha20' ? 'chacha20-poly1305' : 'aes256-gcm96',
  };
}

/** @throws VaultFault for a type that Vault or Sello does not know */
export function algorithmOf(type: string): KeyAlgorithm {
  if (Object.hasOwn(algorithms, type)) return algorithms[type as keyof typeof algorithms];
  throw fault(400, otherTypes.has(type) ? `key type ${type} is not supported` : `unknown key type ${type}`);
}

const createFields = {
  type: 'string', derived: 'bool', convergent_encryption: 'bool', exportable: 'bool', allow_plaintext_backup: 'bool', context: 'string',
  auto_rotate_period: 'seconds', key_size: 'int', managed_key_name: 'string', managed_key_id: 'string', parameter_set: 'string',
  hybrid_key_type_ec: 'string', hybrid_key_type_pqc: 'string',
} as const; // prettier-ignore

export const create: EngineHandler<typeof createFields> = {
  fields: createFields,
  inPath: ['name'],
  async handle(call, { name: text = '' }, { values }) {
    const name = keyNamed(text);
    call.subject = { key: name };
    call.authorize('create', name);
    const asked = values();
    const { auto_rotate_period: rotateEvery = 0, derived = false, type = 'aes256-gcm96' } = asked;
    if (asked.convergent_encryption === true)
      throw fault(
        400,
        derived
          ? 'convergent encryption is not supported'
          : 'convergent encryption requires derivation to be enabled',
      );
    refuseExport(asked);
    checkPeriod(rotateEvery);
    const algorithm = algorithmOf(type);
    if ((asked.key_size ?? 0) !== 0) throw fault(400, `key_size is not valid for algorithm ${type}`);
    await call.release(102, call.subject, 'begun');
    try {
      await call.tenant.keys.createForTransit(name, { algorithm, derived, rotateEvery }, call.by);
    } catch (error) {
      // As Vault: what is there stays as it is, and is shown.
      if (!hasCode(error, 'SELLO_KEY_EXISTS')) throw error;
    }
    return ok(view(name, await call.tenant.keys.keyring(name)));
  },
};

function refuseExport(asked: { exportable?: boolean; allow_plaintext_backup?: boolean }): void {
  for (const field of ['exportable', 'allow_plaintext_backup'] as const)
    if (asked[field] === true) throw fault(400, `${field} is not supported: keys stay in the key server`);
}

function checkPeriod(seconds: number): void {
  if (seconds !== 0 && seconds < leastRotationSeconds)
    throw fault(400, 'auto rotate period must be 0 to disable or at least an hour');
}

export const read: EngineHandler<typeof createFields> = {
  fields: createFields,
  inPath: ['name'],
  async handle(call, { name: text = '' }, { values }) {
    const name = keyNamed(text);
    call.subject = { key: name };
    call.authorize('describe', name);
    const { context = '' } = values();
    let record: KeyringRecord;
    try {
      record = await call.tenant.keys.keyring(name);
    } catch (error) {
      throw hasCode(error, 'SELLO_KEY_NOT_FOUND') ? notFound('SELLO_KEY_NOT_FOUND') : error;
    }
    if (typeof decoded(context) === 'string') throw fault(400, 'failed to base64-decode context');
    return ok(view(name, record));
  },
};

export const list: EngineHandler<Record<never, never>> = {
  fields: {},
  inPath: [],
  async handle(call) {
    call.authorize('list', undefined);
    const keys: string[] = [];
    let after: string | undefined;
    do {
      const page = await call.tenant.keys.list({
        prefix: '',
        limit: namesPerPage,
        ...(after === undefined ? {} : { after }),
      });
      keys.push(...page.names);
      after = page.more ? page.names.at(-1) : undefined;
    } while (after !== undefined);
    const shown = keys.filter((name) => name !== reservedKey);
    if (shown.length === 0) throw notFound();
    return ok({ keys: shown });
  },
};

export const remove: EngineHandler<Record<never, never>> = {
  fields: {},
  inPath: ['name'],
  async handle(call, { name: text = '' }) {
    const name = keyNamed(text);
    call.subject = { key: name };
    call.authorize('delete', name);
    if (call.tenant.config.lifecycle.dualControl) throw new SelloError('SELLO_APPROVAL_REQUIRED');
    const told = (why: string, code: ErrorCode): VaultFault =>
      fault(400, `error deleting policy ${name}: ${why}`, code);
    let record: KeyringRecord;
    try {
      record = await call.tenant.keys.keyring(name);
    } catch (error) {
      if (!hasCode(error, 'SELLO_KEY_NOT_FOUND')) throw error;
      throw told('could not delete key; not found', 'SELLO_KEY_NOT_FOUND');
    }
    if (record.transit?.deletionAllowed !== true)
      throw told('deletion is not allowed for this key', 'SELLO_KEY_CHANGE_REFUSED');
    await call.release(102, call.subject, 'begun');
    await call.tenant.keys.delete(name, call.by);
    return noContent;
  },
};

const rotateFields = { managed_key_name: 'string', managed_key_id: 'string' } as const;

export const rotate: EngineHandler<typeof rotateFields> = {
  fields: rotateFields,
  inPath: ['name'],
  async handle(call, { name: text = '' }, { values }) {
    const name = keyNamed(text);
    call.subject = { key: name };
    call.authorize('rotate', name);
    values();
    await call.release(102, call.subject, 'begun');
    try {
      const record = await call.tenant.keys.rotate(name, call.by);
      call.subject = { key: name, keyVersion: record.versions.length };
      return ok(view(name, record));
    } catch (error) {
      throw hasCode(error, 'SELLO_KEY_NOT_FOUND')
        ? fault(400, 'key not found', 'SELLO_KEY_NOT_FOUND')
        : error;
    }
  },
};

const configFields = {
  min_decryption_version: 'int', min_encryption_version: 'int', deletion_allowed: 'bool', exportable: 'bool', allow_plaintext_backup: 'bool',
  auto_rotate_period: 'seconds',
} as const; // prettier-ignore

const forcedMinimum = 'since Vault 0.3, transit key numbering starts at 1; forcing minimum to 1';

export const configure: EngineHandler<typeof configFields> = {
  fields: configFields,
  inPath: ['name'],
  async handle(call, { name: text = '' }, { values }) {
    const name = keyNamed(text);
    call.subject = { key: name };
    call.authorize('state', name);
    const asked = values();
    let record: KeyringRecord;
    try {
      record = await call.tenant.keys.keyring(name);
    } catch (error) {
      if (!hasCode(error, 'SELLO_KEY_NOT_FOUND')) throw error;
      throw fault(400, `no existing key named ${name} could be found`, 'SELLO_KEY_NOT_FOUND');
    }
    const changes = changesOf(record, asked);
    refuseExport(asked);
    const warnings = asked.min_decryption_version === 0 ? [forcedMinimum] : [];
    if (changes.length === 0) return { ...ok(view(name, record)), warnings };
    await call.release(102, call.subject, 'begun');
    return { ...ok(view(name, await call.tenant.keys.changeAll(name, changes, call.by))), warnings };
  },
};

/** @throws VaultFault */
function changesOf(record: KeyringRecord, asked: Values<typeof configFields>): KeyChange[] {
  const latest = record.versions.length;
  const transit = record.transit ?? defaultTransitSettings;
  const changes: KeyChange[] = [];
  const minimum = (name: 'decryption' | 'encryption'): number | undefined => {
    const version = asked[`min_${name}_version`];
    if (version === undefined) return undefined;
    if (version < 0) throw fault(400, `min ${name} version cannot be negative`);
    if (version > latest)
      throw fault(
        400,
        `cannot set min ${name} version of ${String(version)}, latest key version is ${String(latest)}`,
      );
    return version;
  };
  // Vault takes 0 for 1.
  const decryption = minimum('decryption') === 0 ? 1 : minimum('decryption');
  const encryption = minimum('encryption');
  const least = decryption ?? record.minDecryptionVersion;
  const least2 = encryption ?? transit.minEncryptionVersion;
  if (least2 > 0 && least2 < least)
    throw fault(
      400,
      `cannot set min encryption/decryption values; min encryption version of ${String(least2)} must be greater than or equal to min decryption version of ${String(least)}`,
    );
  if (decryption !== undefined && decryption !== record.minDecryptionVersion)
    changes.push({ kind: 'set-min-decryption-version', version: decryption });
  if (encryption !== undefined && encryption !== transit.minEncryptionVersion)
    changes.push({ kind: 'set-min-encryption-version', version: encryption });
  const deletion = asked.deletion_allowed;
  if (deletion !== undefined && deletion !== transit.deletionAllowed)
    changes.push({ kind: 'set-deletion-allowed', on: deletion });
  const period = asked.auto_rotate_period;
  if (period !== undefined && period !== record.rotateEvery) {
    checkPeriod(period);
    changes.push({ kind: 'set-rotation', every: period });
  }
  return changes;
}
