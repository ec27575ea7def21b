/** The Transit engine's keys: made, shown, listed, configured, rotated and ended as Vault's are, in the tenant's own keyring. */
import { equalSecrets, framed, takeRandom } from '../../crypto/index.ts';
import { hasCode, SelloError } from '../../errors.ts';
import {
  defaultTransitSettings,
  leastRotationSeconds,
  type KeyChange,
  type KeyName,
  type KeyringRecord,
} from '../../keys/index.ts';
import { fault, faultOf, goJson, noContent, notFound, type Piece, type VaultAnswer } from './answers.ts';
import { booleanField, decoded, numberField, secondsField, textField, type Fields } from './body.ts';
import type { TransitCall } from './call.ts';
import { keyNamed } from './key-name.ts';
import { reservedKey } from './kv-seal.ts';
import type { Handler } from './routes.ts';

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

export const create: Handler = async (call, { name: text = '' }, body) => {
  const fields = body.fields();
  const name = keyNamed(text);
  call.subject = { key: name };
  call.authorize('create', name);
  const type = textField(fields, 'type') ?? 'aes256-gcm96';
  const derived = booleanField(fields, 'derived') ?? false;
  const period = secondsField(fields, 'auto_rotate_period') ?? 0;
  if (booleanField(fields, 'convergent_encryption') === true)
    throw fault(
      400,
      derived
        ? 'convergent encryption is not supported'
        : 'convergent encryption requires derivation to be enabled',
    );
  refuseExport(fields);
  if (!Object.hasOwn(algorithms, type))
    throw fault(400, otherTypes.has(type) ? `key type ${type} is not supported` : `unknown key type ${type}`);
  checkPeriod(period);
  await call.release(102, call.subject, 'begun');
  try {
    const algorithm = algorithms[type as keyof typeof algorithms];
    await call.tenant.keys.createForTransit(name, { algorithm, derived }, call.by);
    if (period > 0) await call.tenant.keys.change(name, { kind: 'set-rotation', every: period }, call.by);
  } catch (error) {
    // As Vault: what is there stays as it is, and is shown.
    if (!hasCode(error, 'SELLO_KEY_EXISTS')) throw error;
  }
  return ok(view(name, await call.tenant.keys.keyring(name)));
};

function refuseExport(fields: Fields): void {
  for (const field of ['exportable', 'allow_plaintext_backup'] as const)
    if (booleanField(fields, field) === true)
      throw fault(400, `${field} is not supported: keys stay in the key server`);
}

function checkPeriod(seconds: number): void {
  if (seconds !== 0 && seconds < leastRotationSeconds)
    throw fault(400, 'auto rotate period must be 0 to disable or at least an hour');
}

export const read: Handler = async (call, { name: text = '' }) => {
  const name = keyNamed(text);
  call.subject = { key: name };
  call.authorize('describe', name);
  try {
    return ok(view(name, await call.tenant.keys.keyring(name)));
  } catch (error) {
    throw hasCode(error, 'SELLO_KEY_NOT_FOUND') ? notFound('SELLO_KEY_NOT_FOUND') : error;
  }
};

export const list: Handler = async (call) => {
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
};

export const remove: Handler = async (call, { name: text = '' }) => {
  const name = keyNamed(text);
  call.subject = { key: name };
  call.authorize('delete', name);
  if (call.tenant.config.lifecycle.dualControl) throw new SelloError('SELLO_APPROVAL_REQUIRED');
  let record: KeyringRecord;
  try {
    record = await call.tenant.keys.keyring(name);
  } catch (error) {
    if (!hasCode(error, 'SELLO_KEY_NOT_FOUND')) throw error;
    throw fault(400, `error deleting policy ${name}: could not delete key; not found`, 'SELLO_KEY_NOT_FOUND');
  }
  if (record.transit?.deletionAllowed !== true)
    throw fault(
      400,
      `error deleting policy ${name}: deletion is not allowed for this key`,
      'SELLO_KEY_CHANGE_REFUSED',
    );
  await call.release(102, call.subject, 'begun');
  await call.tenant.keys.delete(name, call.by);
  return noContent;
};

export const rotate: Handler = async (call, { name: text = '' }) => {
  const name = keyNamed(text);
  call.subject = { key: name };
  call.authorize('rotate', name);
  await call.release(102, call.subject, 'begun');
  try {
    const record = await call.tenant.keys.rotate(name, call.by);
    call.subject = { key: name, keyVersion: record.versions.length };
    return ok(view(name, record));
  } catch (error) {
    throw hasCode(error, 'SELLO_KEY_NOT_FOUND') ? fault(400, 'key not found', 'SELLO_KEY_NOT_FOUND') : error;
  }
};

export const configure: Handler = async (call, { name: text = '' }, body) => {
  const fields = body.fields();
  const name = keyNamed(text);
  call.subject = { key: name };
  call.authorize('state', name);
  let record: KeyringRecord;
  try {
    record = await call.tenant.keys.keyring(name);
  } catch (error) {
    if (!hasCode(error, 'SELLO_KEY_NOT_FOUND')) throw error;
    throw fault(400, `no existing key named ${name} could be found`, 'SELLO_KEY_NOT_FOUND');
  }
  refuseExport(fields);
  const changes = changesOf(record, fields);
  const warnings =
    numberField(fields, 'min_decryption_version') === 0
      ? ['since Vault 0.3, transit key numbering starts at 1; forcing minimum to 1']
      : [];
  if (changes.length === 0) return { ...ok(view(name, record)), warnings };
  await call.release(102, call.subject, 'begun');
  return { ...ok(view(name, await call.tenant.keys.changeAll(name, changes, call.by))), warnings };
};

/** @throws VaultFault */
function changesOf(record: KeyringRecord, fields: Fields): KeyChange[] {
  const latest = record.versions.length;
  const transit = record.transit ?? defaultTransitSettings;
  const changes: KeyChange[] = [];
  const minimum = (name: 'decryption' | 'encryption'): number | undefined => {
    const version = numberField(fields, `min_${name}_version`);
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
  const deletion = booleanField(fields, 'deletion_allowed');
  if (deletion !== undefined && deletion !== transit.deletionAllowed)
    changes.push({ kind: 'set-deletion-allowed', on: deletion });
  const period = secondsField(fields, 'auto_rotate_period');
  if (period !== undefined && period !== record.rotateEvery) {
    checkPeriod(period);
    changes.push({ kind: 'set-rotation', every: period });
  }
  return changes;
}

const macLabel = Buffer.from('sello transit hmac v1');
const defaultMac = 'sha2-256';

interface MacItem {
  readonly fields: Fields;
  readonly reference: string;
}

function macItems(fields: Fields): { items: MacItem[]; isBatch: boolean } {
  const batch = fields['batch_input'];
  if (batch === undefined) return { items: [{ fields, reference: '' }], isBatch: false };
  if (!Array.isArray(batch) || batch.length === 0) throw fault(400, 'missing batch input to process');
  return {
    isBatch: true,
    items: batch.map((item: unknown) => {
      if (typeof item !== 'object' || item === null) throw fault(400, 'missing batch input to process');
      return { fields: item as Fields, reference: textField(item as Fields, 'reference') ?? '' };
    }),
  };
}

/** HMAC-SHA256 under the key's HMAC key, which rotation leaves: the version in the text is the caller's business. */
async function macOf(call: TransitCall, name: KeyName, fields: Fields): Promise<Buffer> {
  const text = textField(fields, 'input');
  if (text === undefined) throw fault(400, 'missing input for HMAC');
  const input = decoded(text);
  if (typeof input === 'string') throw fault(400, `unable to decode input as base64: ${input}`);
  const message = framed(macLabel, input);
  try {
    return await call.tenant.keys.mac(name, message);
  } finally {
    message.fill(0);
    input.fill(0);
  }
}

function checkAlgorithm(algorithm: string): void {
  if (algorithm !== defaultMac) throw fault(400, `unsupported algorithm '${algorithm}'`);
}

async function macVersion(call: TransitCall, name: KeyName, fields: Fields): Promise<number> {
  const { latest } = await call.tenant.keys.versionRange(name);
  const wanted = numberField(fields, 'key_version') ?? 0;
  if (wanted > latest)
    throw fault(400, `key version does not exist; latest key version is ${String(latest)}`);
  return wanted > 0 ? wanted : latest;
}

export const mac: Handler = async (call, { name: text = '', algorithm = '' }, body) => {
  const fields = body.fields();
  const name = keyNamed(text);
  call.subject = { key: name };
  call.authorize('mac', name);
  checkAlgorithm(algorithm || (textField(fields, 'algorithm') ?? defaultMac));
  const version = await macVersion(call, name, fields);
  const { isBatch, items } = macItems(fields);
  const shown = async (item: MacItem): Promise<string> => {
    const made = await macOf(call, name, item.fields);
    return `vault:v${String(version)}:${made.toString('base64')}`;
  };
  if (!isBatch) return ok({ hmac: await shown(items[0]!) });
  return macBatch(items, async (item) => ({ hmac: await shown(item), valid: false }));
};

export const verify: Handler = async (call, { name: text = '', algorithm = '' }, body) => {
  const fields = body.fields();
  const name = keyNamed(text);
  call.subject = { key: name };
  call.authorize('mac', name);
  checkAlgorithm(algorithm || (textField(fields, 'algorithm') ?? defaultMac));
  const { latest } = await call.tenant.keys.versionRange(name);
  const { isBatch, items } = macItems(fields);
  const judge = async (item: MacItem): Promise<boolean> => {
    const given = textField(item.fields, 'hmac');
    if (given === undefined)
      throw fault(400, "missing one of 'signature', 'hmac' or 'cmac' arguments to verify");
    const parsed = /^vault:v(\d{1,9}):(.*)$/s.exec(given);
    if (!given.startsWith('vault:v')) throw fault(400, 'invalid HMAC to verify: no prefix');
    if (parsed === null) throw fault(400, 'invalid HMAC: wrong number of fields');
    if (Number(parsed[1]) > latest) throw fault(400, 'invalid HMAC: version is too new');
    const made = await macOf(call, name, item.fields);
    const bytes = decoded(parsed[2]!);
    return typeof bytes !== 'string' && bytes.length === made.length && equalSecrets(bytes, made);
  };
  if (!isBatch) return ok({ valid: await judge(items[0]!) });
  return macBatch(items, async (item) => ({ valid: await judge(item) }));
};

async function macBatch(
  items: readonly MacItem[],
  work: (item: MacItem) => Promise<Record<string, unknown>>,
): Promise<VaultAnswer> {
  const results: Record<string, unknown>[] = [];
  for (const item of items) {
    try {
      results.push({ ...(await work(item)), reference: item.reference });
    } catch (error) {
      const { status, texts } = faultOf(error);
      if (status !== 400) throw error;
      results.push({ valid: false, error: texts[0], reference: item.reference });
    }
  }
  return ok({ batch_results: results });
}

/** Vault's bound. */
const maxRandomBytes = 131_072;

export const random: Handler = (call, { source = 'platform', bytes: text = '' }, body) => {
  const fields = body.fields();
  call.authorize('status', undefined);
  if (!['platform', 'seal', 'all'].includes(source))
    throw fault(400, `unsupported entropy source ${goJson(source)}; must be "platform" or "seal", or "all"`);
  if (text !== '' && !/^[+-]?\d{1,9}$/.test(text))
    throw fault(
      400,
      `error parsing url-set byte count: strconv.Atoi: parsing ${goJson(text)}: invalid syntax`,
    );
  const count = text === '' ? (numberField(fields, 'bytes') ?? 32) : Number(text);
  if (count < 1) throw fault(400, '"bytes" cannot be less than 1');
  if (count > maxRandomBytes) throw fault(400, `"bytes" should be less than ${String(maxRandomBytes)}`);
  const format = textField(fields, 'format') ?? 'base64';
  if (format !== 'hex' && format !== 'base64')
    throw fault(400, `unsupported encoding format ${goJson(format)}; must be "hex" or "base64"`);
  const made = takeRandom(count);
  const value: Piece = format === 'hex' ? made.toString('hex') : { secret: made };
  if (format === 'hex') made.fill(0);
  return { status: 200, pieces: ['{"random_bytes":"', value, '"}'], mountType: 'transit' };
};
