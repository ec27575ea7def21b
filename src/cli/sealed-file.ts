/** What `seal` and `open` share: where the key comes from, where the file belongs, and how its bytes get from here to there. */
import { createReadStream, createWriteStream } from 'node:fs';
import { readFile, rename, rm, stat } from 'node:fs/promises';
import { Transform, type Readable, type Writable } from 'node:stream';
import { pipeline } from 'node:stream/promises';
import { decodeBase64, secretCopy, wipe } from '../crypto/index.ts';
import { clientDataKeys, type Placed } from '../sse/index.ts';
import type { CliCommand } from './command.ts';
import { connect, connectOptions, type ConnectOptions } from './connect.ts';
import { Failure, fileFailure } from './failure.ts';
import { pathOf, type Io } from './io.ts';
import { Progress } from './progress.ts';

export interface SealOptions extends ConnectOptions {
  readonly output?: string;
  readonly key?: string;
  readonly keyFile?: string;
  readonly tenant: string;
  readonly bucket: string;
  readonly object: string;
  readonly force?: boolean;
}

export function sealedFileOptions(command: CliCommand): CliCommand {
  return connectOptions(command)
    .option('--key-file <FILE>', 'A key of your own in place of a server: 32 bytes, or their base64')
    .option('--tenant <NAME>', 'Tenant the file is bound to', 'local')
    .option('--bucket <NAME>', 'Bucket the file is bound to', 'files')
    .option('--object <NAME>', 'Object the file is bound to; not its file name, which may change', 'file')
    .option('--force', 'Replace the output file') as CliCommand;
}

/** Runs `work` with the key that the options name; it is wiped, and the server left, afterwards. */
export async function withPlaced<T>(
  command: CliCommand,
  options: SealOptions,
  work: (placed: Placed) => Promise<T>,
): Promise<T> {
  const { tenant, bucket, object, keyFile, key: keyName } = options;
  const place = { tenant, bucket, object };
  if (keyFile !== undefined) {
    const key = await keyOfFile(command.io, keyFile);
    try {
      return await work({ place, protection: { mode: 'held', key } });
    } finally {
      wipe(key);
    }
  }
  const client = await connect(command.io, options);
  try {
    return await work({ place, protection: { mode: 'sse-s3', keys: clientDataKeys(client), keyName } });
  } finally {
    client.close();
  }
}

/** 32 bytes, or their base64. The caller wipes them. */
export async function keyOfFile(io: Io, file: string): Promise<Buffer> {
  let bytes: Buffer;
  try {
    bytes = await readFile(pathOf(io, file));
  } catch (error) {
    throw fileFailure(error, file, 'reading key file');
  }
  const key = bytes.length === 32 ? secretCopy(bytes) : decodeBase64(bytes);
  wipe(bytes);
  if (key?.length === 32) return key;
  wipe(key);
  throw new Failure(`key file '${file}' is not a key: 32 bytes, or their base64, are`);
}

export interface Input {
  readonly stream: Readable;
  /** undefined for standard input. */
  readonly bytes: number | undefined;
  readonly name: string;
}

/** Reads by pieces that fit a segment: fewer calls, no copies. */
export const readBytes = 131_072;

export async function inputOf(io: Io, file: string): Promise<Input> {
  if (file === '-') return { stream: io.stdin, bytes: undefined, name: 'standard input' };
  try {
    const facts = await stat(pathOf(io, file));
    if (facts.isDirectory()) throw new Failure(`open ${file}: is a directory`);
    return {
      stream: createReadStream(pathOf(io, file), { highWaterMark: readBytes }),
      bytes: facts.size,
      name: file,
    };
  } catch (error) {
    throw error instanceof Failure ? error : fileFailure(error, file);
  }
}

/**
 * Moves `input` through `transforms` to the output file, which appears under its name once all of it is there. To standard output,
 * bytes go as they come: the exit code says whether they were all.
 */
export async function moveTo(
  command: CliCommand,
  input: Input,
  transforms: readonly Transform[],
  { output, force }: SealOptions,
): Promise<void> {
  const { io } = command;
  using progress = new Progress(io, input.name, input.bytes);
  const counter = new Transform({
    transform(chunk: Buffer, _encoding, done) {
      progress.add(chunk.length);
      done(null, chunk);
    },
  });
  if (output === undefined || output === '-') {
    await pipeline([input.stream, counter, ...transforms, kept(io.stdout)], { signal: io.signal });
    return;
  }
  const target = pathOf(io, output);
  if (force !== true && (await exists(target))) {
    input.stream.destroy();
    throw new Failure(`file '${output}' exists`, {
      hint: 'Name another with --output, or replace it with --force.',
    });
  }
  const partial = `${target}.partial-${String(process.pid)}`;
  try {
    const file = createWriteStream(partial, { flags: 'wx', mode: 0o600, flush: true });
    await pipeline([input.stream, counter, ...transforms, file], { signal: io.signal });
    await rename(partial, target);
  } catch (error) {
    await rm(partial, { force: true });
    throw isFileError(error) ? fileFailure(error, output) : error;
  }
}

/** Standard output is not ours to end. */
function kept(stdout: Writable): Transform {
  const pass = new Transform({
    transform(chunk: Buffer, _encoding, done) {
      stdout.write(chunk, (error) => done(error ?? null));
    },
  });
  pass.resume();
  return pass;
}

async function exists(file: string): Promise<boolean> {
  return stat(file).then(
    () => true,
    () => false,
  );
}

function isFileError(error: unknown): boolean {
  return error instanceof Error && 'syscall' in error;
}

/** Sends `first` before everything else: an envelope in front of its stream. */
export function inFront(first: Buffer): Transform {
  const transform = new Transform({
    transform(chunk: Buffer, _encoding, done) {
      done(null, chunk);
    },
  });
  transform.push(first);
  return transform;
}
