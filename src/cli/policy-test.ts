/** `sello policy test`: what a configuration would decide about a request, and which rules say so. Asks no server. */
import { isIP } from 'node:net';
import { compileAccess, explain, kesRouteOf, kesRoutes } from '../access/index.ts';
import { type Identity, parseIdentity } from '../access/identity.ts';
import { type Face, type Operation, operations } from '../access/operations.ts';
import type { TenantConfig } from '../config/model.ts';
import { type CliCommand, child, examples } from './command.ts';
import { toConfigFailure } from './config-failure.ts';
import { tenantOf } from './configured-keystore.ts';
import { Failure, SaidAlready } from './failure.ts';
import { write } from './io.ts';

interface Options {
  readonly config?: string;
  readonly tenant?: string;
  readonly identity?: string;
  readonly policy?: string;
  readonly context?: readonly string[];
  readonly source?: string;
  readonly time?: string;
  readonly face: string;
  readonly json?: boolean;
}

const faces: readonly Face[] = ['kes', 'transit', 'objects', 'admin'];

export function policyTest(parent: CliCommand): void {
  const command = child(parent, 'test', 'Explain what a configuration would decide about a request');
  const collect = (value: string, before: string[] | undefined) => [...(before ?? []), value];
  command
    .argument('[ARGS...]')
    .usage('--config <FILE> (--identity <ID> | --policy <NAME>) <OPERATION | /v1/PATH> [KEY]')
    .option('--config <FILE>', 'Configuration file of Sello or KES (SELLO_CONFIG_FILE)')
    .option('--tenant <NAME>', 'Tenant, when the file has several')
    .option('--identity <ID>', 'Who asks')
    .option('--policy <NAME>', 'Somebody with this policy asks')
    .option('--context <NAME=VALUE>', 'Entry of the encryption context (repeatable)', collect)
    .option('--source <IP>', 'Address the request comes from')
    .option('--time <TIME>', 'When, such as 2026-01-31T22:00Z (default: now)')
    .option('--face <NAME>', `Interface the request comes in by: ${faces.join(', ')}`, 'kes')
    .option('--json', 'Print JSON')
    .addHelpText('after', `\nOperations: ${operations.join(', ')}`)
    .addHelpText('after', '\nThe exit code is 0 when the request is allowed and 1 when it is denied.');
  examples(command, [
    [
      'May members of policy app issue data keys?',
      'policy test --config sello.yaml --policy app issue my-key',
    ],
    ['May this identity list all keys?', 'policy test --config kes.yaml --identity 3ecf… /v1/key/list/'],
  ]);
  command.action(async (given: string[], options: Options) => {
    command.checkArguments(given, ['no operation specified'], 2);
    const { io } = command;
    const file = options.config ?? io.env['SELLO_CONFIG_FILE'];
    if (file === undefined) throw command.misuse('no configuration file specified');
    const { loadConfig } = await import('../config/index.ts');
    const config = await loadConfig(file, { env: io.env, workingDirectory: io.cwd }).catch(
      (error: unknown) => {
        throw toConfigFailure(error, file);
      },
    );
    const tenant = tenantOf(config.tenants, options.tenant, file);
    const face = faces.find((each) => each === options.face);
    if (face === undefined) throw command.misuse(`unknown face '${options.face}'`);
    const request = {
      ...asked(command, face, given[0]!, given[1]),
      face,
      identity: identityOf(command, tenant, options),
      context: contextOf(command, options.context),
      sourceIp: sourceOf(command, options.source),
      nowMs: timeOf(command, options.time),
    };
    const { policy, rules, decision } = explain(compileAccess(tenant), request);
    const verdict = decision.allowed ? 'allowed' : 'denied';
    if (options.json === true) {
      const object = {
        allowed: decision.allowed,
        rule: decision.rule,
        identity: request.identity,
        policy,
        rules,
      };
      await write(io.stdout, `${JSON.stringify(object)}\n`);
    } else {
      const lines = rules.map(
        ({ effect, rule, matched, because }) =>
          `  ${matched ? '✓' : '·'} ${effect.padEnd(5)} ${rule}  (${because})`,
      );
      await write(io.stdout, `${[`${verdict}: ${decision.rule}`, ...lines].join('\n')}\n`);
    }
    if (!decision.allowed) throw new SaidAlready(verdict);
  });
}

function identityOf(command: CliCommand, tenant: TenantConfig, options: Options): Identity {
  if ((options.identity === undefined) === (options.policy === undefined)) {
    throw command.misuse("either '--identity' or '--policy' must be set");
  }
  if (options.identity !== undefined) {
    const identity = parseIdentity(options.identity);
    if (identity === undefined) {
      throw new Failure(`'${options.identity}' is not an identity`, {
        hint: `An identity is 64 hexadecimal digits: '${command.io.program} identity of FILE' computes it.`,
      });
    }
    return identity;
  }
  const policy = tenant.policies.find((each) => each.name === options.policy);
  if (policy === undefined) {
    const names = tenant.policies.map((each) => each.name).join(', ');
    throw new Failure(`no policy '${options.policy!}'`, {
      hint: names === '' ? 'The tenant has none.' : `There are: ${names}.`,
    });
  }
  const first = policy.identities[0];
  if (first === undefined) {
    throw new Failure(`nobody has policy '${policy.name}'`, {
      hint: 'Add an identity to it, then ask again.',
    });
  }
  return first;
}

/** An operation with its key, or a path of the KES API. */
function asked(
  command: CliCommand,
  face: Face,
  what: string,
  key: string | undefined,
): { operation: Operation; key: string | undefined; path: string | undefined } {
  if (what.startsWith('/')) {
    const route = kesRouteOf(what);
    if (route === undefined)
      throw new Failure(`'${what}' is not a path of the KES API`, {
        hint: 'Such as /v1/key/generate/my-key.',
      });
    if (key !== undefined) throw command.misuse('too many arguments');
    const named = route.argument === 'key' ? what.slice(route.path.length) : undefined;
    return { operation: route.operation, key: named, path: face === 'kes' ? what : undefined };
  }
  const operation = operations.find((each) => each === what);
  if (operation === undefined) {
    throw new Failure(`unknown operation '${what}'`, { hint: `There are: ${operations.join(', ')}.` });
  }
  if (face !== 'kes') return { operation, key, path: undefined };
  const route = kesRoutes.find((each) => each.operation === operation);
  if (route === undefined) {
    throw new Failure(`the KES API has no operation '${operation}'`, {
      hint: 'Name another interface with --face.',
    });
  }
  if (route.argument !== 'none' && key === undefined)
    throw command.misuse(`no ${route.argument} name specified`);
  return { operation, key, path: route.argument === 'none' ? route.path : route.path + key! };
}

function contextOf(command: CliCommand, pairs: readonly string[] | undefined) {
  if (pairs === undefined) return undefined;
  const entries = pairs.map((pair) => {
    const at = pair.indexOf('=');
    if (at < 1)
      throw command.misuse(`invalid argument "${pair}" for "--context" flag: not of the form NAME=VALUE`);
    return [pair.slice(0, at), pair.slice(at + 1)] as const;
  });
  const context: Readonly<Record<string, string>> = Object.fromEntries(entries);
  return () => context;
}

function sourceOf(command: CliCommand, source: string | undefined): string | undefined {
  if (source !== undefined && isIP(source) === 0) {
    throw command.misuse(`invalid argument "${source}" for "--source" flag: not an IP address`);
  }
  return source;
}

function timeOf(command: CliCommand, time: string | undefined): number {
  const timeMs = time === undefined ? Date.now() : Date.parse(time);
  if (Number.isNaN(timeMs)) throw command.misuse(`invalid argument "${time!}" for "--time" flag: not a time`);
  return timeMs;
}
