/** Compresses a sealed segment: the plain file goes once the compressed one is on the disk and has been read back. */
import { createHash, randomUUID } from 'node:crypto';
import { createReadStream, createWriteStream } from 'node:fs';
import { open, rename, rm, unlink } from 'node:fs/promises';
import path from 'node:path';
import { pipeline } from 'node:stream/promises';
import { createGunzip, createGzip, createZstdCompress, createZstdDecompress } from 'node:zlib';
import { compressionSuffix, segmentName, type Compression } from './segment.ts';

/** As the segments themselves: for the owner and a log shipper's group. */
const fileMode = 0o640;

export async function compressSegment(
  folder: string,
  first: number,
  compression: Exclude<Compression, 'none'>,
): Promise<void> {
  const plain = path.join(folder, segmentName(first));
  const target = `${plain}${compressionSuffix[compression]}`;
  const temporary = path.join(folder, `.sello-tmp-${randomUUID()}`);
  try {
    const before = createHash('sha256');
    const reader = createReadStream(plain);
    reader.on('data', (chunk) => before.update(chunk));
    await pipeline(
      reader,
      compression === 'zstd' ? createZstdCompress() : createGzip(),
      createWriteStream(temporary, { mode: fileMode, flags: 'wx' }),
    );
    const after = createHash('sha256');
    await pipeline(
      createReadStream(temporary),
      compression === 'zstd' ? createZstdDecompress() : createGunzip(),
      async (source: AsyncIterable<Buffer>) => {
        for await (const chunk of source) after.update(chunk);
      },
    );
    if (before.digest('hex') !== after.digest('hex'))
      throw new Error(`${target} does not read back as ${plain}`);
    await flush(temporary);
    await rename(temporary, target);
    await flush(folder);
    await unlink(plain);
  } catch (error) {
    await rm(temporary, { force: true });
    throw error;
  }
}

export async function flush(file: string): Promise<void> {
  const handle = await open(file, 'r');
  try {
    await handle.sync();
  } finally {
    await handle.close();
  }
}
