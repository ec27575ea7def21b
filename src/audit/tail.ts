/** The end of a file of lines that is being written. */
import { open } from 'node:fs/promises';
import { maxReadLineBytes } from './segment.ts';

export interface Tail {
  /** Bytes up to the last newline, that one included. */
  readonly end: number;
  /** The last whole line, newline excluded; undefined when there is none, or none of a sensible length. */
  readonly line: Buffer | undefined;
}

/** @throws when the file cannot be read */
export async function tailOf(file: string): Promise<Tail> {
  const handle = await open(file);
  try {
    const { size } = await handle.stat();
    const start = Math.max(0, size - 2 * maxReadLineBytes);
    const bytes = Buffer.alloc(size - start);
    const { bytesRead } = await handle.read(bytes, 0, bytes.length, start);
    const text = bytes.subarray(0, bytesRead);
    const last = text.lastIndexOf(0x0a);
    if (last === -1) return { end: start === 0 ? 0 : size, line: undefined };
    const before = last === 0 ? -1 : text.lastIndexOf(0x0a, last - 1);
    const isWhole = before !== -1 || start === 0;
    return { end: start + last + 1, line: isWhole ? text.subarray(before + 1, last) : undefined };
  } finally {
    await handle.close();
  }
}
