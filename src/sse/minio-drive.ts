/**
 * Objects as they lie in the folders of a MinIO server's drives: `BUCKET/OBJECT/xl.meta`, and beside it a folder of parts where the object
 * is not small. Nothing is written there.
 */
import { readFile } from 'node:fs/promises';
import path from 'node:path';
import { wipe } from '../crypto/index.ts';
import { SelloError } from '../errors.ts';
import { DareOpener, type ByteSpan } from '../formats/index.ts';
import {
  minioDataKeyContext,
  minioStreamKey,
  minioVersions,
  openMinioObjectKey,
  parseMinioMetadata,
  type MinioEncryption,
  type MinioPlace,
} from './minio.ts';
import { minioPartPlainBytes, planMinio } from './minio-range.ts';
import type { DataKeys } from './protection.ts';
import { storedBytes, type DriveCopy } from './xl-data.ts';
import { parseXlMeta, type XlEntry, type XlVersion } from './xl-meta.ts';

/** One version of an object, and what the drives have of it. */
export interface MinioObject {
  readonly version: XlVersion;
  /** What its metadata says; undefined when it is stored in clear. */
  readonly encryption: MinioEncryption | undefined;
  /** Bytes of plaintext. */
  readonly plainBytes: number;
  readonly copies: readonly DriveCopy[];
}

/**
 * An object's newest version, or the one with an id (`null` for the one without).
 * @param folders the object's folder on each drive; on one drive that is one folder
 * @throws SelloError SELLO_OBJECT_FORMAT_UNKNOWN, also when it is deleted
 */
export async function readMinioObject(folders: readonly string[], versionId?: string): Promise<MinioObject> {
  const { entry, copies } = await agreed(folders, versionId);
  const named = versionId === undefined ? 'object' : 'version';
  if (entry === undefined) throw unknown(`xl.meta has no such ${named}`);
  if (entry.kind === 'deleted') throw unknown(`${named} is a delete marker: name the version that is wanted`);
  if (entry.kind !== 'object') throw unknown(`${named} is of before 2020: read it through MinIO`);
  const { version } = entry;
  if (Object.keys(version.metadata).some((name) => name.toLowerCase() === 'x-minio-internal-compression'))
    throw unknown('object is compressed: read it through MinIO');
  const encryption = parseMinioMetadata(version.metadata);
  const lengths = version.parts.map((part) => {
    const plainBytes = encryption === undefined ? part.size : minioPartPlainBytes(part);
    // MinIO goes by the stored length too; objects of before 2018 have 0 for the other one.
    if (part.actualSize !== 0 && part.actualSize !== plainBytes)
      throw unknown(`part ${part.number} has two lengths in xl.meta`);
    return plainBytes;
  });
  const plainBytes = lengths.reduce((sum, bytes) => sum + bytes, 0);
  if (encryption?.plainBytes !== undefined && encryption.plainBytes !== plainBytes)
    throw unknown('the parts are not as long as the object');
  return { version, encryption, plainBytes, copies };
}

/** What most drives agree on, of two the newer: a drive that was away has what was then. */
async function agreed(
  folders: readonly string[],
  versionId: string | undefined,
): Promise<{ readonly entry: XlEntry | undefined; readonly copies: readonly DriveCopy[] }> {
  const groups = new Map<string, { entry: XlEntry | undefined; drives: number; copies: DriveCopy[] }>();
  let failure: unknown;
  for (const folder of folders) {
    let entry: XlEntry | undefined;
    try {
      const entries = parseXlMeta(await readFile(path.join(folder, 'xl.meta')));
      entry =
        versionId === undefined
          ? entries[0]
          : entries.find((each) => (each.versionId ?? 'null') === versionId);
    } catch (error) {
      failure ??= error;
      continue;
    }
    const what = JSON.stringify(entry, (name, value: unknown) =>
      name === 'shard' || name === 'inline' ? undefined : typeof value === 'bigint' ? String(value) : value,
    );
    const group = groups.get(what) ?? { entry, drives: 0, copies: [] };
    groups.set(what, group);
    group.drives++;
    if (entry?.kind === 'object') group.copies.push({ folder, version: entry.version });
  }
  const [found] = [...groups.values()].sort(
    (a, b) => b.drives - a.drives || (modified(b.entry) > modified(a.entry) ? 1 : -1),
  );
  if (found === undefined) throw failure ?? new TypeError('no folder was given');
  return found;
}

function modified(entry: XlEntry | undefined): bigint {
  return entry?.kind === 'object' ? entry.version.modifiedNs : 0n;
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
 * An object's plaintext, or a range of it, in authenticated pieces; as it is stored when it is not encrypted. Its length is checked against
 * `xl.meta`: a piece that came is authentic, the object is whole once the iteration has ended without an error.
 * @throws RangeError for a range that is not in the object
 */
export async function* minioPlaintext(
  { version, encryption, plainBytes, copies }: MinioObject,
  place: MinioPlace,
  source: MinioKeySource | undefined,
  range: ByteSpan = { from: 0, to: plainBytes },
): AsyncGenerator<Buffer, void, undefined> {
  if (encryption === undefined) {
    yield* clear(copies, version, range);
    return;
  }
  if (source === undefined)
    throw new SelloError('SELLO_OBJECT_NOT_AUTHENTIC', { detail: 'no key was given' });
  const plans = planMinio(version.parts, range);
  const externalKey = await minioExternalKey(encryption, place, source);
  let objectKey: Buffer;
  try {
    objectKey = openMinioObjectKey(encryption, externalKey, place);
  } finally {
    wipe(externalKey);
  }
  try {
    for (const { part, sealed, window } of plans) {
      const key = minioStreamKey(encryption, objectKey, part);
      const opener = new DareOpener(key, { versions: minioVersions(encryption), window });
      wipe(key);
      const out: Buffer[] = [];
      try {
        const stored = version.parts.find(({ number }) => number === part)!;
        for await (const chunk of storedBytes(copies, stored, sealed)) {
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

async function* clear(
  copies: readonly DriveCopy[],
  { parts }: XlVersion,
  { from, to }: ByteSpan,
): AsyncGenerator<Buffer, void, undefined> {
  let start = 0;
  for (const part of parts) {
    yield* storedBytes(copies, part, {
      from: Math.max(from - start, 0),
      to: Math.min(to - start, part.size),
    });
    start += part.size;
  }
  if (from < 0 || to < from || to > start)
    throw new RangeError(`byte range: got ${from} to ${to} of ${start}`);
}

function unknown(detail: string): SelloError {
  return new SelloError('SELLO_OBJECT_FORMAT_UNKNOWN', { detail });
}
