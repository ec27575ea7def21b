/** `sello open FILE` */
import { Transform, type TransformCallback } from 'node:stream';
import { hasCode } from '../errors.ts';
import { envelopeLength, envelopePrefixBytes, type ByteSpan } from '../formats/index.ts';
import { open as openObject, type Engine, type Placed } from '../sse/index.ts';
import { type CliCommand, child, examples } from './command.ts';
import { Failure, failingWith } from './failure.ts';
import { inputOf, moveTo, sealedFileOptions, withPlaced, type SealOptions } from './sealed-file.ts';
import { rangeForm, rangeInputOf } from './sealed-range.ts';

interface OpenOptions extends SealOptions {
  readonly range?: string;
}

export function open(parent: CliCommand): void {
  const command = child(parent, 'open', 'Open a sealed file');
  command.argument('[FILE...]').usage('[options] <FILE>');
  sealedFileOptions(command)
    .option(
      '--range <A-B>',
      'Only these bytes of the plaintext: A-B (both included), A-, or -N for the last N',
    )
    .option(
      '-o, --output <FILE>',
      'Where to write; FILE without .sealed unless said otherwise, - for standard output',
    );
  examples(command, [
    ['Open a file; the server is asked for its data key', 'open backup.tar.sealed'],
    ['Show its last KiB; the rest is not read', 'open --range -1024 backup.tar.sealed'],
    ['Open it with a key of your own', 'open --key-file secret.key backup.sealed -o -'],
  ]);
  command.action(async (given: string[], options: OpenOptions) => {
    command.checkArguments(given, ['no file specified']);
    const file = given[0]!;
    const { range } = options;
    if (range !== undefined && !rangeForm.test(range)) throw command.misuse('--range is A-B, A- or -N');
    if (range !== undefined && file === '-')
      throw command.misuse('--range needs a file: a pipe has no places');
    const output = options.output ?? (range === undefined ? outputOf(command, file) : '-');
    try {
      const { input, span } =
        range === undefined
          ? { input: await inputOf(command.io, file), span: undefined }
          : await rangeInputOf(command.io, file, range);
      await withPlaced(command, options, (placed) =>
        moveTo(command, input, [new FileOpener(placed, span)], { ...options, output }),
      );
    } catch (error) {
      throw explained(error, file);
    }
  });
}

function outputOf(command: CliCommand, file: string): string {
  if (file === '-') return '-';
  if (file.endsWith('.sealed') && file.length > '.sealed'.length) return file.slice(0, -'.sealed'.length);
  throw command.misuse('--output is needed for a file whose name does not end in .sealed');
}

function explained(error: unknown, file: string): unknown {
  if (hasCode(error, 'SELLO_OBJECT_FORMAT_UNKNOWN'))
    return new Failure(`'${file}' is not a sealed file`, {
      hint: "'sello inspect FILE' shows what a file is.",
      cause: error,
    });
  if (hasCode(error, 'SELLO_OBJECT_NOT_AUTHENTIC')) {
    return new Failure(
      `'${file}' does not open: it is damaged or incomplete, or sealed under another key or for another place`,
      {
        hint: 'What --tenant, --bucket and --object said when it was sealed must be said again.',
        cause: error,
      },
    );
  }
  return error;
}

/** Reads the envelope in front, opens it, and then the stream behind it. */
class FileOpener extends Transform {
  readonly #placed: Placed;
  readonly #span: ByteSpan | undefined;
  #start: Buffer = Buffer.alloc(0);
  #engine: Engine | undefined;

  /** @param span for a range: envelope and header are followed by its segments alone */
  constructor(placed: Placed, span: ByteSpan | undefined) {
    super();
    this.#span = span;
    this.#placed = placed;
  }

  override _transform(chunk: Buffer, _encoding: BufferEncoding, done: TransformCallback): void {
    void this.#take(chunk).then(() => done(), done);
  }

  override _flush(done: TransformCallback): void {
    const out: Buffer[] = [];
    try {
      if (this.#engine === undefined) envelopeOf(this.#start, true);
      this.#engine!.final(out);
    } catch (error) {
      done(error as Error);
      return;
    }
    for (const piece of out) this.push(piece);
    done();
  }

  override _destroy(error: Error | null, done: (error: Error | null) => void): void {
    this.#engine?.wipe();
    done(error);
  }

  async #take(chunk: Buffer): Promise<void> {
    let rest = chunk;
    if (this.#engine === undefined) {
      this.#start = Buffer.concat([this.#start, chunk]);
      const length = envelopeOf(this.#start, false);
      if (length === undefined) return;
      const opening = openObject(this.#start.subarray(0, length), this.#placed);
      using object = await failingWith('failed to open', opening.catch(unlessOurs));
      this.#engine = (this.#span === undefined ? object.open() : object.openRange(this.#span)).engine;
      rest = this.#start.subarray(length);
    }
    const out: Buffer[] = [];
    this.#engine.update(rest, out);
    for (const piece of out) this.push(piece);
  }
}

/** Errors of the format have an explanation of their own. */
function unlessOurs(error: unknown): never {
  if (hasCode(error, 'SELLO_OBJECT_NOT_AUTHENTIC') || hasCode(error, 'SELLO_OBJECT_FORMAT_UNKNOWN'))
    throw new Failure('the file is damaged, or sealed under another key or for another place', {
      cause: error,
    });
  throw error;
}

/** Length of the envelope once it is all there. */
function envelopeOf(start: Buffer, isAll: boolean): number | undefined {
  const length = start.length < envelopePrefixBytes ? undefined : envelopeLength(start);
  if (
    (start.length >= envelopePrefixBytes && length === undefined) ||
    (isAll && start.length < (length ?? Infinity))
  )
    throw new Failure('not a sealed file', { hint: "'sello inspect FILE' shows what a file is." });
  return length !== undefined && start.length >= length ? length : undefined;
}
