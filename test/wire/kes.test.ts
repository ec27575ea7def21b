/** Every recorded exchange of a running KES is answered alike, or by a named row of docs/kes-compatibility.md. */
import { readdirSync, readFileSync } from 'node:fs';
import path from 'node:path';
import t from 'tap';
import { readRecording, replay } from './replay.ts';

const folder = path.join(import.meta.dirname, 'kes');
const page = readFileSync(path.join(import.meta.dirname, '../../docs/kes-compatibility.md'), 'utf8');

/** The rows of the page's tables: the recordings a difference covers stand in the first column, as `group/001`, `group/001-009` or `group/*`. */
const rows = [...page.matchAll(/^\|([^|]*`[a-z0-9.-]+\/[^|]*)\|([^|]*)\|/gm)].map((row) => ({
  covers: [...row[1]!.matchAll(/`([^`]+)`/g)].map((match) => match[1]!),
  used: false,
}));

function isCovered(pattern: string, id: string): boolean {
  const [group, numbers] = pattern.split('/');
  const [ofGroup, number] = id.split('/');
  if (group !== ofGroup) return false;
  if (numbers === '*') return true;
  const [from, to] = numbers!.split('-');
  return Number(number) >= Number(from) && Number(number) <= Number(to ?? from);
}

for (const file of readdirSync(folder).filter((name) => name.endsWith('.json'))) {
  t.test(`answers ${file} as KES did`, async (t) => {
    const recording = readRecording(path.join(folder, file));
    const differences = await replay(recording);
    t.ok(recording.exchanges.length > 4, 'the recording holds exchanges');
    for (const { id, what } of differences) {
      const row = rows.find((candidate) => candidate.covers.some((pattern) => isCovered(pattern, id)));
      if (row === undefined) t.fail(`${id}: ${what}`);
      else row.used = true;
    }
  });
}

t.test('no row of the compatibility page is stale', async (t) => {
  for (const row of rows) t.ok(row.used, `${row.covers.join(', ')} still differs`);
});
