/** From a KES file to the model: one tenant, KES's rules, KES's words where it refuses. */
import { parseIdentity } from '../access/identity.ts';
import type { Identity } from '../access/identity.ts';
import { defaultTenant } from '../tenants/name.ts';
import { modernise } from './kes-legacy.ts';
import { logLevelOf, parseKesLevel, slogInfo } from './kes-levels.ts';
import { patternFault } from './kes-patterns.ts';
import type {
  AuditConfig,
  Config,
  KeystoreConfig,
  KesRuleConfig,
  PolicyConfig,
  TenantConfig,
} from './model.ts';
import type { ProblemList } from './problem.ts';
import { read } from './reader.ts';
import { routesOf } from './routes.ts';
import { kesSchema } from './schema-kes.ts';
import type { KesFile } from './schema-kes.ts';
import { cacheOf, lifecycleOf, limitsOf, probesOf, quotaOf } from './shared.ts';
import { placeOf } from './trail.ts';
import { locate } from './tree.ts';
import type { MappingTree } from './tree.ts';
import { kesVaultOf } from './vault.ts';

/** Patterns stay as they are: KES replaces no variables in them. */
export function isKesPattern(path: readonly string[]): boolean {
  return path.length === 3 && path[0] === 'policy' && ['allow', 'deny', 'paths'].includes(path[2]!);
}

export interface KesPlace {
  readonly file: string | undefined;
  /** Relative paths start here: for KES the working directory. */
  readonly folder: string;
}

export function kesConfig(tree: MappingTree, place: KesPlace, problems: ProblemList): Config {
  const modern = modernise(tree, problems);
  const file = read(kesSchema, modern.tree, { problems, folder: place.folder });
  const kes = new KesReader(file, modern.tree, problems);
  const keystore = kes.keystore(modern.namesKeystore);
  const audit = kes.audit(keystore);
  const limits = limitsOf(file.sello.limits);
  const version = file.version;
  if (version !== undefined && version !== 'v1') {
    problems.refuse(`invalid server config version '${version}'`, kes.at('version'));
  }
  const tenant: TenantConfig = {
    name: defaultTenant,
    admins: kes.admins(),
    clients: {
      auth: file.tls.auth,
      caFile: file.tls.ca,
      crlFiles: file.sello.crls,
      staleCrl: file.sello.staleCrl,
      requireClientAuthEku: file.sello.requireClientAuthEku,
      proxy: kes.proxy(),
    },
    policies: kes.policies(),
    keystore,
    cache: cacheOf(file.sello.cache, {
      expiry: file.cache.expiry.any,
      unused: file.cache.expiry.unused,
      offline: file.cache.expiry.offline,
    }),
    audit,
    quota: quotaOf(file.sello.quota, limits),
    lifecycle: lifecycleOf(file.sello.lifecycle),
    kes: {
      routes: routesOf(
        Object.fromEntries(
          Object.entries(file.api).map(([route, { skip_auth: skipAuth, timeout: timeoutMs }]) => [
            route,
            { skipAuth, timeoutMs },
          ]),
        ),
        (route) => kes.at('api', route),
        problems,
      ),
      errorTexts: file.sello.errorTexts,
      lists: file.sello.lists,
    },
    keys: file.keys.map(({ name }) => name),
  };
  kes.adminIsAloneOutsidePolicies(tenant);
  return {
    dialect: 'kes',
    file: place.file,
    processes: file.sello.processes,
    listeners: [
      {
        ...file.address,
        tls: {
          certFile: file.tls.cert,
          keyFile: file.tls.key,
          keyPassword: file.tls.password,
          minVersion: file.sello.minTlsVersion,
        },
        serverNames: [],
        ownProcess: false,
      },
    ],
    probes: probesOf(file.sello.probes),
    limits,
    log: {
      level: logLevelOf(kes.level('error')),
      format: file.log.format.toLowerCase() === 'text' ? 'pretty' : 'json',
    },
    // Refusals go to standard output as KES's events do, unless audit is off: then nothing is written.
    serverAudit: {
      ...audit,
      path: '-',
      trail: undefined,
      maxRecordsPerSecond: file.sello.audit?.maxRecordsPerSecond ?? 100,
    },
    tenants: [tenant],
    propagationMs: file.sello.propagation,
    warnings: problems.notices,
  };
}

class KesReader {
  readonly #file: KesFile;
  readonly #tree: MappingTree;
  readonly #problems: ProblemList;

  constructor(file: KesFile, tree: MappingTree, problems: ProblemList) {
    this.#file = file;
    this.#tree = tree;
    this.#problems = problems;
  }

  at(...path: (string | number)[]) {
    return locate(this.#tree, path);
  }

  /** KES: anything but an identity, by custom `disabled`, means that there is no admin. */
  admins(): Identity[] {
    const text = this.#file.admin?.identity;
    if (text === undefined) {
      this.#problems.refuse('invalid admin identity: no admin identity', this.at('admin'));
      return [];
    }
    const identity = parseIdentity(text);
    if (identity === undefined && text !== 'disabled') {
      const message = `'admin.identity' is neither an identity (64 lower-case hex digits) nor 'disabled': there is no admin`;
      this.#problems.notice(message, this.at('admin', 'identity'), { failsCheck: true });
    }
    return identity === undefined ? [] : [identity];
  }

  policies(): PolicyConfig[] {
    const policyOf = new Map<Identity, string>();
    return Object.entries(this.#file.policy).map(([name, policy]) => {
      const identities: Identity[] = [];
      for (const [i, text] of policy.identities.entries()) {
        const at = this.at('policy', name, 'identities', i);
        const identity = parseIdentity(text);
        if (identity === undefined) {
          const message = `policy '${name}' names something that is no identity (64 lower-case hex digits): it is nobody`;
          this.#problems.notice(message, at, { failsCheck: true });
        } else if (policyOf.has(identity)) {
          const twice = `cannot assign policy '${name}' to '${identity}': identity already has a policy`;
          this.#problems.refuse(`${twice}, '${policyOf.get(identity)}'`, at);
        } else {
          policyOf.set(identity, name);
          identities.push(identity);
        }
      }
      return {
        name,
        allow: policy.allow.map((pattern, i) => this.#rule(pattern, name, 'allow', i)),
        deny: policy.deny.map((pattern, i) => this.#rule(pattern, name, 'deny', i)),
        identities,
      };
    });
  }

  #rule(pattern: string, policy: string, effect: 'allow' | 'deny', i: number): KesRuleConfig {
    const matching = this.#file.sello.patterns;
    const fault = patternFault(pattern, matching);
    if (fault !== undefined) {
      const loudly = effect === 'deny' ? `and DENIES NOTHING` : 'and allows nothing';
      const message = `policy '${policy}': ${effect} pattern '${pattern}': ${fault} ${loudly}`;
      const hint = matching === 'prefix' ? "; 'sello.patterns: glob' brings the older rules back" : '';
      this.#problems.notice(message + hint, this.at('policy', policy, effect, i), { failsCheck: true });
    }
    return { kind: 'kes', pattern, matching };
  }

  adminIsAloneOutsidePolicies({ admins, policies, clients }: TenantConfig): void {
    for (const admin of admins) {
      for (const { name, identities } of policies) {
        const i = identities.indexOf(admin);
        if (i < 0) continue;
        const message = `cannot assign policy '${name}' to '${admin}': it is the admin's identity`;
        this.#problems.refuse(message, this.at('policy', name, 'identities', i));
      }
      const i = clients.proxy?.identities.indexOf(admin) ?? -1;
      if (i >= 0) {
        this.#problems.refuse(
          `the admin '${admin}' cannot be a proxy`,
          this.at('tls', 'proxy', 'identities', i),
        );
      }
    }
  }

  proxy(): { identities: Identity[]; header: string } | undefined {
    const proxy = this.#file.tls.proxy;
    if (proxy === undefined || proxy.identities.length === 0) return undefined;
    return { identities: proxy.identities, header: proxy.header.cert };
  }

  keystore(namesKeystore: boolean): KeystoreConfig {
    const { fs, vault } = this.#file.keystore;
    if (vault !== undefined) {
      return kesVaultOf(vault, this.#file.sello.vault, (message, ...path) =>
        this.#problems.refuse(message, this.at('keystore', 'vault', ...path)),
      );
    }
    if (fs === undefined && !namesKeystore) {
      // KES's documents promise a store in memory here; its program refuses, and so do we: keys would be lost.
      this.#problems.refuse('invalid keystore config: no keystore specified', this.at('keystore'));
    }
    return { kind: 'fs', path: fs?.path ?? '' };
  }

  level(which: 'error' | 'audit'): number {
    const text = this.#file.log[which];
    const slog = parseKesLevel(text);
    if (slog === undefined) {
      const message = `'log.${which}' must be on, off, DEBUG, INFO, WARN or ERROR (with +N or -N), or a number`;
      this.#problems.refuse(message, this.at('log', which));
    }
    return slog ?? slogInfo;
  }

  /** KES writes audit events at level INFO to standard output. */
  audit(keystore: KeystoreConfig): AuditConfig {
    const level = this.level('audit');
    const own = this.#file.sello.audit;
    return {
      mode: own?.mode ?? (level > slogInfo ? 'off' : 'written'),
      ...(own === undefined ? { path: '-' } : placeOf(own.path, own, keystore)),
      deadlineMs: own?.deadline ?? 2000,
      maxRecordsPerSecond: 0,
    };
  }
}
