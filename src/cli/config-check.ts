/** `sello config check FILE` */
import type { ConfigNotice } from '../config/model.ts';
import { type CliCommand, child, examples } from './command.ts';
import { isConfigError, placed, toConfigFailure } from './config-failure.ts';
import { Failure } from './failure.ts';
import { type Io, write } from './io.ts';

export function configCheck(parent: CliCommand): void {
  const command = child(
    parent,
    'check',
    'Check a configuration file of Sello or KES without starting a server',
  );
  command.argument('[FILE...]').usage('[options] <FILE>').option('--json', 'Print the findings as JSON');
  examples(command, [['Check a configuration', 'config check sello.yaml']]);
  command.action(async (given: string[], options: { json?: boolean }) => {
    command.checkArguments(given, ['no configuration file specified']);
    const { io } = command;
    const file = given[0]!;
    const { tenants, notices } = await findings(io, file).catch(async (error: unknown) => {
      if (options.json === true && isConfigError(error)) {
        const problems = error.problems.map(({ message, line }) => ({ level: 'error', line, message }));
        await write(io.stdout, `${JSON.stringify({ file, ok: false, tenants: [], findings: problems })}\n`);
      }
      throw toConfigFailure(error, file);
    });
    const errors = notices.filter((notice) => notice.failsCheck).length;
    if (options.json === true) {
      const object = { file, ok: errors === 0, tenants, findings: notices.map(findingOf) };
      await write(io.stdout, `${JSON.stringify(object)}\n`);
    } else {
      const lines = notices.map(
        (notice) => `${notice.failsCheck ? 'error' : 'warning'}: ${placed(file, notice)}`,
      );
      if (errors === 0)
        lines.push(`${file}: ok, ${tenants.length === 1 ? '1 tenant' : `${String(tenants.length)} tenants`}`);
      await write(io.stdout, `${lines.join('\n')}\n`);
    }
    if (errors > 0) {
      throw new Failure(`${file} has ${errors === 1 ? '1 error' : `${String(errors)} errors`}`, {
        hint: 'Each line above names a place in the file and what is wrong there.',
      });
    }
  });
}

async function findings(io: Io, file: string) {
  const { checkConfig, loadConfig } = await import('../config/index.ts');
  const config = await loadConfig(file, { env: io.env, workingDirectory: io.cwd });
  const notices = [...config.warnings];
  // What is found by looking at the files it names, besides what reading it brought up.
  for (const notice of await checkConfig(config, { env: io.env })) {
    if (!notices.some((known) => known.message === notice.message && known.line === notice.line))
      notices.push(notice);
  }
  return { tenants: config.tenants.map((tenant) => tenant.name as string), notices };
}

function findingOf(notice: ConfigNotice) {
  return { level: notice.failsCheck ? 'error' : 'warning', line: notice.line, message: notice.message };
}
