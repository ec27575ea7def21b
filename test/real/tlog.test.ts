/** Checkpoints and proofs of an audit trail, judged by transparency log libraries of other authors. */
import { execFile } from 'node:child_process';
import fs from 'node:fs';
import path from 'node:path';
import { promisify } from 'node:util';
import t from 'tap';
import { formatProof, proveRecord } from '../../src/audit/proof.ts';
import { checkpointsName, readDescription } from '../../src/audit/segment.ts';
import { makeTrail, writeCalls } from '../audit/trail-fixture.ts';
import { needTools } from './tools.ts';

const run = promisify(execFile);

t.test(
  'Go’s sumdb and transparency-dev accept our checkpoints and proofs, and refuse altered ones',
  { timeout: 120_000 },
  async (t) => {
    const tools = await needTools(t, 'tlog');
    if (tools === undefined) return;
    const directory = t.testdir();
    const made = makeTrail(path.join(directory, 'acme'), { segmentBytes: 200_000 });
    for (const size of [1, 2, 3, 7, 64, 1_000, 1_001]) await writeCalls(made, size);
    made.target.close();
    const { key } = (await readDescription(made.folder))!;
    const tlog = (...args: string[]): Promise<{ stdout: string }> => run(tools.tlog, args);

    const checkpoints = path.join(made.folder, checkpointsName(0));
    const { stdout } = await tlog('checkpoint', key, checkpoints);
    t.match(stdout.split('\n')[0], new RegExp(`^${made.origin} 1 `));
    t.ok(stdout.split('\n').length > 5, 'every one in the file');

    const file = (name: string, text: string | Buffer): string => {
      fs.writeFileSync(path.join(directory, name), text);
      return path.join(directory, name);
    };
    for (const index of [0, 1, 2, 6, 63, 511, 512, 999, 1_000]) {
      const { line, proof } = await proveRecord(made.folder, index);
      const proofFile = file('proof', formatProof(proof));
      const { stdout: proved } = await tlog('proof', key, proofFile, file('record', line));
      t.match(proved, `record ${index} is in ${made.origin}, 1001 records`);
      const other = Buffer.from(line.toString('latin1').replace('"r', '"s'), 'latin1');
      await t.rejects(
        tlog('proof', key, proofFile, file('other', other)),
        /mismatch|calculated root|invalid|failed/i,
      );
      const wrong = formatProof({ ...proof, index: index === 0 ? 1 : 0 });
      await t.rejects(tlog('proof', key, file('wrong', wrong), file('record', line)));
    }
    const forged = fs.readFileSync(checkpoints, 'utf8').replace('\n64\n', '\n65\n');
    await t.rejects(tlog('checkpoint', key, file('forged', forged)), /signature/);
  },
);
