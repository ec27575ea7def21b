/**
 * Objects as they lie in the folder of a MinIO server on one drive: `BUCKET/OBJECT/xl.meta`, and beside it a folder of parts where the object
 * is not small. Nothing is written there.
 */
import { createReadStream } from 'node:fs';
import { readFile } from 'node:fs/promises';
import path from 'node:path';
import { wipe } from '../crypto/index.ts';
import { SelloError } from '../errors.ts';
import { DareOpener } from '../formats/index.ts';
import {
  minioDataKeyContext,
  minioStreamKey,
  minioVersions,
  openMinioObjectKey,
  parseMinioMetadata,
  type MinioEncryption,
  type MinioPlace,
} from './minio.ts';
import type { DataKeys } from './protection.ts';
import { BlockReader, parseXlMeta, type XlVersion } from './xl-meta.ts';

/** An object's newest version, or the one with an id. @throws SelloError SELLO_OBJECT_FORMAT_UNKNOWN */
export async function readMinioVersion(folder: string, versionId?: string): Promise<XlVersion> {
  const versions = parseXlMeta(await readFile(path.join(folder, 'xl.meta')));
  const version =
    versionId === undefined ? versions[0] : versions.find((each) => each.versionId === versionId);
  if (version === undefined)
    throw new SelloError('SELLO_OBJECT_FORMAT_UNKNOWN', { detail: 'xl.meta has no such version' });
  return version;
}

/** Where an external key comes from: the key server, or for SSE-C the customer. */
export type MinioKeySource = { readonly keys: DataKeys } | { readonly customerKey: Uint8Array };

/** The external key. The caller wipes it. */
export async function minioExternalKey(
  encryption: MinioEncryption,
  place: MinioPlace,
  source: MinioKeySource,
): Promise<Buffer> {
  /* Precondition: each mode takes its own kind of key. */
  if ((encryption.mode === 'SSE-C') !== 'customerKey' in source)
    throw new SelloError('SELLO_OBJECT_NOT_AUTHENTIC', { detail: `object is ${encryption.mode}` });
  if ('customerKey' in source) return Buffer.from(source.customerKey);
  const context = minioDataKeyContext(place, encryption.context);
  return source.keys.unwrap(encryption.keyName!, encryption.wrappedKey!, context);
}

/**
 * An object's plaintext, in authenticated pieces; as it is stored when it is not encrypted. Its length is checked against `xl.meta`: a
 * piece that came is authentic, the object is whole once the iteration has ended without an error.
 */
export async function* minioPlaintext(
  folder: string,
  version: XlVersion,
  place: MinioPlace,
  source: MinioKeySource | undefined,
): AsyncGenerator<Buffer, void, undefined> {
  if (Object.keys(version.metadata).some((name) => name.toLowerCase() === 'x-minio-internal-compression'))
    throw new SelloError('SELLO_OBJECT_FORMAT_UNKNOWN', {
      detail: 'object is compressed: read it through MinIO',
    });
  const encryption = parseMinioMetadata(version.metadata);
  if (encryption === undefined) {
    for (const part of version.parts) yield* storedBytes(folder, version, part.number);
    return;
  }
  if (source === undefined)
    throw new SelloError('SELLO_OBJECT_NOT_AUTHENTIC', { detail: 'no key was given' });
  const externalKey = await minioExternalKey(encryption, place, source);
  let objectKey: Buffer;
  try {
    objectKey = openMinioObjectKey(encryption, externalKey, place);
  } finally {
    wipe(externalKey);
  }
  try {
    for (const part of version.parts) {
      const key = minioStreamKey(encryption, objectKey, part.number);
      const opener = new DareOpener(key, {
        versions: minioVersions(encryption),
        plainBytes: part.actualSize,
      });
      wipe(key);
      const out: Buffer[] = [];
      try {
        for await (const chunk of storedBytes(folder, version, part.number)) {
          opener.update(chunk, out);
          yield* out.splice(0);
        }
        opener.final(out);
        yield* out.splice(0);
      } finally {
        opener.wipe();
      }
    }
  } finally {
    wipe(objectKey);
  }
}

async function* storedBytes(folder: string, version: XlVersion, part: number): AsyncGenerator<Buffer> {
  const reader = new BlockReader(version);
  if (version.inline !== undefined) {
    yield* reader.take(version.inline);
    return;
  }
  if (version.dataFolder === undefined) return; // An object without a byte has no file.
  const file = createReadStream(path.join(folder, version.dataFolder, `part.${part}`), {
    highWaterMark: 1 << 20,
  });
  for await (const chunk of file) yield* reader.take(chunk as Buffer);
}
