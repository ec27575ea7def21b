/** `sello audit verify`: says whether anything of a trail is missing or changed, and where. */
import type { Checkpoint, NoteKey, StreamReport, TrailReport } from '../audit/index.ts';
import { anchorsOf, checkpointOf, failingOnFiles, keyOf } from './audit-files.ts';
import { type CliCommand, child, examples } from './command.ts';
import { SaidAlready, exitCodes } from './failure.ts';
import { parseGoDuration } from './go-duration.ts';
import { pathOf, write } from './io.ts';
import { type ColorChoice, type Style, colorOption, styleOf } from './style.ts';

interface Options {
  readonly anchor?: string;
  readonly checkpoint?: readonly string[];
  readonly key?: string;
  readonly clockTolerance?: string;
  readonly json?: boolean;
  readonly color: ColorChoice;
}

export function auditVerify(parent: CliCommand): void {
  const command = child(parent, 'verify', 'Say whether anything of an audit trail is missing or changed');
  command.argument('[DIR...]').usage('[options] <DIR>...');
  colorOption(command)
    .option('--anchor <FILE>', "Anchors of the tenant's keystore ('sello audit anchor')")
    .option('--checkpoint <FILE...>', 'Checkpoints that were kept elsewhere')
    .option('--key <KEY>', "The streams' public key, or a file with it")
    .option('--clock-tolerance <DURATION>', 'How far the clock may have moved', '60s')
    .option('--json', 'Print the result as JSON')
    .addHelpText(
      'after',
      `
Several folders are judged together: the trails of all nodes that wrote, collected in one place. A stream that an
anchor knows and none of them has is named as missing.

Exit status:
  0  every stream is complete up to its anchor or kept checkpoint, and unchanged
  1  something is missing, changed or out of order; the first such record of each stream is named
  3  the streams fit together, and nothing given says that none was cut off or written anew`,
    );
  examples(command, [
    ['Against what the keystore knows', 'audit verify /var/log/sello/acme --anchor acme.anchors'],
    ['Of all nodes', 'audit verify node-1/acme node-2/acme --anchor acme.anchors'],
  ]);
  command.action(async (given: string[], options: Options) => {
    const { io } = command;
    command.checkArguments(given, ['no folder specified'], Infinity);
    const toleranceMs = parseGoDuration(options.clockTolerance ?? '60s');
    if (toleranceMs === undefined) throw command.misuse(`invalid duration '${options.clockTolerance ?? ''}'`);
    const anchors = options.anchor === undefined ? undefined : await anchorsOf(io, options.anchor);
    const checkpoints: Checkpoint[] = [];
    for (const file of options.checkpoint ?? []) checkpoints.push(await checkpointOf(io, file));
    const key: NoteKey | undefined = options.key === undefined ? undefined : await keyOf(io, options.key);
    const { verifyTrail } = await import('../audit/index.ts');
    const report = await failingOnFiles(given.join(' '), () =>
      verifyTrail(
        given.map((trail) => pathOf(io, trail)),
        { anchors, checkpoints, key, clockToleranceMs: toleranceMs, signal: io.signal },
      ),
    );
    const style = styleOf(io, options.color);
    await write(io.stdout, options.json === true ? `${JSON.stringify(report)}\n` : textOf(report, style));
    if (report.verdict === 'wrong') throw new SaidAlready(report.verdict);
    if (report.verdict === 'unattested') throw new SaidAlready(report.verdict, exitCodes.unattested);
  });
}

function textOf(report: TrailReport, style: Style): string {
  const lines = report.streams.flatMap((stream) => streamText(stream, style));
  for (const { text } of report.findings) lines.push(`${style.bad('WRONG')}  ${text}`);
  const verdicts = {
    verified: style.good('Verified: no record is missing or changed.'),
    unattested:
      'The streams fit together. Without an anchor or a kept checkpoint, later removal is not excluded.',
    wrong: style.bad('Not in order.'),
  };
  return `${lines.join('\n')}\n${verdicts[report.verdict]}\n`;
}

function streamText(stream: StreamReport, style: Style): string[] {
  const { tenant, node, records, attested, findings, notices, firstTime, lastTime } = stream;
  const whose = `${tenant ?? 'server'}${node === undefined ? '' : ` on ${node}`}`;
  const span = firstTime === undefined ? '' : `, ${firstTime} to ${lastTime ?? ''}`;
  const lines = [`${style.name(stream.stream)}  ${whose}${span}`];
  for (const { text } of findings) lines.push(`  ${style.bad('WRONG')}  ${text}`);
  if (findings.length > 0)
    lines.push(
      `  ${records === 0 ? 'no record' : `records 0 to ${String(records - 1)}`} before that follow on each other`,
    );
  else if (records === 0) lines.push('  no records');
  else if (attested === undefined)
    lines.push(`  complete to record ${String(records - 1)}; later removal not excluded`);
  else lines.push(`  ${style.good('ok')}  ${String(records)} records, ${String(attested)} of them attested`);
  for (const notice of notices) lines.push(`  note: ${notice}`);
  return lines;
}
