/** Secrets on standard output: written as bytes, wiped once the stream has taken them. */
import { encodeBase64 } from '../crypto/index.ts';
import { type Io, write } from './io.ts';

/** `{"name":"base64",…}` and `end`. */
export async function printSecretFields(
  io: Io,
  fields: Readonly<Record<string, Uint8Array>>,
  end: string,
): Promise<void> {
  const parts: Buffer[] = [];
  for (const [name, bytes] of Object.entries(fields)) {
    parts.push(Buffer.from(`${parts.length === 0 ? '{' : '",'}"${name}":"`), encodeBase64(bytes));
  }
  parts.push(Buffer.from(`"}${end}`));
  const line = Buffer.allocUnsafeSlow(parts.reduce((sum, part) => sum + part.length, 0));
  let at = 0;
  for (const part of parts) {
    at += part.copy(line, at);
    part.fill(0);
  }
  try {
    await write(io.stdout, line);
  } finally {
    line.fill(0);
  }
}
