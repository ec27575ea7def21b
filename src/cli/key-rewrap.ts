/**
 * `sello key rewrap NAME`: a list of ciphertexts, one JSON object per line, under the key's newest version. What else stands in a line
 * comes out again beside the new ciphertext, so that whoever made the list knows where each belongs. Run again after a stop, it goes on
 * behind the last whole line of its output.
 */
import { createReadStream } from 'node:fs';
import { open, type FileHandle } from 'node:fs/promises';
import { createInterface } from 'node:readline';
import type { Readable } from 'node:stream';
import type { AdminClient, RewrapRequest } from '../client/index.ts';
import { type CliCommand, child, examples } from './command.ts';
import { type ConnectOptions, connectOptions, withClient } from './connect.ts';
import { Failure, SaidAlready, failingWith, fileFailure } from './failure.ts';
import { pathOf, write, type Io } from './io.ts';

/** The server takes 1,000 at once. */
const batchSize = 500;
/** A line is a ciphertext, its context and what its maker wants back. */
const maxLineBytes = 1024 * 1024;

interface Options extends ConnectOptions {
  readonly output?: string;
}

interface Line {
  readonly number: number;
  readonly fields: Record<string, unknown> & { ciphertext: string; context?: string; face?: string };
}

export function keyRewrap(parent: CliCommand): void {
  const command = child(
    parent,
    'rewrap',
    "Put data keys under a key's newest version. None of them leaves the server",
  );
  command.argument('[ARGS...]').usage('[options] <NAME> [FILE]');
  connectOptions(command).option(
    '-o, --output <FILE>',
    'Write to a file, and go on where it ends when it is there',
  );
  examples(command, [
    [
      'Rewrap a list, one {"ciphertext":…,"context":…} per line',
      'key rewrap my-key list.jsonl -o rewrapped.jsonl',
    ],
    ['Rewrap from standard input to standard output', 'key rewrap my-key < list.jsonl'],
  ]);
  command.action(async (given: string[], options: Options) => {
    const { io } = command;
    command.checkArguments(given, ['no key name specified'], 2);
    const [name = '', file] = given;
    const sink = options.output === undefined ? undefined : await Sink.open(io, options.output);
    const counts = { rewrapped: 0, newest: 0, failed: 0 };
    try {
      await withClient(io, options, async ({ admin }) => {
        for await (const batch of batches(sourceOf(io, file), sink?.lines ?? 0)) {
          const text = await rewrapped(admin, name, batch, counts);
          if (sink === undefined) await write(io.stdout, text);
          else await sink.append(text);
        }
      });
    } finally {
      await sink?.close();
    }
    const skipped = sink === undefined || sink.lines === 0 ? '' : `, ${String(sink.lines)} done before`;
    await write(
      io.stderr,
      `${String(counts.rewrapped)} rewrapped, ${String(counts.newest)} newest already, ${String(counts.failed)} failed${skipped}\n`,
    );
    if (counts.failed > 0) throw new SaidAlready('some could not be rewrapped');
  });
}

async function rewrapped(
  admin: AdminClient,
  name: string,
  batch: readonly Line[],
  counts: { rewrapped: number; newest: number; failed: number },
): Promise<string> {
  const requests = batch.map(({ fields }): RewrapRequest => ({
    ciphertext: fields.ciphertext,
    context: fields.context,
    face: fields.face,
  }));
  const outcomes = await failingWith('failed to rewrap', admin.rewrap(name, requests));
  return batch
    .map(({ fields, number }, i) => {
      const outcome = outcomes[i]!;
      if ('error' in outcome) counts.failed++;
      else if (outcome.from === outcome.version) counts.newest++;
      else counts.rewrapped++;
      return `${JSON.stringify({ ...fields, ...outcome, line: number })}\n`;
    })
    .join('');
}

async function* batches(source: Readable, skip: number): AsyncGenerator<Line[]> {
  let batch: Line[] = [];
  let number = 0;
  for await (const text of createInterface({ input: source, crlfDelay: Infinity })) {
    number++;
    if (number <= skip) continue;
    batch.push({ number, fields: fieldsOf(text, number) });
    if (batch.length === batchSize) {
      yield batch;
      batch = [];
    }
  }
  if (number < skip)
    throw new Failure(
      `the output has ${String(skip)} lines, the list ${String(number)}: they do not belong together`,
    );
  if (batch.length > 0) yield batch;
}

function fieldsOf(text: string, number: number): Line['fields'] {
  const fail = (what: string): Failure => new Failure(`line ${String(number)}: ${what}`);
  if (text.length > maxLineBytes) throw fail(`more than ${String(maxLineBytes)} bytes`);
  let fields: unknown;
  try {
    fields = JSON.parse(text);
  } catch {
    throw fail('not JSON');
  }
  if (typeof fields !== 'object' || fields === null || Array.isArray(fields)) throw fail('not a JSON object');
  const line = fields as Line['fields'];
  if (typeof line.ciphertext !== 'string') throw fail("no 'ciphertext'");
  for (const field of ['context', 'face'] as const)
    if (line[field] !== undefined && typeof line[field] !== 'string') throw fail(`'${field}' is not a text`);
  return line;
}

function sourceOf(io: Io, file: string | undefined): Readable {
  if (file === undefined || file === '-') return io.stdin;
  const stream = createReadStream(pathOf(io, file));
  stream.once('error', () => undefined); // told by the loop that reads it
  return stream;
}

/** The output: whole lines alone count, and a torn last one is cut off. */
class Sink {
  readonly #handle: FileHandle;
  readonly lines: number;

  private constructor(handle: FileHandle, lines: number) {
    this.#handle = handle;
    this.lines = lines;
  }

  static async open(io: Io, file: string): Promise<Sink> {
    let handle: FileHandle | undefined;
    try {
      handle = await open(pathOf(io, file), 'a+', 0o600);
      let lines = 0;
      let end = 0;
      let at = 0;
      for await (const chunk of handle.createReadStream({ autoClose: false, start: 0 })) {
        const bytes = chunk as Buffer;
        for (let found = bytes.indexOf(0x0a); found !== -1; found = bytes.indexOf(0x0a, found + 1)) {
          lines++;
          end = at + found + 1;
        }
        at += bytes.length;
      }
      await handle.truncate(end);
      return new Sink(handle, lines);
    } catch (error) {
      await handle?.close();
      throw fileFailure(error, file);
    }
  }

  async append(text: string): Promise<void> {
    await this.#handle.appendFile(text);
  }

  async close(): Promise<void> {
    await this.#handle.sync();
    await this.#handle.close();
  }
}
