/** Routes about the server, its policies and its identities. */
import os from 'node:os';
import type { Identity, PolicyView } from '../../access/index.ts';
import { isName } from '../../keys/names.ts';
import { failure, jsonAnswer, empty, type Answer } from './answers.ts';
import { goString } from './json.ts';
import { isListPattern, listingProblem } from './listing.ts';
import { linesAnswer, parseOldListing } from './old-listing.ts';
import type { Handler, KesCall } from './plugin.ts';
import { kesRoutes } from './routes.ts';

const version: Handler = ({ server }) =>
  jsonAnswer(`{"version":${goString(server.version)},"commit":${goString(server.commit)}}`);

const ready: Handler = ({ tenant }) =>
  tenant.keys.health().then(
    () => empty,
    () => failure(504, 'key store is not reachable', 'SELLO_STORE_UNREACHABLE'),
  );

/** KES's clients fail to read a status with `keystore_unreachable` unless `keystore_unavailable` stands beside it. */
const status: Handler = async ({ tenant, server }) => {
  const start = performance.now();
  let store: string;
  try {
    await tenant.keys.health();
    store = `"keystore_latency":${Math.max(1, Math.round(performance.now() - start))}`;
  } catch {
    store = '"keystore_unreachable":true,"keystore_unavailable":true';
  }
  const memory = process.memoryUsage();
  const arch = process.arch === 'x64' ? 'amd64' : process.arch;
  return jsonAnswer(
    `{"version":${goString(server.version)},"os":"${process.platform}","arch":"${arch}","uptime":${Math.floor(process.uptime())},` +
      `"num_cpu":${os.cpus().length},"num_cpu_used":${os.availableParallelism()},"mem_heap_used":${memory.heapUsed},"mem_stack_used":${Math.max(0, memory.rss - memory.heapTotal - memory.external)},${store}}`,
  );
};

const metrics: Handler = ({ tenant, server, isOnlyTenant }) => {
  const { body, contentType } = server.metrics.kesText(isOnlyTenant ? undefined : tenant.name);
  return { status: 200, body: Buffer.from(body), type: contentType };
};

const api: Handler = ({ tenant }) => {
  const listed = kesRoutes.filter((route) => route.listed);
  const rows = listed.map((route) => {
    const timeoutMs = tenant.config.kes.routes[route.path]?.timeoutMs ?? route.timeoutMs;
    return `{"method":"${route.method}","path":"${route.path}","max_body":${route.maxBody},"timeout":${Math.floor(timeoutMs / 1000)}}`;
  });
  return jsonAnswer(`[${rows.join(',')}]`);
};

/** Policies and identities are made by the configuration: their time is when it was loaded, their maker the admin. */
function made(call: KesCall): string {
  const by = call.tenant.config.admins[0];
  return `"created_at":"${call.tenant.configuredAt}"${by === undefined ? '' : `,"created_by":"${by}"`}`;
}

function patternSet(patterns: readonly string[]): string {
  return `{${[...patterns]
    .sort()
    .map((pattern) => `${goString(pattern)}:{}`)
    .join(',')}}`;
}

function namedPolicy(call: KesCall, answer: (policy: PolicyView) => Answer): Answer {
  if (!isName(call.name))
    return failure(400, `policy name '${call.name}' is empty, too long or contains invalid characters`);
  const policy = call.tenant.access.policy(call.name);
  return policy === undefined ? failure(404, 'policy does not exist') : answer(policy);
}

const policyDescribe: Handler = (call) =>
  namedPolicy(call, () => jsonAnswer(`{"name":"${call.name}",${made(call)}}`));

const policyRead: Handler = (call) =>
  namedPolicy(call, ({ allowPatterns, denyPatterns }) => {
    const allowed = allowPatterns.length === 0 ? '' : `"allow":${patternSet(allowPatterns)},`;
    const denied = denyPatterns.length === 0 ? '' : `"deny":${patternSet(denyPatterns)},`;
    return jsonAnswer(`{"name":"${call.name}",${allowed}${denied}${made(call)}}`);
  });

/** Lists of policies and identities come whole: there are as many as the configuration file holds. */
function listing(call: KesCall, field: string, names: readonly string[]): Answer {
  if (!isListPattern(call.name)) return listingProblem(call.name);
  const prefix = call.name.endsWith('*') ? call.name.slice(0, -1) : call.name;
  const found = names.filter((name) => name.startsWith(prefix)).sort();
  return jsonAnswer(`{"${field}":[${found.map((name) => goString(name)).join(',')}],"continue_at":""}`);
}

/** Before 2023-10 each entry came with what `describe` says of it, and identities without the admin. */
function oldListing(call: KesCall, names: readonly string[], line: (name: string) => string): Answer {
  const old = parseOldListing(call.name);
  if (old === undefined) return listingProblem(call.name);
  return linesAnswer(names.filter((name) => old.matches(name)).map(line));
}

const policyList: Handler = (call) => {
  const { config, access } = call.tenant;
  if (config.kes.lists === 'json') return listing(call, 'names', access.policyNames);
  return oldListing(call, access.policyNames, (name) => `{"name":${goString(name)},${made(call)}}`);
};

const identityList: Handler = (call) => {
  const { config, access } = call.tenant;
  if (config.kes.lists === 'json') return listing(call, 'identities', access.identities);
  const members = access.identities.filter((identity) => !access.admins.has(identity));
  return oldListing(call, members, (identity) => {
    const policy = goString(access.policyOf(identity as Identity) ?? '');
    return `{"identity":"${identity}","admin":false,"policy":${policy},${made(call)}}`;
  });
};

const identityDescribe: Handler = (call) => {
  const { access } = call.tenant;
  if (!isName(call.name))
    return failure(400, `identity '${call.name}' is empty, too long or contains invalid characters`);
  const identity = call.name as Identity;
  if (access.admins.has(identity))
    return jsonAnswer(`{"admin":true,"created_at":"${call.tenant.configuredAt}"}`);
  const policy = access.policyOf(identity);
  if (policy === undefined) return failure(404, 'identity does not exist');
  return jsonAnswer(`{"policy":${goString(policy)},${made(call)}}`);
};

/** In the form today's client reads: `policy` is a name, its rules stand beside it. */
const identitySelf: Handler = (call) => {
  const { access } = call.tenant;
  const identity = call.identity!;
  if (access.admins.has(identity)) {
    return jsonAnswer(`{"identity":"${identity}","admin":true,"created_at":"${call.tenant.configuredAt}"}`);
  }
  const name = access.policyOf(identity)!;
  const { allowPatterns, denyPatterns } = access.policy(name)!;
  return jsonAnswer(
    `{"identity":"${identity}",${made(call)},"policy":${goString(name)},"allow":${patternSet(allowPatterns)},"deny":${patternSet(denyPatterns)}}`,
  );
};

export const metaHandlers: Record<string, Handler> = {
  version,
  ready,
  status,
  metrics,
  api,
  'policy-describe': policyDescribe,
  'policy-read': policyRead,
  'policy-list': policyList,
  'identity-describe': identityDescribe,
  'identity-list': identityList,
  'identity-self': identitySelf,
};
