/** From the configuration to the ways people log in, and over a reload what of them goes on. */
import { createHash } from 'node:crypto';
import { readFileSync } from 'node:fs';
import {
  createFetcher,
  LdapDirectory,
  LoginFlow,
  OidcVerifier,
  parseLdapUrl,
  People,
  Provider,
  type CookieSeal,
  type OidcSource,
  type OtherRights,
} from '../access/people/index.ts';
import type { Clock } from '../clock.ts';
import { parseCertificates, readSecret } from '../config/index.ts';
import type { LdapConfig, OidcConfig, OperatorsConfig } from '../config/model.ts';
import { SelloError } from '../errors.ts';
import { peoplePrefix } from '../api/people/index.ts';
import type { TenantName } from '../tenants/name.ts';

type Fetcher = ReturnType<typeof createFetcher>;

interface Reached {
  readonly provider: Provider;
  readonly fetcher: Fetcher;
}

/**
 * The providers in use. A reload that leaves one as it was keeps its keys, so that it may be down at that moment.
 */
export class Providers {
  readonly #clock: Clock;
  readonly #seal: CookieSeal;
  readonly #others: OtherRights;
  #reached = new Map<string, Reached>();

  constructor(clock: Clock, seal: CookieSeal, others: OtherRights) {
    this.#clock = clock;
    this.#seal = seal;
    this.#others = others;
  }

  /** Everything `config` names. Nothing changes until `commit`. @throws SelloError SELLO_CONFIG_INVALID */
  prepare(
    config: OperatorsConfig,
    tenants: readonly TenantName[],
  ): { readonly people: People; commit(): void } {
    const next = new Map<string, Reached>();
    const oidc = config.oidc.map((one): OidcSource => {
      const reached = this.#reach(one, next);
      return sourceOf(one, config.url, reached, { clock: this.#clock, seal: this.#seal, tenants });
    });
    const ldap = config.ldap.map((one) => directoryOf(one, this.#clock, tenants));
    return {
      people: new People({ oidc, ldap, others: this.#others }),
      commit: () => {
        const kept = new Set(next.values());
        for (const reached of this.#reached.values()) if (!kept.has(reached)) void reached.fetcher.close();
        this.#reached = next;
      },
    };
  }

  async close(): Promise<void> {
    await Promise.all([...this.#reached.values()].map(({ fetcher }) => fetcher.close()));
    this.#reached.clear();
  }

  #reach({ issuer, caFile, timeoutMs, keys }: OidcConfig, next: Map<string, Reached>): Reached {
    const key = JSON.stringify([issuer, fingerprintOf(caFile), timeoutMs, keys]);
    let reached = next.get(key) ?? this.#reached.get(key);
    if (reached === undefined) {
      const fetcher = createFetcher({ caFile, timeoutMs });
      reached = { fetcher, provider: new Provider({ issuer, fetcher, clock: this.#clock, times: keys }) };
    }
    next.set(key, reached);
    return reached;
  }
}

function sourceOf(
  config: OidcConfig,
  url: string | undefined,
  { provider, fetcher }: Reached,
  { clock, seal, tenants }: { clock: Clock; seal: CookieSeal; tenants: readonly TenantName[] },
): OidcSource {
  const { client } = config;
  const rules = { ...config, clientId: client?.id, grants: config.roles };
  const verifier = new OidcVerifier({ rules, provider, clock, tenants });
  if (client === undefined || url === undefined) return { verifier, flow: undefined };
  const { secret } = client;
  const flow = new LoginFlow({
    client: {
      ...client,
      secret: secret === undefined ? undefined : () => readSecret(secret),
      redirectUri: `${url}${peoplePrefix}/callback`,
    },
    provider,
    verifier,
    fetcher,
    clock,
    seal,
  });
  return { verifier, flow };
}

function directoryOf(config: LdapConfig, clock: Clock, tenants: readonly TenantName[]): LdapDirectory {
  const { bind, caFile, roles, url } = config;
  checkAuthorities(caFile);
  const password = bind.by === 'service' ? bind.password : undefined;
  return new LdapDirectory({
    rules: {
      ...config,
      address: parseLdapUrl(url)!,
      grants: roles,
      bind:
        bind.by === 'service' ? { by: 'service', dn: bind.dn, password: () => readSecret(password!) } : bind,
    },
    clock,
    tenants,
  });
}

function fingerprintOf(caFile: string | undefined): string {
  return createHash('sha256')
    .update(checkAuthorities(caFile) ?? '')
    .digest('hex');
}

/** A file that is missing, or holds no certificate, is found when the configuration is taken and not at the first login. */
function checkAuthorities(caFile: string | undefined): Buffer | undefined {
  if (caFile === undefined) return undefined;
  let pem: Buffer;
  try {
    pem = readFileSync(caFile);
    parseCertificates(pem.toString('latin1'));
  } catch (cause) {
    throw new SelloError('SELLO_CONFIG_INVALID', {
      detail: `CA file '${caFile}' cannot be used: ${cause instanceof Error ? cause.message : String(cause)}`,
      cause,
    });
  }
  return pem;
}
