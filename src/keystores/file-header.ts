/**
 * `store.json` of a file keystore: which store this is, and its store key under the root key. Records depend on the
 * store key alone, so changing the root key rewrites this one file, at once or not at all.
 * Normative text: docs/formats/file-keystore.md.
 */
import { readFile } from 'node:fs/promises';
import path from 'node:path';
import {
  aeadNonceBytes,
  aeadOpen,
  aeadSealInto,
  aeadTagBytes,
  hkdfSha256,
  secretBytes,
  takeRandom,
  wipe,
} from '../crypto/index.ts';
import { SelloError } from '../errors.ts';
import { errnoOf } from './disk-errors.ts';
import { replaceFile } from './durable-folder.ts';
import { rootKeyBytes } from './root-key.ts';

export const headerName = 'store.json';

const formatName = 'sello-file-keystore';
const formatVersion = 1;
export const storeIdBytes = 16;
export const storeKeyIdBytes = 8;
const storeKeyBytes = 32;
const rootKeyIdBytes = 8;

export interface FileHeader {
  readonly storeId: Buffer;
  /** Which store key the records are under; random. */
  readonly storeKeyId: Buffer;
  /** Tells a wrong root key from a damaged header. Derived from root key and store, so equal root keys of two stores do not show. */
  readonly rootKeyId: Buffer;
  readonly createdAt: string;
  /** When the root key was last changed. */
  readonly sealedAt: string;
  /** nonce ‖ ciphertext ‖ tag of the store key. */
  readonly sealedStoreKey: Buffer;
}

export interface OpenedHeader {
  readonly header: FileHeader;
  /** The caller wipes it. */
  readonly storeKey: Buffer;
}

export function makeHeader(rootKey: Buffer, nowMs = Date.now()): OpenedHeader {
  const storeKey = secretBytes(storeKeyBytes);
  takeRandom(storeKeyBytes).copy(storeKey);
  const identity = {
    storeId: Buffer.from(takeRandom(storeIdBytes)),
    storeKeyId: Buffer.from(takeRandom(storeKeyIdBytes)),
    createdAt: new Date(nowMs).toISOString(),
  };
  return { header: sealHeader(identity, storeKey, rootKey, nowMs), storeKey };
}

type StoreIdentity = Pick<FileHeader, 'storeId' | 'storeKeyId' | 'createdAt'>;

function sealHeader(identity: StoreIdentity, storeKey: Buffer, rootKey: Buffer, nowMs: number): FileHeader {
  const { storeId, storeKeyId, createdAt } = identity;
  const unsealed = {
    storeId,
    storeKeyId,
    createdAt,
    rootKeyId: rootKeyIdOf(rootKey, storeId),
    sealedAt: new Date(nowMs).toISOString(),
  };
  const sealedStoreKey = Buffer.alloc(aeadNonceBytes + storeKeyBytes + aeadTagBytes);
  const nonce = takeRandom(aeadNonceBytes);
  sealedStoreKey.set(nonce);
  const wrappingKey = deriveFromRoot(rootKey, storeId, 'wrap', rootKeyBytes);
  aeadSealInto(
    sealedStoreKey,
    aeadNonceBytes,
    'aes-256-gcm',
    wrappingKey,
    nonce,
    headerAssociatedData(unsealed),
    storeKey,
  );
  wipe(wrappingKey);
  return { ...unsealed, sealedStoreKey };
}

/** @throws SelloError SELLO_ROOT_KEY_WRONG, or SELLO_STORE_FAILED for a header that was changed */
export function openHeader(header: FileHeader, rootKey: Buffer): OpenedHeader {
  const given = rootKeyIdOf(rootKey, header.storeId);
  if (!given.equals(header.rootKeyId)) {
    throw new SelloError('SELLO_ROOT_KEY_WRONG', {
      detail: `the store needs the root key ${header.rootKeyId.toString('hex')}, the one given is ${given.toString('hex')}`,
    });
  }
  const wrappingKey = deriveFromRoot(rootKey, header.storeId, 'wrap', rootKeyBytes);
  const storeKey = aeadOpen(
    'aes-256-gcm',
    wrappingKey,
    header.sealedStoreKey.subarray(0, aeadNonceBytes),
    headerAssociatedData(header),
    header.sealedStoreKey.subarray(aeadNonceBytes),
  );
  wipe(wrappingKey);
  if (storeKey === undefined) throw damaged('the sealed store key is not authentic');
  return { header, storeKey };
}

/** The same store key under `newRootKey`. */
export function resealHeader(
  { header, storeKey }: OpenedHeader,
  newRootKey: Buffer,
  nowMs = Date.now(),
): FileHeader {
  return sealHeader(header, storeKey, newRootKey, nowMs);
}

export function serializeHeader(header: FileHeader): Buffer {
  const json = {
    format: formatName,
    version: formatVersion,
    storeId: header.storeId.toString('hex'),
    storeKeyId: header.storeKeyId.toString('hex'),
    createdAt: header.createdAt,
    rootKeyId: header.rootKeyId.toString('hex'),
    sealedAt: header.sealedAt,
    sealedStoreKey: header.sealedStoreKey.toString('base64'),
  };
  return Buffer.from(`${JSON.stringify(json, undefined, 2)}\n`);
}

/** @throws SelloError SELLO_STORE_FAILED */
export function parseHeader(content: Buffer): FileHeader {
  let json: Record<string, unknown>;
  try {
    json = JSON.parse(content.toString('utf8')) as Record<string, unknown>;
  } catch (error) {
    throw damaged('not JSON', error);
  }
  if (typeof json !== 'object' || json === null || json['format'] !== formatName)
    throw damaged(`not a ${formatName}`);
  if (json['version'] !== formatVersion)
    throw damaged(`version ${String(json['version'])} is not known to this release`);
  const bytes = (field: string, encoding: 'hex' | 'base64', length: number): Buffer => {
    const text = json[field];
    const value = Buffer.from(typeof text === 'string' ? text : '', encoding);
    if (value.length !== length || value.toString(encoding) !== text) throw damaged(`${field} is not valid`);
    return value;
  };
  const text = (field: string): string => {
    const value = json[field];
    if (typeof value !== 'string') throw damaged(`${field} is not valid`);
    return value;
  };
  return {
    storeId: bytes('storeId', 'hex', storeIdBytes),
    storeKeyId: bytes('storeKeyId', 'hex', storeKeyIdBytes),
    rootKeyId: bytes('rootKeyId', 'hex', rootKeyIdBytes),
    createdAt: text('createdAt'),
    sealedAt: text('sealedAt'),
    sealedStoreKey: bytes('sealedStoreKey', 'base64', aeadNonceBytes + storeKeyBytes + aeadTagBytes),
  };
}

/** The header of the store at `folder`; undefined when there is none. */
export async function readHeader(folder: string): Promise<FileHeader | undefined> {
  try {
    return parseHeader(await readFile(path.join(folder, headerName)));
  } catch (error) {
    if (errnoOf(error) === 'ENOENT') return undefined;
    throw error;
  }
}

/**
 * Puts the store at `folder` under `newRootKey`; the records stay as they are, and a server that has the store open
 * goes on. Killed at any moment, the store opens with the old root key or with the new one; run again, it finishes.
 * @returns `already` when the store was under the new root key
 * @throws SelloError SELLO_ROOT_KEY_WRONG when neither key is the store's
 */
export async function rotateRootKey(
  folder: string,
  rootKey: Buffer,
  newRootKey: Buffer,
): Promise<'rotated' | 'already'> {
  const header = await readHeader(folder);
  if (header === undefined)
    throw new SelloError('SELLO_STORE_UNREACHABLE', { detail: `no ${headerName} in ${folder}` });
  if (rootKeyIdOf(newRootKey, header.storeId).equals(header.rootKeyId)) {
    wipe(openHeader(header, newRootKey).storeKey);
    return 'already';
  }
  const opened = openHeader(header, rootKey);
  const resealed = resealHeader(opened, newRootKey);
  wipe(opened.storeKey);
  /* Postcondition, checked before the old form is gone: the new root key opens what is about to be written. */
  wipe(openHeader(parseHeader(serializeHeader(resealed)), newRootKey).storeKey);
  await replaceFile(folder, headerName, serializeHeader(resealed));
  return 'rotated';
}

function rootKeyIdOf(rootKey: Buffer, storeId: Buffer): Buffer {
  return deriveFromRoot(rootKey, storeId, 'id', rootKeyIdBytes);
}

function deriveFromRoot(rootKey: Buffer, storeId: Buffer, purpose: 'wrap' | 'id', length: number): Buffer {
  if (rootKey.length !== rootKeyBytes)
    throw new RangeError(`root key: expected ${rootKeyBytes} bytes, got ${rootKey.length}`);
  return hkdfSha256(rootKey, storeId, Buffer.from(`${formatName} v${formatVersion} root ${purpose}`), length);
}

/** Everything in the header but the sealed key: none of it can be changed without the root key. */
function headerAssociatedData(header: Omit<FileHeader, 'sealedStoreKey'>): Buffer {
  const { storeId, storeKeyId, rootKeyId, createdAt, sealedAt } = header;
  const fields = [storeId, storeKeyId, rootKeyId].map((bytes) => bytes.toString('hex'));
  return Buffer.from(JSON.stringify([formatName, formatVersion, ...fields, createdAt, sealedAt]));
}

function damaged(detail: string, cause?: unknown): SelloError {
  return new SelloError('SELLO_STORE_FAILED', { detail: `${headerName}: ${detail}`, cause });
}
