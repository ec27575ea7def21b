/**
 * HMAC of the Transit engine. A key has one HMAC key for its life; what each version and hash uses is derived from it, so that an HMAC
 * says which version it is of, and none is good for another.
 */
import { createHmac } from 'node:crypto';
import { equalSecrets, framed, wipe } from '../../crypto/index.ts';
import type { KeyName } from '../../keys/index.ts';
import { fault, faultOf, innerError, VaultFault, type VaultAnswer } from './answers.ts';
import { checkShapes, entriesOf } from './batch.ts';
import { decoded, decodedSecret } from './body.ts';
import type { TransitCall } from './call.ts';
import type { EngineHandler } from './engine.ts';
import { goKind, numberText, unconvertibleText } from './fields.ts';
import { keyNamed } from './key-name.ts';

/** By Vault's names. */
const hashes: ReadonlyMap<string, string> = new Map([
  ['sha1', 'sha1'],
  ['sha2-224', 'sha224'],
  ['sha2-256', 'sha256'],
  ['sha2-384', 'sha384'],
  ['sha2-512', 'sha512'],
  ['sha3-224', 'sha3-224'],
  ['sha3-256', 'sha3-256'],
  ['sha3-384', 'sha3-384'],
  ['sha3-512', 'sha3-512'],
]);
const defaultHash = 'sha2-256';
const keyLabel = Buffer.from('sello transit hmac v1');

interface MacItem {
  /** undefined: it was not there. */
  readonly input: string | undefined;
  readonly hmac: string;
  readonly reference: string;
}

/** @throws VaultFault */
function itemsOf(batch: unknown, single: { input?: string; hmac?: string }): MacItem[] {
  if (batch === undefined || batch === null)
    return [{ input: single.input, hmac: single.hmac ?? '', reference: '' }];
  const faults: string[] = [];
  const items = entriesOf(batch, false).map((entry, i) => {
    // Vault takes every field of these for a text.
    for (const [name, value] of Object.entries(entry))
      if (value !== null && goKind(value) !== 'string')
        faults.push(unconvertibleText(`[${String(i)}][${name}]`, 'string', value));
    const textOf = (name: string): string => String(numberText(entry[name]) ?? entry[name] ?? '');
    const input = Object.hasOwn(entry, 'input') ? textOf('input') : undefined;
    return { input, hmac: textOf('hmac'), reference: textOf('reference') };
  });
  checkShapes(faults);
  return items;
}

interface MacKey {
  readonly call: TransitCall;
  readonly key: KeyName;
  /** Node's name. */
  readonly hash: string;
}

function hashOf(algorithm: string): string {
  const hash = hashes.get(algorithm);
  // Vault writes what it made of a name it does not know.
  if (hash === undefined) throw fault(400, "unsupported algorithm '\\x00'");
  return hash;
}

async function macOf({ call, hash, key }: MacKey, version: number, input: Buffer): Promise<Buffer> {
  const number = Buffer.alloc(4);
  number.writeUInt32BE(version);
  const derived = await call.tenant.keys.mac(key, framed(keyLabel, Buffer.from(hash), number));
  try {
    return createHmac(hash, derived).update(input).digest();
  } finally {
    wipe(derived);
  }
}

/** @throws VaultFault */
function inputOf(text: string): Buffer {
  const input = decodedSecret(text);
  if (typeof input === 'string') throw fault(400, `unable to decode input as base64: ${input}`);
  return input;
}

const tooOld = (what: string): VaultFault =>
  fault(400, `cannot ${what} HMAC: version is too old (disallowed by policy)`, 'SELLO_KEY_VERSION_TOO_OLD');

/** @throws VaultFault */
async function versionToMac(call: TransitCall, key: KeyName, wanted: number): Promise<number> {
  const { keys } = call.tenant;
  let range = await keys.versionRange(key);
  if (wanted > range.latest) range = await keys.versionRange(key, true);
  const { latest, least, leastSealing } = range;
  if (wanted === 0) return latest;
  if (wanted < 0) throw fault(400, 'key version does not exist (cannot be negative)');
  if (wanted > latest)
    throw fault(400, `key version does not exist; latest key version is ${String(latest)}`);
  if (wanted < leastSealing) throw tooOld('generate');
  if (wanted < least) throw fault(400, 'no such key version', 'SELLO_KEY_VERSION_TOO_OLD');
  return wanted;
}

const macFields = {
  input: 'string', algorithm: 'string', key_version: 'int', batch_input: 'any',
} as const; // prettier-ignore

export const mac: EngineHandler<typeof macFields> = {
  fields: macFields,
  inPath: ['name', 'urlalgorithm'],
  async handle(call, { algorithm, name = '' }, { values }) {
    const key = keyNamed(name);
    call.subject = { key };
    call.authorize('mac', key);
    const single = values();
    const version = await versionToMac(call, key, single.key_version ?? 0);
    const hash = hashOf(algorithm ?? single.algorithm ?? defaultHash);
    const made = async ({ input }: MacItem): Promise<string> => {
      if (input === undefined) throw fault(400, 'missing input for HMAC');
      const value = await macOf({ call, hash, key }, version, inputOf(input));
      return `vault:v${String(version)}:${value.toString('base64')}`;
    };
    call.subject = { key, keyVersion: version };
    const items = itemsOf(single.batch_input, single);
    return answered(single.batch_input, items, made, (hmac) => ({ hmac }), { valid: false });
  },
};

const verifyFields = {
  input: 'string', hmac: 'string', signature: 'string', cmac: 'string', algorithm: 'string', hash_algorithm: 'string', context: 'string',
  prehashed: 'bool', signature_algorithm: 'string', signature_context: 'string', marshaling_algorithm: 'string', salt_length: 'string',
  mac_length: 'int', batch_input: 'any',
} as const; // prettier-ignore

const prefix = 'vault:v';

export const verify: EngineHandler<typeof verifyFields> = {
  fields: verifyFields,
  inPath: ['name', 'urlalgorithm'],
  async handle(call, { algorithm, name = '' }, { values }) {
    const key = keyNamed(name);
    call.subject = { key };
    call.authorize('mac', key);
    const single = values();
    const isBatch = single.batch_input !== undefined && single.batch_input !== null;
    const items = withoutWords(() => itemsOf(single.batch_input, single));
    checkWhat(isBatch ? (single.batch_input as unknown[]) : [single], isBatch);
    const { latest } = await call.tenant.keys.versionRange(key);
    const hash = hashOf(algorithm ?? single.hash_algorithm ?? single.algorithm ?? defaultHash);
    const judged = async (item: MacItem): Promise<boolean> => {
      if (item.input === undefined && isBatch) throw fault(400, 'missing input');
      const input = inputOf(item.input ?? '');
      const { bytes, version } = await parseMac(call, key, item.hmac, latest);
      const made = await macOf({ call, hash, key }, version, input);
      return bytes.length === made.length && equalSecrets(bytes, made);
    };
    return answered(single.batch_input, items, judged, (valid) => ({ valid }), {});
  },
};

/** Here Vault has no words around what it says of a batch. */
function withoutWords<T>(read: () => T): T {
  try {
    return read();
  } catch (error) {
    const text = error instanceof VaultFault ? innerError(error.texts[0]!) : undefined;
    throw text === undefined ? error : fault(400, text);
  }
}

/** Vault looks what is to be verified before it looks for the key. @throws VaultFault */
function checkWhat(batch: readonly unknown[], isBatch: boolean): void {
  const has = (entry: unknown, name: string): boolean =>
    typeof entry === 'object' && entry !== null && Object.hasOwn(entry, name);
  if (batch.some((entry) => has(entry, 'signature')))
    throw fault(400, 'key type aes256-gcm96 does not support signing');
  const hmacs = batch.filter((entry) => has(entry, 'hmac')).length;
  if (hmacs === 0 && batch.some((entry) => has(entry, 'cmac')))
    throw fault(400, 'key type cmac is only available in enterprise versions of Vault');
  if (hmacs === 0)
    throw fault(
      400,
      isBatch
        ? "no batch_input elements have 'signature', 'hmac' or 'cmac'"
        : "missing one of 'signature', 'hmac' or 'cmac' arguments to verify",
    );
  if (hmacs < batch.length) throw fault(400, "some elements of batch_input are missing 'hmac'");
}

/** @throws VaultFault */
async function parseMac(
  call: TransitCall,
  key: KeyName,
  text: string,
  known: number,
): Promise<{ version: number; bytes: Buffer }> {
  if (!text.startsWith(prefix)) throw fault(400, 'invalid HMAC to verify: no prefix');
  const colon = text.indexOf(':', prefix.length);
  if (colon === -1) throw fault(400, 'invalid HMAC: wrong number of fields');
  const number = text.slice(prefix.length, colon);
  if (!/^[+-]?\d{1,18}$/.test(number)) throw fault(400, 'invalid HMAC: version number could not be decoded');
  const bytes = decoded(text.slice(colon + 1));
  if (typeof bytes === 'string') throw fault(400, `unable to decode verification HMAC as base64: ${bytes}`);
  const version = Number(number);
  // Another replica may have rotated the key.
  const { latest, least } = await call.tenant.keys.versionRange(key, version > known);
  if (version > latest) throw fault(400, 'invalid HMAC: version is too new');
  if (version < least) throw tooOld('verify');
  return { version, bytes };
}

/** @param failed what stands in an item's result when it failed */
async function answered<T>(
  batch: unknown,
  items: readonly MacItem[],
  work: (item: MacItem) => Promise<T>,
  show: (result: T) => Record<string, unknown>,
  made: Record<string, unknown>,
): Promise<VaultAnswer> {
  if (batch === undefined || batch === null)
    return { status: 200, data: show(await work(items[0]!)), mountType: 'transit' };
  const results: Record<string, unknown>[] = [];
  for (const item of items) {
    const { reference } = item;
    try {
      results.push({ ...show(await work(item)), ...made, reference });
    } catch (error) {
      const { status, texts } = faultOf(error);
      if (status !== 400) throw error;
      results.push({ valid: false, error: texts[0], reference });
    }
  }
  return { status: 200, data: { batch_results: results }, mountType: 'transit' };
}
