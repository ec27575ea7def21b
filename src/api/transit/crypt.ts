/**
 * The Transit engine's work with data: encrypt, decrypt, rewrap and data keys, one or a batch of them, each item with its own outcome.
 * A key is bound to what Vault binds: `associated_data` always, `context` where the key derives.
 */
import { framed, takeRandom, wipe } from '../../crypto/index.ts';
import { SelloError, type ErrorCode } from '../../errors.ts';
import { versionOfCiphertext, type KeyName, type TransitSettings } from '../../keys/index.ts';
import { fault, faultOf, goJson, oneError, VaultFault, type Piece, type VaultAnswer } from './answers.ts';
import { decoded, numberField, textField, type Fields, type SecretFields } from './body.ts';
import type { Subject, TransitCall } from './call.ts';
import { keyNamed } from './key-name.ts';
import type { Handler } from './routes.ts';

/** Items of one batch. Vault has no bound but that of a body's size. */
export const maxBatchItems = 10_000;

const missingContext =
  "missing 'context' for key derivation; the key was created using a derived key, which means additional, per-request information must be included in order to perform operations with the key";

interface Item {
  readonly fields: Fields;
  readonly reference: string;
}

interface Batch {
  readonly items: readonly Item[];
  readonly isBatch: boolean;
  /** Status for a batch of which some items failed. */
  readonly partialStatus: number | undefined;
}

type Outcome =
  | { readonly subject: Subject; readonly error: VaultFault }
  | {
      readonly subject: Subject;
      readonly error?: undefined;
      readonly ciphertext?: string;
      readonly plaintext?: Buffer;
      readonly version?: number;
    };

/** @throws VaultFault */
function batchOf(fields: Fields): Batch {
  const batch = fields['batch_input'];
  if (batch === undefined || batch === null)
    return { items: [{ fields, reference: '' }], isBatch: false, partialStatus: undefined };
  const refuse = (why: string): VaultFault => fault(500, oneError(`failed to parse batch input: ${why}`));
  if (!Array.isArray(batch)) throw refuse('source data must be an array or slice');
  if (batch.length === 0) throw fault(400, 'missing batch input to process');
  if (batch.length > maxBatchItems) throw fault(400, `a batch has at most ${String(maxBatchItems)} items`);
  const items = batch.map((item: unknown): Item => {
    if (typeof item !== 'object' || item === null || Array.isArray(item))
      throw refuse('an item is not an object');
    return { fields: item as Fields, reference: textField(item as Fields, 'reference') ?? '' };
  });
  const contexts = items.filter(
    ({ fields: { context } }) => typeof context === 'string' && context !== '',
  ).length;
  if (contexts !== 0 && contexts !== items.length)
    throw fault(400, 'context should be set either in all the request blocks or in none');
  return { items, isBatch: true, partialStatus: numberField(fields, 'partial_failure_response_code') };
}

/** Every item of a batch names what it is about; Vault says so of all at once. */
function needInEach({ isBatch, items }: Batch, name: string, text: string): void {
  const missing = items.flatMap(({ fields }, i) => (fields[name] === undefined ? [i] : []));
  if (missing.length === 0) return;
  if (!isBatch) throw fault(400, text);
  const told = missing.map((i) => `* '[${String(i)}].${name}' ${text}`).join('\n');
  throw fault(
    500,
    oneError(`failed to parse batch input: ${String(missing.length)} error(s) decoding:\n\n${told}`),
  );
}

/** @throws VaultFault */
function bytesField(fields: Fields, name: string): Buffer {
  const text = textField(fields, name) ?? '';
  const bytes = decoded(text);
  if (typeof bytes === 'string') throw fault(400, bytes);
  return bytes;
}

/** What a ciphertext is bound to. A key derives for its life, or does not: the two forms never meet under one key. */
export function bindingOf({ derived }: TransitSettings, context: Buffer, associated: Buffer): Buffer {
  return derived ? framed(context, associated) : associated;
}

interface Bound {
  readonly binding: Buffer;
  /** The encryption context, for policy and records: RustFS sends it as associated data. */
  readonly context: Buffer;
}

/** @throws VaultFault */
function boundTo(settings: TransitSettings, fields: Fields): Bound {
  const context = bytesField(fields, 'context');
  if (settings.derived && context.length === 0) throw fault(400, missingContext);
  let associated: Buffer;
  try {
    associated = bytesField(fields, 'associated_data');
  } catch (error) {
    throw fault(
      500,
      oneError(`unable to get associated_data/additional_data from factory[0]: ${(error as Error).message}`),
    );
  }
  if (textField(fields, 'nonce') !== undefined && textField(fields, 'nonce') !== '')
    throw fault(400, 'provided nonce not allowed for this key');
  return {
    binding: bindingOf(settings, context, associated),
    context: associated.length > 0 ? associated : context,
  };
}

const textPrefix = 'vault:v';

export function ciphertextText(ciphertext: Buffer): string {
  return `${textPrefix}${String(versionOfCiphertext(ciphertext))}:${ciphertext.toString('base64')}`;
}

/** The least that Vault's own have: nonce and tag. */
const leastBytes = 28;

/** @throws VaultFault */
export function ciphertextOf(text: string, latestVersion: number, leastVersion: number): Buffer {
  if (text === '') throw fault(400, 'missing ciphertext to decrypt');
  if (!text.startsWith(textPrefix)) throw fault(400, 'invalid ciphertext: no prefix');
  const colon = text.indexOf(':', textPrefix.length);
  if (colon === -1) throw fault(400, 'invalid ciphertext: wrong number of fields');
  const number = text.slice(textPrefix.length, colon);
  if (!/^[+-]?\d{1,18}$/.test(number))
    throw fault(400, 'invalid ciphertext: version number could not be decoded');
  // Vault's first keys were numbered from 0.
  const version = Number(number) === 0 ? 1 : Number(number);
  if (version > latestVersion) throw fault(400, 'invalid ciphertext: version is too new');
  if (version < leastVersion)
    throw fault(
      400,
      'ciphertext or signature version is disallowed by policy (too old)',
      'SELLO_KEY_VERSION_TOO_OLD',
    );
  const bytes = decoded(text.slice(colon + 1));
  if (typeof bytes === 'string') throw fault(400, 'invalid ciphertext: could not decode base64');
  if (bytes.length < leastBytes) throw fault(400, 'invalid ciphertext length');
  // The number is a copy of the one that is authenticated.
  if (versionOfCiphertext(bytes) !== version) throw notAuthentic();
  return bytes;
}

function notAuthentic(): VaultFault {
  return faultOf(new SelloError('SELLO_CIPHERTEXT_NOT_AUTHENTIC'));
}

/** Runs each item; what fails is that item's outcome. Anything that concerns the key as a whole is thrown. */
async function runEach(
  call: TransitCall,
  batch: Batch,
  keyName: string,
  work: (item: Item) => Promise<Exclude<Outcome, { error: VaultFault }>>,
): Promise<Outcome[]> {
  const outcomes: Outcome[] = [];
  const one = async (item: Item): Promise<Outcome> => {
    try {
      return await work(item);
    } catch (error) {
      if (!batch.isBatch) throw error;
      const known = faultOf(error);
      // 403, and what has nothing to do with one item.
      if (known.status !== 400 && !isItemFault(known)) throw error;
      return { subject: { key: keyName }, error: known };
    }
  };
  try {
    // Together, so that what needs a custodian goes to it as one call; outcomes keep the order.
    const settled = await Promise.allSettled(batch.items.map(one));
    for (const each of settled) if (each.status === 'fulfilled') outcomes.push(each.value);
    const failed = settled.find((each) => each.status === 'rejected');
    if (failed !== undefined) throw failed.reason;
    await record(call, outcomes);
    return outcomes;
  } catch (error) {
    wipeAll(outcomes);
    throw error;
  }
}

/** Vault answers these of an item with another status than 400. */
function isItemFault({ status, texts }: VaultFault): boolean {
  return status === 500 && texts[0]?.includes('associated_data') === true;
}

async function record(call: TransitCall, outcomes: readonly Outcome[]): Promise<void> {
  await Promise.all(
    outcomes.map((outcome) =>
      outcome.error === undefined
        ? call.release(200, outcome.subject)
        : call.recordFailure(outcome.error, outcome.subject),
    ),
  );
}

function wipeAll(outcomes: readonly Outcome[]): void {
  for (const outcome of outcomes) if (outcome.error === undefined) wipe(outcome.plaintext);
}

/** Vault's answer for a batch: 400 when an item failed by the caller's fault, or what the caller asked for where some succeeded. */
function batchStatus(outcomes: readonly Outcome[], partialStatus: number | undefined): number {
  const failed = outcomes.filter(({ error }) => error !== undefined).length;
  if (failed === 0) return 200;
  const isAllowed = partialStatus !== undefined && partialStatus > 0 && failed < outcomes.length;
  return isAllowed && partialStatus >= 200 && partialStatus <= 599 ? partialStatus : 400;
}

function batchAnswer(
  batch: Batch,
  outcomes: readonly Outcome[],
  status: number,
  write: (outcome: Outcome) => readonly Piece[],
): VaultAnswer {
  const pieces: Piece[] = ['{"batch_results":['];
  outcomes.forEach((outcome, i) => {
    if (i > 0) pieces.push(',');
    pieces.push('{', ...write(outcome));
    if (outcome.error !== undefined) pieces.push(`"error":${goJson(outcome.error.texts[0])},`);
    pieces.push(`"reference":${goJson(batch.items[i]!.reference)}}`);
  });
  pieces.push(']}');
  // Vault forgets the mount's type where it sets a status of its own.
  return { status, pieces, mountType: status === 200 ? 'transit' : '' };
}

function ciphertextPieces(outcome: Outcome): string[] {
  return outcome.error === undefined
    ? [`"ciphertext":"${outcome.ciphertext!}","key_version":${String(outcome.version!)},`]
    : [];
}

/** Settings of the key. One that is not there is made, where policy lets the caller create: as Vault does ("upsert"). */
async function settingsFor(call: TransitCall, name: KeyName, derives: boolean): Promise<TransitSettings> {
  try {
    return await call.tenant.keys.transitSettings(name);
  } catch (error) {
    if (!(error instanceof SelloError) || error.code !== 'SELLO_KEY_NOT_FOUND') throw error;
    if (!call.may('create', name).allowed) throw error;
    const { operation } = call;
    call.authorize('create', name);
    await call.release(102, { key: name }, 'begun');
    try {
      await call.tenant.keys.createForTransit(name, { algorithm: 'AES256', derived: derives }, call.by);
    } catch (cause) {
      if (!(cause instanceof SelloError) || cause.code !== 'SELLO_KEY_EXISTS') throw cause;
    }
    await call.release(200, { key: name }, 'begun');
    call.operation = operation;
    return call.tenant.keys.transitSettings(name);
  }
}

const hasContext = ({ items }: Batch): boolean =>
  items.some(({ fields: { context } }) => typeof context === 'string' && context !== '');

/** A version asked for; undefined: the newest. @throws VaultFault */
function versionField(fields: Fields): number | undefined {
  const version = numberField(fields, 'key_version');
  if (version === undefined || version === 0) return undefined;
  if (version < 0) throw fault(400, 'requested version for encryption is negative');
  return version;
}

/** Which text stands for a version that may not seal. */
function sealingFault(error: unknown): unknown {
  const tooOld: Partial<Record<ErrorCode, string>> = {
    SELLO_KEY_VERSION_TOO_OLD:
      'requested version for encryption is less than the minimum encryption key version',
  };
  if (!(error instanceof SelloError) || tooOld[error.code] === undefined) return error;
  return fault(400, tooOld[error.code]!, error.code);
}

export const encrypt: Handler = async (call, { name = '' }, body) => {
  const parsed = body.secretFields();
  const batch = batchOf(parsed.fields);
  needInEach(batch, 'plaintext', 'missing plaintext to encrypt');
  const key = keyNamed(name);
  call.subject = { key };
  // Before the store is asked: who may not encrypt learns nothing of keys.
  if (!batch.items.some(({ fields }) => 'associated_data' in fields || 'context' in fields))
    call.authorize('encrypt', key);
  const settings = await settingsFor(call, key, hasContext(batch));
  const outcomes = await runEach(call, batch, key, (item) => encryptItem(call, key, settings, item, parsed));
  if (batch.isBatch)
    return batchAnswer(batch, outcomes, batchStatus(outcomes, batch.partialStatus), ciphertextPieces);
  return single(outcomes[0]!);
};

function single(outcome: Outcome): VaultAnswer {
  if (outcome.error !== undefined) throw outcome.error;
  const { ciphertext, version } = outcome;
  return { status: 200, data: { ciphertext, key_version: version }, mountType: 'transit' };
}

async function encryptItem(
  call: TransitCall,
  key: KeyName,
  settings: TransitSettings,
  { fields }: Item,
  parsed: SecretFields,
): Promise<Exclude<Outcome, { error: VaultFault }>> {
  const plaintext = parsed.bytesOf(textField(fields, 'plaintext') ?? '');
  if (typeof plaintext === 'string') throw fault(400, plaintext);
  try {
    const { binding, context } = boundTo(settings, fields);
    call.authorize('encrypt', key, context);
    const version = versionField(fields);
    const ciphertext = await sealing(() =>
      call.tenant.keys.encrypt(key, plaintext, binding, 'transit', version),
    );
    return sealed(key, context, ciphertext);
  } finally {
    plaintext.fill(0);
  }
}

async function sealing<T>(work: () => T | Promise<T>): Promise<T> {
  try {
    return await work();
  } catch (error) {
    throw sealingFault(error);
  }
}

function sealed(key: KeyName, context: Buffer, ciphertext: Buffer): Exclude<Outcome, { error: VaultFault }> {
  const version = versionOfCiphertext(ciphertext);
  return { subject: { key, context, keyVersion: version }, ciphertext: ciphertextText(ciphertext), version };
}

export const decrypt: Handler = async (call, { name = '' }, body) => {
  const fields = body.fields();
  const batch = batchOf(fields);
  needInEach(batch, 'ciphertext', 'missing ciphertext to decrypt');
  const key = keyNamed(name);
  call.subject = { key };
  const settings = await call.tenant.keys.transitSettings(key);
  const outcomes = await runEach(call, batch, key, async (item) => {
    const { binding, context } = boundTo(settings, item.fields);
    call.authorize('unwrap', key, context);
    const ciphertext = await opened(call, key, textField(item.fields, 'ciphertext') ?? '');
    const plaintext = await call.tenant.keys.unwrap(key, ciphertext, binding, 'transit');
    return { subject: { key, context, keyVersion: versionOfCiphertext(ciphertext) }, plaintext };
  });
  // The answer takes the plaintexts over: they are wiped once it is written.
  if (batch.isBatch)
    return batchAnswer(batch, outcomes, batchStatus(outcomes, batch.partialStatus), (outcome) =>
      outcome.error === undefined
        ? ['"plaintext":"', { secret: outcome.plaintext! }, '",']
        : ['"plaintext":"",'],
    );
  const [outcome] = outcomes;
  if (outcome!.error !== undefined) throw outcome!.error;
  return {
    status: 200,
    pieces: ['{"plaintext":"', { secret: outcome!.plaintext! }, '"}'],
    mountType: 'transit',
  };
};

/** A ciphertext's bytes, held against the versions that the key has as this process knows it. */
async function opened(call: TransitCall, key: KeyName, text: string): Promise<Buffer> {
  const { least, latest } = await call.tenant.keys.versionRange(key);
  try {
    return ciphertextOf(text, latest, least);
  } catch (error) {
    // Another replica may have rotated the key.
    if (!(error instanceof VaultFault) || error.texts[0] !== 'invalid ciphertext: version is too new')
      throw error;
    const anew = await call.tenant.keys.versionRange(key, true);
    return ciphertextOf(text, anew.latest, anew.least);
  }
}

export const rewrap: Handler = async (call, { name = '' }, body) => {
  const batch = batchOf(body.fields());
  needInEach(batch, 'ciphertext', 'missing ciphertext to decrypt');
  const key = keyNamed(name);
  call.subject = { key };
  const settings = await call.tenant.keys.transitSettings(key);
  const outcomes = await runEach(call, batch, key, async (item) => {
    const { binding, context } = boundTo(settings, item.fields);
    call.authorize('rewrap', key, context);
    const ciphertext = await opened(call, key, textField(item.fields, 'ciphertext') ?? '');
    const [rewrapped] = await call.tenant.keys.rewrap(key, [
      { ciphertext, context: binding, face: 'transit' },
    ]);
    if (rewrapped === undefined) throw new SelloError('SELLO_INTERNAL');
    if ('error' in rewrapped) throw rewrapped.error;
    return sealed(key, context, rewrapped.ciphertext);
  });
  // Vault's rewrap answers 200, whatever became of the items.
  return batch.isBatch ? batchAnswer(batch, outcomes, 200, ciphertextPieces) : single(outcomes[0]!);
};

const dataKeyBits = new Set([128, 256, 512]);

export const dataKey: Handler = async (call, { kind = '', name = '' }, body) => {
  const fields = body.fields();
  if (kind !== 'plaintext' && kind !== 'wrapped')
    throw fault(400, "Invalid path, must be 'plaintext' or 'wrapped'");
  const bits = numberField(fields, 'bits') ?? 256;
  const key = keyNamed(name);
  call.subject = { key };
  const settings = await call.tenant.keys.transitSettings(key);
  const { binding, context } = boundTo(settings, fields);
  call.authorize('issue', key, context);
  if (!dataKeyBits.has(bits)) throw fault(400, 'invalid bit length');
  const version = versionField(fields);
  const plaintext = takeRandom(bits / 8);
  try {
    const ciphertext = await sealing(() =>
      call.tenant.keys.encrypt(key, plaintext, binding, 'transit', version),
    );
    const outcome = sealed(key, context, ciphertext);
    await call.release(200, outcome.subject);
    const rest = `"ciphertext":"${outcome.ciphertext!}","key_version":${String(outcome.version!)}`;
    if (kind === 'wrapped') {
      plaintext.fill(0);
      return { status: 200, pieces: [`{${rest}}`], mountType: 'transit' };
    }
    return {
      status: 200,
      pieces: [`{${rest},"plaintext":"`, { secret: plaintext }, '"}'],
      mountType: 'transit',
    };
  } catch (error) {
    plaintext.fill(0);
    throw error;
  }
};
