/** `sello log`: audit or error events of the server as they happen. */
import { type CliCommand, child, examples } from './command.ts';
import type { AuditEvent } from '../client/index.ts';
import { type ConnectOptions, connectOptions, withClient } from './connect.ts';
import { failingEachWith } from './failure.ts';
import { write } from './io.ts';
import { type ColorChoice, type Style, colorOption, dateText, styleOf } from './style.ts';

interface Options extends ConnectOptions {
  readonly audit?: boolean;
  readonly error?: boolean;
  readonly json?: boolean;
  readonly color: ColorChoice;
}

export function log(parent: CliCommand): void {
  const command = child(parent, 'log', 'Follow the audit or error log of the server');
  command.argument('[ARGS...]').usage('[options]');
  colorOption(connectOptions(command))
    .option('--audit', 'Audit events: who did what (the default)')
    .option('--error', 'Error log lines')
    .option('--json', 'Print JSON lines (the default when not on a terminal)');
  examples(command, [['Follow the audit log until Ctrl-C', 'log']]);
  command.action(async (given: string[], options: Options) => {
    command.checkArguments(given, []);
    if (options.audit === true && options.error === true) {
      throw command.misuse("'--audit' and '--error' flags are mutually exclusive");
    }
    const { io } = command;
    const json = options.json === true || io.stdout.isTTY !== true;
    const style = styleOf(io, options.color);
    await withClient(io, options, async (client) => {
      if (options.error === true) {
        for await (const event of failingEachWith('', client.errorLog(io.signal))) {
          await write(io.stdout, `${json ? JSON.stringify(event) : event.message}\n`);
        }
        return;
      }
      for await (const event of failingEachWith('', client.auditLog(io.signal))) {
        await write(io.stdout, `${json ? jsonOf(event) : textOf(event, style)}\n`);
      }
    });
  });
}

/** The server's own form (KES v1). */
function jsonOf(event: AuditEvent): string {
  return JSON.stringify({
    time: event.time,
    request: { ip: event.sourceIp, path: event.path, identity: event.identity },
    response: { code: event.status, time: event.durationMs },
  });
}

function textOf(event: AuditEvent, style: Style): string {
  const code = event.status < 400 ? style.good(String(event.status)) : style.bad(String(event.status));
  // Twelve digits of an identity tell people apart; --json has all of it.
  const who = (event.identity ?? '').slice(0, 12).padEnd(12);
  const where = (event.sourceIp ?? '').padEnd(15);
  return `${style.label(dateText(event.time))}  ${code}  ${who}  ${where}  ${event.path}`;
}
