/** `sello audit search`: the records of a trail that fit, as they are found. */
import type { SearchFilter } from '../audit/index.ts';
import { failingOnFiles } from './audit-files.ts';
import { type CliCommand, child, examples } from './command.ts';
import { parseGoDuration } from './go-duration.ts';
import { pathOf, write } from './io.ts';
import { type ColorChoice, type Style, colorOption, dateText, styleOf } from './style.ts';

interface Options {
  readonly since?: string;
  readonly until?: string;
  readonly tenant?: string;
  readonly key?: string;
  readonly object?: string;
  readonly identity?: string;
  readonly outcome?: string;
  readonly json?: boolean;
  readonly color: ColorChoice;
}

export function auditSearch(parent: CliCommand): void {
  const command = child(parent, 'search', 'Find records of an audit trail');
  command.argument('[DIR...]').usage('[options] <DIR>');
  colorOption(command)
    .option('--since <TIME>', 'From this time on: RFC 3339, or how long ago, such as 48h')
    .option('--until <TIME>', 'Before this time')
    .option('--tenant <NAME>', 'Of this tenant')
    .option('--key <NAME>', 'With this key')
    .option('--object <NAME>', 'BUCKET or BUCKET/OBJECT, with * at the end for all that begin so')
    .option('--identity <ID>', 'By this identity, or one that begins so')
    .option('--outcome <OUTCOME>', 'success, failure or unknown')
    .option('--json', 'Print the records as they are (the default when not on a terminal)');
  examples(command, [
    ['Refused calls of the last day', 'audit search /var/log/sello/acme --outcome failure --since 24h'],
    ['Everything done with an object', "audit search /var/log/sello/acme --object 'photos/2026/*'"],
  ]);
  command.action(async (given: string[], options: Options) => {
    const { io } = command;
    command.checkArguments(given, ['no folder specified']);
    const trail = given[0]!;
    const { tenant, key, object, identity, outcome } = options;
    if (outcome !== undefined && !['success', 'failure', 'unknown'].includes(outcome))
      throw command.misuse(`invalid outcome '${outcome}'`);
    const filter: SearchFilter = {
      sinceMs: timeOf(command, options.since),
      untilMs: timeOf(command, options.until),
      tenant,
      key,
      object,
      identity,
      outcome,
    };
    const json = options.json === true || io.stdout.isTTY !== true;
    const style = styleOf(io, options.color);
    const { searchTrail } = await import('../audit/index.ts');
    await failingOnFiles(trail, async () => {
      for await (const line of searchTrail(pathOf(io, trail), filter, io.signal)) {
        const text = line.toString('latin1');
        await write(io.stdout, `${json ? text : textOf(text, style)}\n`);
      }
    });
  });
}

function timeOf(command: CliCommand, text: string | undefined): number | undefined {
  if (text === undefined) return undefined;
  const agoMs = parseGoDuration(text);
  if (agoMs !== undefined) return Date.now() - agoMs;
  const timeMs = /^\d{4}-\d\d-\d\d/.test(text) ? Date.parse(text) : NaN;
  if (Number.isNaN(timeMs)) throw command.misuse(`invalid time '${text}'`);
  return timeMs;
}

interface Shown {
  readonly '@timestamp': string;
  readonly event: { readonly action?: string; readonly outcome: string; readonly reason?: string };
  readonly http: { readonly response: { readonly status_code: number } };
  readonly sello: {
    readonly key?: string;
    readonly context?: { readonly bucket: string; readonly object?: string };
  };
  readonly source?: { readonly ip?: string };
  readonly user?: { readonly id: string };
}

/** Values are escaped in the line; here they meet a terminal, so what could steer it stays escaped. */
function textOf(line: string, style: Style): string {
  const { event, http, sello, source, user, ...rest } = JSON.parse(line) as Shown;
  const clean = (text: string) => text.replace(/[^ -~]/g, '?');
  const { bucket, object } = sello.context ?? {};
  const outcome = event.outcome === 'success' ? style.good(event.outcome) : style.bad(event.outcome);
  return [
    style.label(dateText(rest['@timestamp'])),
    String(http.response.status_code),
    outcome,
    event.action ?? '-',
    style.name(clean(sello.key ?? '-')),
    bucket === undefined ? undefined : clean(object === undefined ? bucket : `${bucket}/${object}`),
    clean(user?.id.slice(0, 16) ?? '-'),
    clean(source?.ip ?? '-'),
    event.reason === undefined ? undefined : clean(event.reason),
  ]
    .filter((part) => part !== undefined)
    .join('  ');
}
