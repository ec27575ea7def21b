/** `sello inspect FILE`: what can be seen of a sealed file without any key. */
import { open as openFile } from 'node:fs/promises';
import { hasCode } from '../errors.ts';
import { inspect as inspectBytes, inspectedBytes, type Inspection } from '../sse/index.ts';
import { type CliCommand, child, examples } from './command.ts';
import { Failure, fileFailure } from './failure.ts';
import { pathOf, write, type Io } from './io.ts';
import { sizeText, styleOf } from './style.ts';

export function inspect(parent: CliCommand): void {
  const command = child(
    parent,
    'inspect',
    'Show the structure of a sealed file, envelope or manifest, without a key',
  );
  command.argument('[FILE...]').usage('[options] <FILE>');
  command.option('--json', 'Print JSON');
  examples(command, [['See what a file is', 'inspect backup.tar.sealed']]);
  command.action(async (given: string[], options: { json?: boolean }) => {
    command.checkArguments(given, ['no file specified']);
    const { io } = command;
    const { start, total } = await startOf(io, given[0]!);
    let found: Inspection;
    try {
      found = inspectBytes(start, total);
    } catch (error) {
      if (!hasCode(error, 'SELLO_OBJECT_FORMAT_UNKNOWN')) throw error;
      throw new Failure(`'${given[0]!}' is not sealed in a format of Sello`, { cause: error });
    }
    const facts = factsOf(found);
    if (options.json === true) {
      await write(
        io.stdout,
        `${JSON.stringify(Object.fromEntries(facts.map(({ name, value }) => [name, value])))}\n`,
      );
      return;
    }
    const style = styleOf(io);
    const width = Math.max(...facts.map(({ label }) => label.length));
    for (const { label, text, value } of facts)
      await write(io.stdout, `${style.label(label.padEnd(width))}  ${text ?? String(value)}\n`);
    await write(io.stderr, 'Nothing of this has been authenticated: that takes the key.\n');
  });
}

interface Fact {
  readonly name: string;
  readonly label: string;
  readonly value: string | number | boolean | null;
  readonly text?: string;
}

const fact = (name: string, label: string, value: Fact['value'], text?: string): Fact =>
  text === undefined ? { name, label, value } : { name, label, value, text };

function bytesFact(name: string, label: string, value: number): Fact {
  return fact(name, label, value, `${String(value)} (${sizeText(value)})`);
}

function factsOf({ envelope, envelopeBytes, stream, manifest }: Inspection): Fact[] {
  const facts: Fact[] = [];
  if (envelope !== undefined) {
    facts.push(
      bytesFact('envelope_bytes', 'Envelope', envelopeBytes),
      fact('encryption', 'Encryption', envelope.mode),
      fact('object_id', 'Object id', envelope.objectId.toString('hex')),
      fact(
        'binds_version',
        'Bound to a version',
        envelope.bindsVersion,
        envelope.bindsVersion ? 'yes' : 'no',
      ),
    );
    if (envelope.keyName !== '') facts.push(fact('key', 'Master key', envelope.keyName));
    if (envelope.isBucketKey) facts.push(fact('bucket_key', 'Data key', true, 'shared by its bucket'));
    if (envelope.context.length > 0)
      facts.push(fact('context', 'Context', envelope.context.toString('utf8')));
  }
  if (stream !== undefined) {
    const { plainBytes } = stream;
    facts.push(
      fact('format', 'Format', 'sello object 1'),
      fact('cipher', 'Cipher', stream.aead),
      bytesFact('segment_bytes', 'Segment size', stream.segmentBytes),
      fact('segments', 'Segments', stream.segments),
      ...(stream.part === 0 ? [] : [fact('part', 'Part', stream.part)]),
      bytesFact('sealed_bytes', 'Sealed bytes', stream.sealedBytes),
      plainBytes === undefined
        ? fact('plain_bytes', 'Plaintext bytes', null, 'none: the file is cut or has something behind it')
        : bytesFact('plain_bytes', 'Plaintext bytes', plainBytes),
      fact('commitment', 'Key commitment', stream.commitment.toString('hex')),
    );
  }
  if (manifest !== undefined) {
    facts.push(
      fact('format', 'Format', 'sello manifest 1'),
      fact('object_id', 'Object id', manifest.objectId.toString('hex')),
      fact('parts', 'Parts', manifest.parts.length),
      bytesFact('sealed_bytes', 'Sealed bytes of all parts', manifest.sealedBytes),
      bytesFact('plain_bytes', 'Plaintext bytes', manifest.length),
    );
  }
  return facts;
}

async function startOf(io: Io, file: string): Promise<{ start: Buffer; total: number }> {
  try {
    await using handle = await openFile(pathOf(io, file));
    const { size } = await handle.stat();
    const start = Buffer.alloc(Math.min(size, inspectedBytes));
    await handle.read(start, 0, start.length, 0);
    return { start, total: size };
  } catch (error) {
    throw fileFailure(error, file);
  }
}
