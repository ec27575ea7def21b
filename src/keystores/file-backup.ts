/**
 * A file keystore in one file, still sealed: header and records as they lie on the disk, so a backup needs no root key
 * and shows no key. A digest at its end tells damage and truncation; that nobody changed it on purpose is for
 * whoever keeps it (each record is authentic by itself, their number is not).
 *
 * Keys never change, they only come and go, each at once; so a copy taken while a server works holds every key that
 * existed for the whole of the copying, and of those made or deleted meanwhile each whole or not at all.
 * Format: docs/formats/file-keystore.md.
 */
import { createHash, type Hash } from 'node:crypto';
import { createReadStream } from 'node:fs';
import { link, mkdir, open, readdir, rm, unlink, writeFile, type FileHandle } from 'node:fs/promises';
import path from 'node:path';
import { wipe } from '../crypto/index.ts';
import { SelloError } from '../errors.ts';
import { errnoOf, storeError } from './disk-errors.ts';
import { flushFolder, readWholeFile, temporaryName } from './durable-folder.ts';
import {
  headerName,
  openHeader,
  parseHeader,
  readHeader,
  serializeHeader,
  type FileHeader,
} from './file-header.ts';
import {
  isVacant,
  makeFolders,
  recordsFolder,
  restoringName,
  shardFolder,
  writeFirstHeader,
} from './file-layout.ts';
import { FileNames, shardCount } from './file-names.ts';
import { openRecord, recordOverheadBytes } from './file-record.ts';
import { boundTo, isRecordPlace, RecordNames, recordFileOf, sealedRecordsOf } from './file-records.ts';
import { maxValueBytes } from './limits.ts';

const magic = Buffer.from('SELLOBK1');
const entryHeaderBytes = 7;
const digestBytes = 32;
/** `beside`: a record beside the keys, by its place below `records/`. */
const entryKind = { end: 0, header: 1, record: 2, beside: 3 } as const;

/** Writes are gathered to this size. */
const chunkBytes = 1024 * 1024;

/** Files written and flushed at a time during a restore. */
const restoreLanes = 32;

/** Hex of shard byte and up to 95 more bytes: what file-names.ts makes. */
const recordFilePattern = /^[0-9a-f]{34,192}$/;

export interface BackupSummary {
  readonly storeId: string;
  /** The root key that opens it. */
  readonly rootKeyId: string;
  readonly keys: number;
  readonly bytes: number;
}

interface BackupEntry {
  readonly kind: number;
  readonly name: string;
  readonly content: Buffer;
}

/**
 * Copies the store at `folder` into the new file `out`, also while a server has it open. `out` appears complete or not at all.
 * @throws SelloError SELLO_STORE_NOT_EMPTY when `out` exists
 */
export async function backupFileKeystore(folder: string, out: string): Promise<BackupSummary> {
  const target = path.resolve(out);
  const temporary = path.join(path.dirname(target), temporaryName());
  try {
    const handle = await open(temporary, 'wx', 0o600);
    try {
      const summary = await writeBackup(path.resolve(folder), handle);
      await handle.sync();
      await link(temporary, target);
      await flushFolder(path.dirname(target));
      return summary;
    } finally {
      await handle.close();
      await unlink(temporary).catch(() => undefined);
    }
  } catch (error) {
    if (errnoOf(error) === 'EEXIST')
      throw new SelloError('SELLO_STORE_NOT_EMPTY', { detail: `${target} exists`, cause: error });
    throw storeError(error, 'backup');
  }
}

async function writeBackup(folder: string, handle: FileHandle): Promise<BackupSummary> {
  const header = await readHeader(folder);
  if (header === undefined)
    throw new SelloError('SELLO_STORE_UNREACHABLE', { detail: `no ${headerName} in ${folder}` });
  const writer = new DigestedWriter(handle);
  await writer.write(magic);
  await writer.write(encodeEntry(entryKind.header, headerName, serializeHeader(header)));
  // Keyrings before what they name: a version is there before its keyring says so.
  for await (const { place, content } of sealedRecordsOf(folder)) {
    await writer.write(encodeEntry(entryKind.beside, place, content));
  }
  let keys = 0;
  for (let shard = 0; shard < shardCount; shard++) {
    const files = (await readdir(shardFolder(folder, shard))).filter((file) => recordFilePattern.test(file));
    for (const file of files.sort()) {
      const record = await readWholeFile(
        path.join(shardFolder(folder, shard), file),
        maxValueBytes + recordOverheadBytes,
      );
      if (record === 'absent') continue; // deleted since
      if (typeof record === 'string')
        throw new SelloError('SELLO_STORED_KEY_UNREADABLE', { detail: `${file}: ${record}` });
      await writer.write(encodeEntry(entryKind.record, file, record));
      keys++;
    }
  }
  const end = Buffer.alloc(8);
  end.writeBigUInt64BE(BigInt(keys));
  await writer.write(encodeEntry(entryKind.end, '', end));
  const bytes = await writer.end();
  return { ...identityOf(header), keys, bytes };
}

/**
 * Reads a backup through: whole, undamaged, well formed. With a root key, also that every record opens.
 * @throws SelloError SELLO_BACKUP_INVALID, SELLO_ROOT_KEY_WRONG
 */
export async function checkFileBackup(file: string, rootKey?: Buffer): Promise<BackupSummary> {
  let header: FileHeader | undefined;
  let open: ((name: string, record: Buffer) => void) | undefined;
  let openBeside: ((place: string, record: Buffer) => void) | undefined;
  let forget: (() => void) | undefined;
  let keys = 0;
  let bytes = magic.length + digestBytes;
  try {
    for await (const { kind, name, content } of entriesOf(file)) {
      bytes += entryHeaderBytes + name.length + content.length;
      if (kind === entryKind.header && header === undefined) {
        header = parseBackupHeader(content);
        if (rootKey !== undefined) ({ open, openBeside, forget } = recordChecker(header, rootKey));
      } else if (kind === entryKind.record && header !== undefined && recordFilePattern.test(name)) {
        open?.(name, content);
        keys++;
      } else if (kind === entryKind.beside && header !== undefined && isRecordPlace(name)) {
        openBeside?.(name, content);
      } else if (kind === entryKind.end && content.length === 8) {
        if (content.readBigUInt64BE() !== BigInt(keys)) throw invalid('the number of keys does not match');
      } else throw invalid(`unexpected entry of kind ${kind}`);
    }
  } catch (error) {
    throw storeError(error, 'backup');
  } finally {
    forget?.();
  }
  if (header === undefined) throw invalid('no header');
  return { ...identityOf(header), keys, bytes };
}

/**
 * Makes the store of a backup in an absent or empty folder. Killed midway it is no store yet; run again, it starts over.
 * @throws SelloError SELLO_STORE_NOT_EMPTY, SELLO_BACKUP_INVALID, SELLO_ROOT_KEY_WRONG
 */
export async function restoreFileKeystore(
  file: string,
  into: string,
  rootKey?: Buffer,
): Promise<BackupSummary> {
  const folder = path.resolve(into);
  /* Precondition: the backup is whole. Nothing is written before that is known. */
  const summary = await checkFileBackup(file, rootKey);
  try {
    await mkdir(folder, { recursive: true, mode: 0o700 });
    await clearUnfinished(folder);
    if ((await readHeader(folder)) !== undefined || !(await isVacant(folder))) {
      throw new SelloError('SELLO_STORE_NOT_EMPTY', { detail: folder });
    }
    await writeFile(path.join(folder, restoringName), '', { mode: 0o600, flush: true });
    await makeFolders(folder);
    const header = await writeRecords(file, folder);
    for (let shard = 0; shard < shardCount; shard++) await flushFolder(shardFolder(folder, shard));
    await unlink(path.join(folder, restoringName));
    if (!(await writeFirstHeader(folder, header)))
      throw new SelloError('SELLO_STORE_NOT_EMPTY', { detail: folder });
    return summary;
  } catch (error) {
    throw storeError(error, 'restore');
  }
}

/** What an earlier restore left is ours to remove: its marker is there and no header, so nobody has used it. */
async function clearUnfinished(folder: string): Promise<void> {
  const names = await readdir(folder);
  if (!names.includes(restoringName) || names.includes(headerName)) return;
  await rm(path.join(folder, 'keys'), { recursive: true, force: true });
  await rm(recordsFolder(folder), { recursive: true, force: true });
  await rm(path.join(folder, restoringName));
}

async function writeRecords(file: string, folder: string): Promise<FileHeader> {
  let header: FileHeader | undefined;
  let writing: Promise<void>[] = [];
  const besideFolders = new Set<string>();
  for await (const { kind, name, content } of entriesOf(file)) {
    if (kind === entryKind.header) header = parseBackupHeader(content);
    let record: string;
    if (kind === entryKind.beside && isRecordPlace(name)) {
      record = path.join(recordsFolder(folder), name);
      await mkdir(path.dirname(record), { recursive: true, mode: 0o700 });
      besideFolders.add(path.dirname(record));
    } else if (kind === entryKind.record && recordFilePattern.test(name)) {
      record = path.join(shardFolder(folder, Number.parseInt(name.slice(0, 2), 16)), name);
    } else continue;
    const write = writeFile(record, content, { mode: 0o600, flag: 'wx', flush: true });
    write.catch(() => undefined); // told by Promise.all; not unhandled when the backup ends early
    writing.push(write);
    if (writing.length === restoreLanes) {
      await Promise.all(writing);
      writing = [];
    }
  }
  await Promise.all(writing);
  const root = recordsFolder(folder);
  for (const each of [...besideFolders]) {
    for (let above = each; above.length >= root.length; above = path.dirname(above)) besideFolders.add(above);
  }
  for (const each of besideFolders) await flushFolder(each);
  if (header === undefined) throw invalid('no header');
  return header;
}

function recordChecker(
  header: FileHeader,
  rootKey: Buffer,
): {
  open: (file: string, record: Buffer) => void;
  openBeside: (place: string, record: Buffer) => void;
  forget: () => void;
} {
  const { storeKey } = openHeader(header, rootKey);
  const fileNames = new FileNames(storeKey, header.storeId);
  const recordNames = new RecordNames(storeKey, header.storeId);
  return {
    open(file, record) {
      const [name] = fileNames.namesOf(Number.parseInt(file.slice(0, 2), 16), [file]);
      const value =
        name === undefined ? 'file name of another store' : openRecord(header, storeKey, name, record);
      if (typeof value === 'string') throw invalid(`${file}: ${value}`);
      wipe(value);
    },
    openBeside(place, record) {
      const named = recordFileOf(place, recordNames);
      const value =
        named === undefined
          ? 'record of another store'
          : openRecord(header, storeKey, boundTo(named.recordPath, named.revision), record, 'record');
      if (typeof value === 'string') throw invalid(`${place}: ${value}`);
      wipe(value);
    },
    forget() {
      fileNames.wipe();
      recordNames.wipe();
      wipe(storeKey);
    },
  };
}

function parseBackupHeader(content: Buffer): FileHeader {
  try {
    return parseHeader(content);
  } catch (error) {
    throw new SelloError('SELLO_BACKUP_INVALID', { detail: 'header', cause: error });
  }
}

function identityOf(header: FileHeader): { storeId: string; rootKeyId: string } {
  return { storeId: header.storeId.toString('hex'), rootKeyId: header.rootKeyId.toString('hex') };
}

/** kind u8, name length u16, content length u32, name, content; numbers big-endian. */
function encodeEntry(kind: number, name: string, content: Buffer): Buffer {
  const entry = Buffer.alloc(entryHeaderBytes + name.length + content.length);
  entry[0] = kind;
  entry.writeUInt16BE(name.length, 1);
  entry.writeUInt32BE(content.length, 3);
  entry.write(name, entryHeaderBytes, 'latin1');
  content.copy(entry, entryHeaderBytes + name.length);
  return entry;
}

/** The entries up to and with the end entry; rejects unless the digest matches and nothing follows it. */
async function* entriesOf(file: string): AsyncGenerator<BackupEntry> {
  const hash = createHash('sha256');
  let rest: Buffer = Buffer.alloc(0);
  let begun = false;
  let ended = false;
  for await (const chunk of createReadStream(file, { highWaterMark: chunkBytes })) {
    rest = Buffer.concat([rest, chunk as Buffer]);
    if (!begun) {
      if (rest.length < magic.length) continue;
      if (!rest.subarray(0, magic.length).equals(magic)) throw invalid('not a backup of a file keystore');
      begun = true;
      rest = taken(rest, magic.length, hash);
    }
    while (!ended && rest.length >= entryHeaderBytes) {
      const nameLength = rest.readUInt16BE(1);
      const contentLength = rest.readUInt32BE(3);
      if (contentLength > maxValueBytes + recordOverheadBytes) throw invalid('an entry is too large');
      const nameEnd = entryHeaderBytes + nameLength;
      if (rest.length < nameEnd + contentLength) break;
      const entry = {
        kind: rest[0]!,
        name: rest.toString('latin1', entryHeaderBytes, nameEnd),
        content: rest.subarray(nameEnd, nameEnd + contentLength),
      };
      rest = taken(rest, nameEnd + contentLength, hash);
      ended = entry.kind === entryKind.end;
      yield entry;
    }
    if (ended && rest.length > digestBytes) throw invalid('bytes after the end');
  }
  if (!ended || rest.length !== digestBytes) throw invalid('truncated');
  if (!hash.digest().equals(rest)) throw invalid('the digest does not match');
}

function taken(bytes: Buffer, length: number, hash: Hash): Buffer {
  hash.update(bytes.subarray(0, length));
  return bytes.subarray(length);
}

class DigestedWriter {
  readonly #handle: FileHandle;
  readonly #hash = createHash('sha256');
  #gathered: Buffer[] = [];
  #gatheredBytes = 0;
  #writtenBytes = 0;

  constructor(handle: FileHandle) {
    this.#handle = handle;
  }

  async write(bytes: Buffer): Promise<void> {
    this.#hash.update(bytes);
    await this.#gather(bytes);
  }

  /** Writes the digest; @returns all bytes written */
  async end(): Promise<number> {
    await this.#gather(this.#hash.digest());
    await this.#flush();
    return this.#writtenBytes;
  }

  async #gather(bytes: Buffer): Promise<void> {
    this.#gathered.push(bytes);
    this.#gatheredBytes += bytes.length;
    if (this.#gatheredBytes >= chunkBytes) await this.#flush();
  }

  async #flush(): Promise<void> {
    await writeFile(this.#handle, Buffer.concat(this.#gathered, this.#gatheredBytes));
    this.#writtenBytes += this.#gatheredBytes;
    this.#gathered = [];
    this.#gatheredBytes = 0;
  }
}

function invalid(detail: string): SelloError {
  return new SelloError('SELLO_BACKUP_INVALID', { detail });
}
