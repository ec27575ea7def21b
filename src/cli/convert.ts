/** `sello convert FOLDER...`: an object from MinIO's drives as a sealed file. */
import { stat } from 'node:fs/promises';
import { Readable } from 'node:stream';
import { wipe } from '../crypto/index.ts';
import { hasCode } from '../errors.ts';
import {
  clientDataKeys,
  minioPlaintext,
  readMinioObject,
  seal as sealObject,
  type MinioKeySource,
  type MinioObject,
  type Protection,
} from '../sse/index.ts';
import { type CliCommand, child, examples } from './command.ts';
import { connect, connectOptions, type ConnectOptions } from './connect.ts';
import { Failure, failingWith, fileFailure } from './failure.ts';
import { pathOf, type Io } from './io.ts';
import { inFront, keyOfFile, moveTo } from './sealed-file.ts';

interface Options extends ConnectOptions {
  readonly output?: string;
  readonly key?: string;
  readonly keyFile?: string;
  readonly customerKeyFile?: string;
  readonly versionId?: string;
  readonly tenant: string;
  readonly bucket?: string;
  readonly object?: string;
  readonly force?: boolean;
}

export function convert(parent: CliCommand): void {
  const command = child(
    parent,
    'convert',
    'Seal an object anew that MinIO stored encrypted, from its folder on each drive',
  );
  command.argument('[FOLDER...]').usage('[options] <FOLDER>...');
  connectOptions(command)
    .option('--bucket <NAME>', 'Bucket of the object, as MinIO has it; needed')
    .option('--object <NAME>', 'Name of the object, as MinIO has it; needed')
    .option('--version-id <ID>', 'A version; the newest unless said otherwise')
    .option('--customer-key-file <FILE>', 'For SSE-C: the customer’s key, 32 bytes or their base64')
    .option('--key <NAME>', 'Master key to seal under; the one MinIO used unless said otherwise')
    .option('--key-file <FILE>', 'A key of your own to seal under, in place of a master key')
    .option('--tenant <NAME>', 'Tenant the sealed file is bound to', 'local')
    .option(
      '-o, --output <FILE>',
      'Where to write; OBJECT.sealed unless said otherwise, - for standard output',
    )
    .option('--force', 'Replace the output file');
  examples(command, [
    ['Take an object over', 'convert --bucket photos --object 2024/cat.jpg /data/photos/2024/cat.jpg'],
    [
      'From a server of four drives',
      'convert --bucket photos --object cat.jpg /data1/photos/cat.jpg /data2/photos/cat.jpg /data3/photos/cat.jpg',
    ],
  ]);
  command.action(async (given: string[], options: Options) => {
    command.checkArguments(given, ['no folder specified'], maxDrives);
    const { bucket, object } = options;
    if (bucket === undefined || object === undefined)
      throw command.misuse('--bucket and --object are needed');
    const { io } = command;
    const stored = await objectOf(io, given, options.versionId);
    const customerKey =
      options.customerKeyFile === undefined ? undefined : await keyOfFile(io, options.customerKeyFile);
    const ownKey = options.keyFile === undefined ? undefined : await keyOfFile(io, options.keyFile);
    const { encryption } = stored;
    const keyName = options.key ?? encryption?.keyName;
    if (ownKey === undefined && keyName === undefined)
      throw command.misuse('the object names no master key: --key or --key-file is needed');
    if (encryption?.mode === 'SSE-C' && customerKey === undefined)
      throw command.misuse('the object is SSE-C: --customer-key-file is needed');
    const needsServer = ownKey === undefined || (encryption !== undefined && encryption.mode !== 'SSE-C');
    const client = needsServer ? await connect(io, options) : undefined;
    try {
      const keys = client === undefined ? undefined : clientDataKeys(client);
      const source: MinioKeySource | undefined =
        encryption === undefined
          ? undefined
          : encryption.mode === 'SSE-C'
            ? { customerKey: customerKey! }
            : { keys: keys! };
      const protection: Protection =
        ownKey === undefined ? { mode: 'sse-s3', keys: keys!, keyName } : { mode: 'held', key: ownKey };
      const place = { tenant: options.tenant, bucket, object };
      using target = await failingWith('failed to seal', sealObject({ place, protection }));
      const input = {
        stream: Readable.from(minioPlaintext(stored, { bucket, object }, source), {
          objectMode: false,
        }),
        bytes: stored.plainBytes,
        name: object,
      };
      const output = options.output ?? `${object.split('/').at(-1)!}.sealed`;
      await moveTo(command, input, [target.seal().node(), inFront(target.envelope)], {
        ...options,
        output,
        bucket,
        object,
      });
    } catch (error) {
      throw explained(error, given[0]!);
    } finally {
      wipe(customerKey, ownKey);
      client?.close();
    }
  });
}

/** What MinIO takes at most for one object. */
const maxDrives = 16;

async function objectOf(
  io: Io,
  given: readonly string[],
  versionId: string | undefined,
): Promise<MinioObject> {
  const folders: string[] = [];
  let missing: unknown;
  for (const named of given) {
    const facts = await stat(pathOf(io, named)).catch(
      (error: unknown) => void (missing ??= fileFailure(error, named)),
    );
    if (facts === undefined) continue; // One drive of several may have lost it.
    if (!facts.isDirectory()) throw new Failure(`'${named}' is no folder`, { hint: folderHint });
    folders.push(pathOf(io, named));
  }
  if (folders.length === 0) throw missing;
  try {
    return await readMinioObject(folders, versionId);
  } catch (error) {
    if (error instanceof Error && 'syscall' in error)
      throw new Failure(`'${given[0]!}' has no xl.meta`, { hint: folderHint, cause: error });
    throw explained(error, given[0]!);
  }
}

const folderHint =
  "Name an object's folder on each of MinIO's drives: DRIVE/BUCKET/OBJECT, with xl.meta in it.";

function explained(error: unknown, named: string): unknown {
  if (hasCode(error, 'SELLO_OBJECT_FORMAT_UNKNOWN'))
    return new Failure(`'${named}' cannot be read as an object of MinIO: ${error.detail ?? error.message}`, {
      cause: error,
    });
  if (hasCode(error, 'SELLO_OBJECT_NOT_AUTHENTIC')) {
    return new Failure(
      `'${named}' does not open: ${error.detail ?? 'it is damaged, or of another bucket, object or key'}`,
      {
        hint: 'Bucket and object must be named as MinIO names them.',
        cause: error,
      },
    );
  }
  return error;
}
