/** `sello audit prove` and `check-proof`: one record is in a signed log, shown to somebody who has neither log nor server. */
import { readFile, writeFile } from 'node:fs/promises';
import { checkpointOf, failingOnFiles, keyOf, streamOf, textOf } from './audit-files.ts';
import { type CliCommand, child, examples } from './command.ts';
import { Failure, fileFailure } from './failure.ts';
import { pathOf, write } from './io.ts';

interface ProveOptions {
  readonly stream?: string;
  readonly checkpoint?: string;
  readonly record?: string;
}

export function auditProve(parent: CliCommand): void {
  const command = child(parent, 'prove', 'Prove that a record is in the log (C2SP tlog-proof)');
  command.argument('[ARGUMENT...]').usage('[options] <DIR> <INDEX>');
  command
    .option('--stream <NAME>', 'The stream, when the trail has several')
    .option('--checkpoint <FILE>', 'Prove by this checkpoint, not by the latest one in the folder')
    .option('--record <FILE>', "Write the record's line there");
  examples(command, [
    ['A proof and its record', 'audit prove /var/log/sello/acme 1234 --record r.json > r.tlog-proof'],
  ]);
  command.action(async (given: string[], options: ProveOptions) => {
    const { io } = command;
    command.checkArguments(given, ['no folder specified', 'no record number specified']);
    const [trail = '', indexText = ''] = given;
    if (!/^(?:0|[1-9][0-9]{0,15})$/.test(indexText))
      throw command.misuse(`invalid record number '${indexText}'`);
    const folder = await streamOf(io, trail, options.stream);
    const checkpoint =
      options.checkpoint === undefined ? undefined : await checkpointOf(io, options.checkpoint);
    const { formatProof, proveRecord } = await import('../audit/index.ts');
    const { line, proof } = await failingOnFiles(trail, () =>
      proveRecord(folder, Number(indexText), checkpoint),
    );
    const file = options.record;
    if (file !== undefined)
      await writeFile(pathOf(io, file), Buffer.concat([line, Buffer.from('\n')])).catch((error: unknown) => {
        throw fileFailure(error, file);
      });
    await write(io.stdout, formatProof(proof));
  });
}

interface CheckOptions {
  readonly key?: string;
}

export function auditCheckProof(parent: CliCommand): void {
  const command = child(parent, 'check-proof', 'Check a proof of a record');
  command.argument('[ARGUMENT...]').usage('--key <KEY> <PROOF> <RECORD>');
  command.option('--key <KEY>', "The stream's public key, or a file with it");
  examples(command, [
    ['Is this record in the log?', 'audit check-proof --key acme.vkey r.tlog-proof r.json'],
  ]);
  command.action(async (given: string[], options: CheckOptions) => {
    const { io } = command;
    command.checkArguments(given, ['no proof specified', 'no record specified']);
    const [proofFile = '', recordFile = ''] = given;
    if (options.key === undefined) throw command.misuse("no public key. Use '--key'");
    const key = await keyOf(io, options.key);
    const { checkProof, noteKeyNamed, parseProof } = await import('../audit/index.ts');
    const proof = parseProof(await textOf(io, proofFile));
    if (proof === undefined) throw new Failure(`${proofFile} is no proof`);
    const record = await readFile(pathOf(io, recordFile)).catch((error: unknown) => {
      throw fileFailure(error, recordFile);
    });
    const line = record.at(-1) === 0x0a ? record.subarray(0, -1) : record;
    // One signing key serves several streams, each under a name of its own.
    const wrong = checkProof(line, proof, noteKeyNamed(key, proof.checkpoint.origin));
    if (wrong !== undefined) throw new Failure(`not proved: ${wrong}`);
    const { origin, size } = proof.checkpoint;
    await write(
      io.stdout,
      `Proved: record ${String(proof.index)} of ${origin}, in a tree of ${String(size)}\n`,
    );
  });
}
