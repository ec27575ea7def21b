/**
 * The Transit engine's work with data: encrypt, decrypt and rewrap, one or a batch of them. A ciphertext is bound to what Vault binds:
 * `associated_data` always, `context` where the key derives. The order of the checks is Vault's, because a request with two faults is told
 * of the first.
 */
import { framed } from '../../crypto/index.ts';
import { hasCode, SelloError } from '../../errors.ts';
import { MessageSeries, versionOfCiphertext, type KeyName, type TransitSettings } from '../../keys/index.ts';
import { fault, faultOf, VaultFault, type VaultAnswer } from './answers.ts';
import { after } from '../../concurrency.ts';
import {
  admit,
  batchAnswer,
  batchOf,
  ItemFault,
  runEach,
  type Batch,
  type BatchForm,
  type Item,
  type Outcome,
} from './batch.ts';
import { decoded } from './body.ts';
import type { Subject, TransitCall } from './call.ts';
import type { EngineHandler } from './engine.ts';
import { withoutPrefix } from './fields.ts';
import { keyNamed } from './key-name.ts';
import { algorithmOf } from './keys.ts';

const missingContext =
  "missing 'context' for key derivation; the key was created using a derived key, which means additional, per-request information must be included in order to perform operations with the key";
export const nonceRefused = 'provided nonce not allowed for this key';

const plaintexts: BatchForm = { name: 'plaintext', missing: 'missing plaintext to encrypt', isStrict: true };
const ciphertexts: BatchForm = {
  name: 'ciphertext',
  missing: 'missing ciphertext to decrypt',
  isStrict: true,
};

export interface Sealed {
  readonly subject: Subject;
  readonly ciphertext: string;
  readonly version: number;
}

/** What a ciphertext is bound to. A key derives for its life, or does not: the two forms never meet under one key. */
export function bindingOf(
  call: TransitCall,
  key: KeyName,
  { derived }: TransitSettings,
  { associated, context }: Item,
): { readonly binding: Buffer; readonly told: Buffer } {
  if (derived && context.length === 0) throw fault(400, missingContext);
  if (typeof associated === 'string')
    throw new ItemFault(`unable to get associated_data/additional_data from factory[0]: ${associated}`);
  const bytes = context as Buffer;
  if (derived)
    return { binding: framed(bytes, associated), told: associated.length > 0 ? associated : bytes };
  // Policy heard of a context that this key binds nothing to: it must not count.
  if (bytes.length > 0 && associated.length === 0) call.authorize(call.operation!, key, associated);
  return { binding: associated, told: associated };
}

/** @throws VaultFault of context and nonce alike */
function checkTexts({ context, nonce }: Item): void {
  if (typeof context === 'string') throw fault(400, context);
  if (typeof nonce === 'string') throw fault(400, nonce);
}

const textPrefix = 'vault:v';

export function sealedAs(key: KeyName, context: Buffer, ciphertext: Buffer): Sealed {
  const version = versionOfCiphertext(ciphertext);
  return {
    subject: { key, context, keyVersion: version },
    ciphertext: `${textPrefix}${String(version)}:${ciphertext.toString('base64')}`,
    version,
  };
}

const tooNew = 'invalid ciphertext: version is too new';

interface CiphertextText {
  readonly version: number;
  readonly bytes: Buffer;
}

/** @throws VaultFault */
function parseCiphertext(text: string, latest: number, least: number): CiphertextText {
  if (text === '') throw fault(400, 'missing ciphertext to decrypt');
  if (!text.startsWith(textPrefix)) throw fault(400, 'invalid ciphertext: no prefix');
  const colon = text.indexOf(':', textPrefix.length);
  if (colon === -1) throw fault(400, 'invalid ciphertext: wrong number of fields');
  const number = text.slice(textPrefix.length, colon);
  if (!/^[+-]?\d{1,18}$/.test(number))
    throw fault(400, 'invalid ciphertext: version number could not be decoded');
  // Vault's first keys were numbered from 0.
  const version = Number(number) === 0 ? 1 : Number(number);
  if (version > latest) throw fault(400, tooNew);
  if (version < least) throw faultOf(new SelloError('SELLO_KEY_VERSION_TOO_OLD'));
  const bytes = decoded(text.slice(colon + 1));
  if (typeof bytes === 'string') throw fault(400, 'invalid ciphertext: could not decode base64');
  return { version, bytes };
}

/** A ciphertext's bytes, held against the versions that the key has as this process knows it. */
function ciphertextOf(
  call: TransitCall,
  key: KeyName,
  text: string,
): CiphertextText | Promise<CiphertextText> {
  return after(call.tenant.keys.versionRange(key), ({ least, latest }) => {
    try {
      return parseCiphertext(text, latest, least);
    } catch (error) {
      // Another replica may have rotated the key.
      if (!(error instanceof VaultFault) || error.texts[0] !== tooNew) throw error;
      return after(call.tenant.keys.versionRange(key, true), (anew) =>
        parseCiphertext(text, anew.latest, anew.least),
      );
    }
  });
}

/** Vault's words for what is not authentic are those of the key's cipher. */
function opening<T>(call: TransitCall, key: KeyName, work: () => T | Promise<T>): T | Promise<T> {
  const told = (error: unknown): Promise<never> | never => {
    if (!hasCode(error, 'SELLO_CIPHERTEXT_NOT_AUTHENTIC')) throw error;
    return after(call.tenant.keys.versionRange(key), ({ algorithm }) => {
      if (algorithm !== 'ChaCha20') throw error;
      throw fault(400, 'chacha20poly1305: message authentication failed', 'SELLO_CIPHERTEXT_NOT_AUTHENTIC');
    });
  };
  try {
    const opened = work();
    return opened instanceof Promise ? opened.catch(told) : opened;
  } catch (error) {
    return told(error);
  }
}

/** What Vault's ciphertexts begin with: a nonce. */
const leastCiphertextBytes = 12;

interface ToOpen {
  readonly ciphertext: Buffer;
  /** What its text says, and its bytes. */
  readonly version: number;
  readonly binding: Buffer;
  readonly told: Buffer;
}

function toOpen(
  call: TransitCall,
  key: KeyName,
  settings: TransitSettings,
  item: Item,
): ToOpen | Promise<ToOpen> {
  checkTexts(item);
  return after(ciphertextOf(call, key, item.text), ({ bytes, version }) => {
    const { binding, told } = bindingOf(call, key, settings, item);
    if (bytes.length < leastCiphertextBytes) throw fault(400, 'invalid ciphertext length');
    // The number in the text is a copy of the one that is authenticated.
    if (versionOfCiphertext(bytes) !== version)
      throw new SelloError('SELLO_CIPHERTEXT_NOT_AUTHENTIC', {
        detail: 'the number in its text was changed',
      });
    return { ciphertext: bytes, version, binding, told };
  });
}

/** A version that the caller named; undefined: the newest. @throws VaultFault */
export function versionToSeal(
  call: TransitCall,
  key: KeyName,
  wanted: number,
): undefined | number | Promise<number> {
  return wanted === 0 ? undefined : namedVersion(call, key, wanted);
}

async function namedVersion(call: TransitCall, key: KeyName, wanted: number): Promise<number> {
  if (wanted < 0) throw fault(400, 'requested version for encryption is negative');
  const { keys } = call.tenant;
  let range = await keys.versionRange(key);
  if (wanted > range.latest) range = await keys.versionRange(key, true);
  if (wanted > range.latest) throw faultOf(new SelloError('SELLO_KEY_VERSION_NOT_FOUND'));
  if (wanted < range.leastSealing)
    throw fault(
      400,
      'requested version for encryption is less than the minimum encryption key version',
      'SELLO_KEY_VERSION_TOO_OLD',
    );
  if (wanted < range.least) throw fault(400, 'no such key version', 'SELLO_KEY_VERSION_TOO_OLD');
  return wanted;
}

/** Settings of the key. One that is not there is made, where policy lets the caller create: as Vault does ("upsert"). */
async function settingsOrNew(
  call: TransitCall,
  key: KeyName,
  type: string,
  derived: boolean,
): Promise<TransitSettings> {
  const { keys } = call.tenant;
  try {
    return await keys.transitSettings(key, true);
  } catch (error) {
    if (!hasCode(error, 'SELLO_KEY_NOT_FOUND')) throw error;
  }
  const { operation } = call;
  call.authorize('create', key);
  const algorithm = algorithmOf(type);
  await call.release(102, { key }, 'begun');
  try {
    await keys.createForTransit(key, { algorithm, derived }, call.by);
  } catch (error) {
    if (!hasCode(error, 'SELLO_KEY_EXISTS')) throw error;
  }
  await call.release(200, { key }, 'begun');
  call.operation = operation;
  return keys.transitSettings(key, true);
}

const encryptFields = {
  plaintext: 'string', associated_data: 'string', context: 'string', nonce: 'string', type: 'string',
  convergent_encryption: 'bool', key_version: 'int', partial_failure_response_code: 'int', batch_input: 'any',
} as const; // prettier-ignore

export const encrypt: EngineHandler<typeof encryptFields> = {
  fields: encryptFields,
  inPath: ['name'],
  hasSecrets: true,
  async handle(call, { name = '' }, { bytesOf, values }) {
    const key = keyNamed(name);
    let type = 'aes256-gcm96';
    const batch = admit(call, 'encrypt', key, () => {
      try {
        const single = values();
        type = single.type ?? type;
        return batchOf(plaintexts, single);
      } catch (error) {
        throw withoutPrefix(error);
      }
    });
    const isDerived = batch.items.some(({ context }) => context.length > 0);
    const settings = await settingsOrNew(call, key, type, isDerived);
    const outcomes = await inSeries(batch, (series) =>
      runEach(batch, key, (item) => encryptItem(call, key, settings, item, bytesOf, series)),
    );
    return sealedAnswer(call, batch, outcomes, false);
  },
};

/** With fewer items each is better off alone: nobody sees then that they were made together. */
const leastOfSeries = 4;

async function inSeries<T>(
  { items }: Batch,
  work: (series: MessageSeries | undefined) => Promise<T>,
): Promise<T> {
  if (items.length < leastOfSeries) return work(undefined);
  const series = new MessageSeries(items.length);
  try {
    return await work(series);
  } finally {
    series.end();
  }
}

/** At once where the key is in memory. */
function encryptItem(
  call: TransitCall,
  key: KeyName,
  settings: TransitSettings,
  item: Item,
  bytesOf: (text: string) => Buffer | string,
  series: MessageSeries | undefined,
): Sealed | Promise<Sealed> {
  const plaintext = bytesOf(item.text);
  if (typeof plaintext === 'string') throw fault(400, plaintext);
  const seal = (version: number | undefined): Sealed | Promise<Sealed> => {
    const { binding, told } = bindingOf(call, key, settings, item);
    const sealed = call.tenant.keys.encrypt(key, plaintext, binding, 'transit', version, series);
    if (sealed instanceof Promise) return sealed.then((ciphertext) => sealedAs(key, told, ciphertext));
    return sealedAs(key, told, sealed);
  };
  let sealed: Sealed | Promise<Sealed> | undefined;
  try {
    checkTexts(item);
    if (item.nonce.length > 0) throw fault(400, nonceRefused);
    const version = versionToSeal(call, key, item.version);
    sealed = version instanceof Promise ? version.then(seal) : seal(version);
    return sealed instanceof Promise ? sealed.finally(() => plaintext.fill(0)) : sealed;
  } finally {
    if (!(sealed instanceof Promise)) plaintext.fill(0);
  }
}

function sealedAnswer(
  call: TransitCall,
  batch: Batch,
  outcomes: readonly Outcome<Sealed>[],
  failsAlone: boolean,
): VaultAnswer {
  if (batch.isBatch)
    return batchAnswer(
      call,
      batch,
      outcomes,
      (done) =>
        done === undefined
          ? []
          : [`"ciphertext":"${done.ciphertext}","key_version":${String(done.version)},`],
      failsAlone,
    );
  const { ciphertext, subject, version } = outcomes[0] as Sealed;
  const data = { ciphertext, key_version: version };
  return { status: 200, data, mountType: 'transit', records: [call.released(subject)] };
}

const decryptFields = {
  ciphertext: 'string', associated_data: 'string', context: 'string', nonce: 'string', partial_failure_response_code: 'int', batch_input: 'any',
} as const; // prettier-ignore

export const decrypt: EngineHandler<typeof decryptFields> = {
  fields: decryptFields,
  inPath: ['name'],
  async handle(call, { name = '' }, { values }) {
    const key = keyNamed(name);
    const batch = admit(call, 'unwrap', key, () => batchOf(ciphertexts, values()));
    const settings = await call.tenant.keys.transitSettings(key, false);
    const { keys } = call.tenant;
    const outcomes = await inSeries(batch, (series) =>
      runEach(batch, key, (item) =>
        opening(call, key, () =>
          after(toOpen(call, key, settings, item), ({ ciphertext, binding, told, version }) =>
            after(keys.unwrap(key, ciphertext, binding, 'transit', series), (plaintext) => ({
              subject: { key, context: told, keyVersion: version },
              plaintext,
            })),
          ),
        ),
      ),
    );
    // The answer takes the plaintexts over: they are wiped once it is written.
    if (batch.isBatch)
      return batchAnswer(call, batch, outcomes, (done) =>
        done === undefined ? ['"plaintext":"",'] : ['"plaintext":"', { secret: done.plaintext }, '",'],
      );
    const { plaintext, subject } = outcomes[0] as { plaintext: Buffer; subject: Subject };
    return {
      status: 200,
      pieces: ['{"plaintext":"', { secret: plaintext }, '"}'],
      mountType: 'transit',
      records: [call.released(subject)],
    };
  },
};

const rewrapFields = {
  ciphertext: 'string', associated_data: 'string', context: 'string', nonce: 'string', key_version: 'int', batch_input: 'any',
  decrypt_padding_scheme: 'string', encrypt_padding_scheme: 'string',
} as const; // prettier-ignore

export const rewrap: EngineHandler<typeof rewrapFields> = {
  fields: rewrapFields,
  inPath: ['name'],
  async handle(call, { name = '' }, { values }) {
    const key = keyNamed(name);
    const batch = admit(call, 'rewrap', key, () => batchOf({ ...ciphertexts, isStrict: false }, values()));
    const settings = await call.tenant.keys.transitSettings(key, true);
    const outcomes = await runEach(batch, key, (item) =>
      opening(call, key, async () => {
        const { ciphertext, binding, told } = await toOpen(call, key, settings, item);
        if (item.nonce.length > 0) throw fault(400, nonceRefused);
        const version = await versionToSeal(call, key, item.version);
        const one = { ciphertext, context: binding, face: 'transit' as const, version };
        const [rewrapped] = await call.tenant.keys.rewrap(key, [one]);
        if (rewrapped === undefined) throw new SelloError('SELLO_INTERNAL');
        if ('error' in rewrapped) throw rewrapped.error;
        return sealedAs(key, told, rewrapped.ciphertext);
      }),
    );
    return sealedAnswer(call, batch, outcomes, true);
  },
};
