/** Two tenants with people of each role, an OpenID provider that signs what a test says, and a server. */
import type { Test } from 'tap';
import { Idp, newKey, sign } from '../../access/people/idp.ts';
import { listenerYaml, Site, tenantsYaml } from '../../attacks/site.ts';
import { Browser } from './browser.ts';

export interface Reply {
  readonly status: number;
  readonly [field: string]: unknown;
}

export interface Office {
  readonly site: Site;
  tokenOf(who: string, roles: readonly string[]): Promise<string>;
  /** A request of somebody with these values of the claim `roles`. */
  as(
    who: string,
    ...roles: string[]
  ): (
    method: 'GET' | 'POST',
    path: string,
    body?: unknown,
    headers?: Record<string, string>,
  ) => Promise<Reply>;
  /** The same people with these grants and revocations. */
  reload(changes: { roles?: readonly object[]; revoked?: readonly string[] }): Promise<void>;
}

export const grants = [
  { value: 'acme-root', tenant: 'acme', role: 'administrator' },
  { value: 'acme-run', tenant: 'acme', role: 'operator' },
  { value: 'acme-watch', tenant: 'acme', role: 'auditor' },
  { value: 'globex-root', tenant: 'globex', role: 'administrator' },
];

export interface OfficeSettings {
  readonly approvals?: { readonly expire: string; readonly use: string };
  /** In place of the plain files of both tenants. */
  readonly audit?: (tenant: string) => Readonly<Record<string, unknown>>;
  /** More of each tenant, */
  readonly tenant?: Readonly<Record<string, unknown>>;
  /** or of this one alone. */
  readonly only?: string;
}

export async function office(
  t: Test,
  {
    approvals = { expire: '1h', use: '10m' },
    audit = (tenant) => ({ path: `audit/${tenant}.jsonl` }),
    tenant: more = {},
    only,
  }: OfficeSettings = {},
): Promise<Office> {
  const idp = await Idp.start();
  const key = await newKey('k1', 'ES256');
  idp.keys = [key.jwk];
  const site = new Site();
  t.teardown(async () => {
    await site.remove();
    await idp.stop();
  });
  const yaml = ({
    roles = grants,
    revoked = [],
  }: { roles?: readonly object[]; revoked?: readonly string[] } = {}) => {
    const operators = {
      address: '127.0.0.1:0',
      tls: { cert: 'server.crt', key: 'server.key' },
      approvals,
      oidc: {
        main: {
          issuer: idp.url,
          audiences: ['sello'],
          rolesClaim: ['roles'],
          stableClaim: ['employee'],
          roles,
          revoked,
        },
      },
    };
    const tenant = (name: string, letter: string) => ({
      name,
      admins: [letter.repeat(64)],
      clients: { auth: 'off' },
      audit: audit(name),
      keys: ['app', 'other'],
      lifecycle: { deletionWait: '0s', quiet: '0s' },
      ...(only === undefined || only === name ? more : {}),
    });
    return `${listenerYaml}audit: {path: audit/server.jsonl}\noperators: ${JSON.stringify(operators)}\n${tenantsYaml(tenant('acme', '1'), tenant('globex', '2'))}`;
  };
  const server = await site.start(yaml());
  const browser = new Browser();
  const tokenOf = async (who: string, roles: readonly string[]): Promise<string> => {
    const nowS = Math.floor(Date.now() / 1000);
    const [sub, employee] = who.split('/');
    return sign(key, {
      iss: idp.url,
      sub: sub!,
      aud: 'sello',
      iat: nowS,
      exp: nowS + 300,
      roles,
      ...(employee === undefined ? {} : { employee }),
    });
  };
  return {
    site,
    tokenOf,
    as:
      (who, ...roles) =>
      async (method, path, body, headers = {}) => {
        const answer = await browser.open(
          `https://127.0.0.1:${String(server.operatorsPort)}/v1/operators/tenants/${path}`,
          {
            method,
            headers: {
              authorization: `Bearer ${await tokenOf(who, roles)}`,
              ...(body === undefined ? {} : { 'content-type': 'application/json' }),
              ...headers,
            },
            ...(body === undefined ? {} : { body: JSON.stringify(body) }),
          },
        );
        return { status: answer.status, ...jsonOf(answer.body) };
      },
    reload: (changes) => site.reload(yaml(changes)),
  };
}

/** Lines of JSON become `lines`. */
function jsonOf(body: string): object {
  const lines = body.trim().split('\n');
  if (lines.length === 1 && !body.startsWith('{"search"')) return JSON.parse(body) as object;
  return { lines: lines.map((line) => JSON.parse(line) as object) };
}
