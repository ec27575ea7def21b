/** From a Sello file to the model. */
import { join } from 'node:path';
import type { Identity } from '../access/identity.ts';
import type { TenantName } from '../tenants/name.ts';
import { SelloError } from '../errors.ts';
import type { Environment } from './environment.ts';
import { isolationProblems } from './isolation.ts';
import { patternFault } from './kes-patterns.ts';
import type {
  TracesConfig,
  AuditConfig,
  ClientAuthConfig,
  Config,
  KeystoreConfig,
  LimitsConfig,
  PolicyConfig,
  RuleConfig,
  RuleConditions,
  SecretSource,
  TenantConfig,
  TlsConfig,
} from './model.ts';
import type { ProblemList } from './problem.ts';
import { read } from './reader.ts';
import { operatorsOf } from './operators.ts';
import { peersOf } from './peers.ts';
import { objectsOf } from './objects.ts';
import { routesOf } from './routes.ts';
import { selloSchema } from './schema-sello.ts';
import type { SelloFile, SelloRule, SelloSecret, SelloTenant } from './schema-sello.ts';
import { readSecret } from './secret.ts';
import { cacheOf, lifecycleOf, limitsOf, probesOf, quotaOf } from './shared.ts';
import { isName } from '../keys/names.ts';
import { placeOf } from './trail.ts';
import { transitOf } from './transit.ts';
import { locate } from './tree.ts';
import type { MappingTree } from './tree.ts';
import { vaultKvOf, vaultTransitOf } from './vault.ts';

export interface SelloPlace {
  readonly file: string | undefined;
  /** Relative paths start here: the folder of the file. */
  readonly folder: string;
  readonly env: Environment;
}

export function selloConfig(tree: MappingTree, place: SelloPlace, problems: ProblemList): Config {
  const file = read(selloSchema, tree, { problems, folder: place.folder });
  const limits = limitsOf(file.limits);
  const tenants = file.tenants.map((_, i) => new TenantReader(file, i, tree, limits, problems).tenant());
  const config: Config = {
    dialect: 'sello',
    file: place.file,
    processes: file.processes,
    listeners: file.listeners.map(({ address, clientCertificate, serverNames, process, tenant, tls }, i) => ({
      ...address,
      serverNames,
      ownProcess: process === 'own',
      ...withoutCertificate(clientCertificate, tenant, tenants, (message) =>
        problems.refuse(message, locate(tree, ['listeners', i])),
      ),
      tls: tlsOf(tls, () => locate(tree, ['listeners', i, 'tls']), place, problems),
    })),
    ...(file.operators === undefined
      ? {}
      : {
          operators: operatorsOf(file.operators, {
            tenants: tenants.map(({ name }) => name),
            tls: tlsOf(file.operators.tls, () => locate(tree, ['operators', 'tls']), place, problems),
            sourceOf,
            refuse: (message, ...path) => problems.refuse(message, locate(tree, ['operators', ...path])),
          }),
        }),
    ...(file.peers === undefined
      ? {}
      : {
          peers: peersOf(
            file.peers,
            tlsOf(file.peers.tls, () => locate(tree, ['peers', 'tls']), place, problems),
            tenants,
            (message, ...path) => problems.refuse(message, locate(tree, ['peers', ...path])),
          ),
        }),
    ...(file.holds.folder === undefined ? {} : { holdsFolder: file.holds.folder }),
    probes: probesOf(file.probes),
    limits,
    log: { ...file.log },
    ...(file.traces === undefined ? {} : { traces: tracesOf(file.traces) }),
    serverAudit: {
      mode: file.audit.mode,
      ...placeOf(file.audit.path ?? `${join(file.audit.folder, '_server')}/`, file.audit, undefined),
      deadlineMs: file.audit.deadline,
      maxRecordsPerSecond: file.audit.maxRecordsPerSecond,
    },
    tenants,
    propagationMs: file.propagation,
    warnings: problems.notices,
  };
  for (const { message, path } of isolationProblems(config)) problems.refuse(message, locate(tree, path));
  return config;
}

function tracesOf({
  ca: caFile,
  authorization: authorizationFile,
  timeout: timeoutMs,
  ...rest
}: NonNullable<SelloFile['traces']>): TracesConfig {
  return { ...rest, caFile, authorizationFile, timeoutMs };
}

function tlsOf(
  { cert, key, keyPassword: password, minVersion }: SelloFile['listeners'][number]['tls'],
  at: () => ReturnType<typeof locate>,
  place: SelloPlace,
  problems: ProblemList,
): TlsConfig {
  return {
    certFile: cert,
    keyFile: key,
    keyPassword: keyPassword(password, at, place, problems),
    minVersion,
  };
}

/** TLS wants the password as a text; it is read here, so that a missing one is a problem with a line. */
function keyPassword(
  secret: SelloSecret | undefined,
  at: () => ReturnType<typeof locate>,
  { env }: SelloPlace,
  problems: ProblemList,
): string | undefined {
  if (secret === undefined || Object.keys(secret).length === 0) return undefined;
  try {
    const bytes = readSecret(sourceOf(secret), env);
    const password = bytes.toString('utf8');
    bytes.fill(0);
    return password;
  } catch (error) {
    problems.refuse(`'keyPassword': ${error instanceof SelloError ? error.detail : 'cannot be read'}`, at());
    return undefined;
  }
}

function sourceOf({ file, env, credential }: SelloSecret): SecretSource {
  if (env !== undefined) return { from: 'env', name: env };
  if (credential !== undefined) return { from: 'credential', name: credential };
  return { from: 'file', path: file ?? '' };
}

function withoutCertificate(
  clientCertificate: 'required' | 'optional',
  tenant: TenantName | undefined,
  tenants: readonly TenantConfig[],
  refuse: (message: string) => void,
): { readonly tenantWithoutCertificate?: TenantName | undefined } {
  if (clientCertificate === 'required') {
    if (tenant !== undefined) refuse("'tenant' has no effect without 'clientCertificate: optional'");
    return {};
  }
  if (tenant === undefined)
    refuse("'clientCertificate: optional' needs the 'tenant' whose callers have none");
  else if (tenants.find(({ name }) => name === tenant)?.transit === undefined)
    refuse(`tenant '${tenant}' has no 'transit' section, so nobody could log in`);
  return { tenantWithoutCertificate: tenant };
}

class TenantReader {
  readonly #file: SelloFile;
  readonly #source: SelloTenant;
  readonly #index: number;
  readonly #tree: MappingTree;
  readonly #limits: LimitsConfig;
  readonly #problems: ProblemList;

  constructor(
    file: SelloFile,
    index: number,
    tree: MappingTree,
    limits: LimitsConfig,
    problems: ProblemList,
  ) {
    this.#file = file;
    this.#source = file.tenants[index]!;
    this.#index = index;
    this.#tree = tree;
    this.#limits = limits;
    this.#problems = problems;
  }

  tenant(): TenantConfig {
    const { name, admins, cache, quota, lifecycle, kes, keys } = this.#source;
    const keystore = this.#keystore();
    return {
      name,
      admins: admins.filter((admin) => (admin as string) !== ''),
      clients: this.#clients(),
      policies: Object.keys(this.#source.policies).map((policy) => this.#policy(policy)),
      keystore,
      cache: cacheOf(cache, cache),
      audit: this.#audit(keystore),
      quota: quotaOf(quota, this.#limits),
      lifecycle: lifecycleOf(lifecycle),
      kes: {
        errorTexts: kes.errorTexts,
        lists: kes.lists,
        routes: routesOf(
          Object.fromEntries(
            Object.entries(kes.routes).map(([route, { skipAuth, timeout: timeoutMs }]) => [
              route,
              { skipAuth, timeoutMs },
            ]),
          ),
          (route) => this.#at('kes', 'routes', route),
          this.#problems,
        ),
      },
      objects: objectsOf(this.#source.objects),
      transit: transitOf(
        this.#source.transit,
        name,
        Object.keys(this.#source.policies),
        sourceOf,
        (message, ...path) => this.#problems.refuse(message, this.#at('transit', ...path)),
      ),
      keys: keys.filter((key) => key !== ''),
    };
  }

  #at(...path: (string | number)[]) {
    return locate(this.#tree, ['tenants', this.#index, ...path]);
  }

  #clients(): ClientAuthConfig {
    const { auth, ca, crls, staleCrl, requireClientAuthEku, proxy } = this.#source.clients;
    if (auth === 'on' && ca === undefined) {
      const message = "'clients.ca' is missing: with 'auth: on' name the CAs, or write 'ca: system'";
      this.#problems.refuse(message, this.#at('clients'));
    }
    if (auth === 'off') {
      for (const field of ['ca', 'crls', 'staleCrl'] as const) {
        if (!this.#isWritten('clients', field)) continue;
        const message = `'clients.${field}' has no effect with 'auth: off'`;
        this.#problems.notice(message, this.#at('clients', field), { failsCheck: true });
      }
    }
    return {
      auth,
      caFile: ca === 'system' ? undefined : ca,
      crlFiles: crls.filter((file) => file !== ''),
      staleCrl,
      requireClientAuthEku,
      proxy: proxy && { identities: proxy.identities, header: proxy.header },
    };
  }

  #isWritten(...path: string[]): boolean {
    const at = this.#at(...path);
    const above = this.#at(...path.slice(0, -1));
    return at !== undefined && (at.line !== above?.line || at.column !== above.column);
  }

  #policy(name: string): PolicyConfig {
    const { allow, deny, identities } = this.#source.policies[name]!;
    if (!isName(name)) {
      const message = `'${name}' is no name for a policy: 1 to 80 of 'A-Z', 'a-z', '0-9', '_' and '-'`;
      this.#problems.refuse(message, this.#at('policies', name));
    }
    return {
      name,
      allow: allow.flatMap((rule, i) => this.#rule(rule, name, 'allow', i)),
      deny: deny.flatMap((rule, i) => this.#rule(rule, name, 'deny', i)),
      identities: identities.filter((identity: Identity) => (identity as string) !== ''),
    };
  }

  #rule(rule: SelloRule, policy: string, effect: 'allow' | 'deny', i: number): RuleConfig[] {
    const at = this.#at('policies', policy, effect, i);
    const conditions = conditionsOf(rule.conditions);
    if (rule.kes === undefined) {
      if (rule.operations.length === 0) this.#problems.refuse("a rule needs 'operations' or 'kes'", at);
      return [{ kind: 'operations', operations: rule.operations, keys: rule.keys, conditions }];
    }
    if (rule.operations.length > 0 || rule.keys.length > 0 || Object.keys(conditions).length > 0) {
      this.#problems.refuse("a rule with 'kes' has nothing else in it", at);
    }
    const matching = this.#source.kes.patterns;
    const fault = patternFault(rule.kes, matching);
    // A new file has no past to be compatible with: what cannot match is a mistake.
    if (fault !== undefined) this.#problems.refuse(`pattern '${rule.kes}': ${fault}`, at);
    return [{ kind: 'kes', pattern: rule.kes, matching }];
  }

  #keystore(): KeystoreConfig {
    const { file, fs, memory, vaultKv, vaultTransit } = this.#source.keystore;
    if (vaultKv !== undefined) {
      return vaultKvOf(vaultKv, this.#source.name, sourceOf, (message, ...path) =>
        this.#problems.refuse(message, this.#at('keystore', 'vaultKv', ...path)),
      );
    }
    if (vaultTransit !== undefined) {
      return vaultTransitOf(vaultTransit, this.#source.name, sourceOf, (message, ...path) =>
        this.#problems.refuse(message, this.#at('keystore', 'vaultTransit', ...path)),
      );
    }
    if (file !== undefined) return { kind: 'file', path: file.path, rootKey: sourceOf(file.rootKey) };
    if (fs !== undefined) return { kind: 'fs', path: fs.path };
    if (memory !== undefined) {
      const message = `tenant '${this.#source.name}' keeps its keys in memory: they are lost when the process ends`;
      this.#problems.notice(message, this.#at('keystore'), { failsCheck: true });
      if (this.#file.processes > 1 || this.#file.listeners.some(({ process }) => process === 'own')) {
        this.#problems.refuse(
          "a keystore in memory cannot be shared by several 'processes'",
          this.#at('keystore'),
        );
      }
    }
    return { kind: 'memory' };
  }

  #audit(keystore: KeystoreConfig): AuditConfig {
    const { mode, path, deadline } = this.#source.audit;
    return {
      mode,
      ...placeOf(
        path ?? `${join(this.#file.audit.folder, this.#source.name)}/`,
        this.#source.audit,
        keystore,
      ),
      deadlineMs: deadline,
      maxRecordsPerSecond: 0,
    };
  }
}

function conditionsOf({
  context,
  sources,
  timeOfDay,
  ratePerSecond,
}: SelloRule['conditions']): RuleConditions {
  return {
    ...(Object.keys(context).length > 0 ? { context: { ...context } } : {}),
    ...(sources.length > 0 ? { sources } : {}),
    ...(timeOfDay === undefined ? {} : { timeOfDay }),
    ...(ratePerSecond === undefined ? {} : { ratePerSecond }),
  };
}
