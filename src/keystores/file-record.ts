/**
 * A record of a file keystore: one value, sealed for one name in one store. The key is derived per record from a
 * fresh 32-byte salt, so no key ever sees a second message and the limits of AES-GCM (NIST SP 800-38D §8.3) are
 * out of reach. Name and store are associated data: a record moved to another name or store does not open.
 *
 *   0  8  magic "SELLOREC"        12 16  store id             68 12  nonce
 *   8  1  format version, 1       28  8  store key id         80  n  ciphertext
 *   9  1  algorithm, 1            36 32  salt                 80+n   tag, 16
 *  10  2  kind, 1: a stored key, 2: a record beside the keys
 */
import {
  aeadKeyBytes,
  aeadOpen,
  aeadSealInto,
  aeadTagBytes,
  hkdfSha256,
  takeRandom,
  wipe,
} from '../crypto/index.ts';
import type { FileHeader } from './file-header.ts';

const magic = Buffer.from('SELLOREC');
const formatVersion = 1;
/** HKDF-SHA256, then AES-256-GCM. */
const algorithm = 1;
/** A reader takes the kind it asked for only. */
const kinds = { key: 1, record: 2 } as const;

export type FileRecordKind = keyof typeof kinds;

const at = {
  version: 8,
  algorithm: 9,
  kind: 10,
  storeId: 12,
  storeKeyId: 28,
  salt: 36,
  nonce: 68,
  ciphertext: 80,
} as const;

export const recordOverheadBytes = at.ciphertext + aeadTagBytes;

const keyInfo = Buffer.from('sello-file-keystore v1 record');

export function sealRecord(
  header: FileHeader,
  storeKey: Buffer,
  name: string,
  value: Buffer,
  kind: FileRecordKind = 'key',
): Buffer {
  const record = Buffer.alloc(recordOverheadBytes + value.length);
  magic.copy(record);
  record[at.version] = formatVersion;
  record[at.algorithm] = algorithm;
  record.writeUInt16BE(kinds[kind], at.kind);
  header.storeId.copy(record, at.storeId);
  header.storeKeyId.copy(record, at.storeKeyId);
  takeRandom(at.ciphertext - at.salt).copy(record, at.salt); // salt and nonce
  const key = recordKey(record, storeKey);
  const nonce = record.subarray(at.nonce, at.ciphertext);
  aeadSealInto(record, at.ciphertext, 'aes-256-gcm', key, nonce, associatedData(record, name), value);
  wipe(key);
  return record;
}

/** @returns the value in memory of its own, or why there is none */
export function openRecord(
  header: FileHeader,
  storeKey: Buffer,
  name: string,
  record: Buffer,
  kind: FileRecordKind = 'key',
): Buffer | string {
  if (record.length < recordOverheadBytes || !record.subarray(0, magic.length).equals(magic))
    return 'not a record';
  if (record[at.version] !== formatVersion)
    return `record version ${record[at.version]} is not known to this release`;
  if (record[at.algorithm] !== algorithm)
    return `algorithm ${record[at.algorithm]} is not known to this release`;
  if (record.readUInt16BE(at.kind) !== kinds[kind]) return 'record of another kind';
  if (!record.subarray(at.storeId, at.storeKeyId).equals(header.storeId)) return 'record of another store';
  if (!record.subarray(at.storeKeyId, at.salt).equals(header.storeKeyId))
    return 'record under another store key';
  const key = recordKey(record, storeKey);
  const nonce = record.subarray(at.nonce, at.ciphertext);
  const value = aeadOpen(
    'aes-256-gcm',
    key,
    nonce,
    associatedData(record, name),
    record.subarray(at.ciphertext),
  );
  wipe(key);
  return value ?? 'record is not authentic';
}

function recordKey(record: Buffer, storeKey: Buffer): Buffer {
  return hkdfSha256(storeKey, record.subarray(at.salt, at.nonce), keyInfo, aeadKeyBytes);
}

/** Everything before the ciphertext, and the name. The first part has a fixed length, so no two pairs look alike. */
function associatedData(record: Buffer, name: string): Buffer {
  return Buffer.concat([record.subarray(0, at.ciphertext), Buffer.from(name, 'latin1')]);
}
