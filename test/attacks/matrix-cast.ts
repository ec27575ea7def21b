/**
 * Everybody who knocks in the matrix: two tenants' own people, one for every single permission, and everyone who should be
 * none of them. All whose certificate is bad are listed as admins: nothing but the certificate keeps them out.
 */
import { operations } from '../../src/access/operations.ts';
import { kesRoutes } from '../../src/api/kes/routes.ts';
import {
  authority,
  credentialsOf,
  dayMs,
  hourMs,
  issue,
  revocationList,
  type Credentials,
  type Issued,
} from './pki.ts';
import type { PolicyYaml, RuleYaml, Site, TenantYaml } from './site.ts';

export interface Cast {
  /** Row of the matrix → what that client presents. */
  readonly clients: ReadonlyMap<string, Credentials | undefined>;
  readonly alpha: TenantYaml;
  readonly beta: TenantYaml;
  /** Texts that only alpha's people may ever read. */
  readonly alphaOnly: readonly string[];
  readonly alphaAdmin: Issued;
}

/** Which tenants verify chains. */
export interface Verifying {
  readonly alpha: boolean;
  readonly beta: boolean;
}

export function buildCast(site: Site, verifying: Verifying): Cast {
  const [alphaCa, betaCa, strangerCa] = [
    authority('alpha CA'),
    authority('beta CA'),
    authority('stranger CA'),
  ];
  const clients = new Map<string, Credentials | undefined>([['none', undefined]]);
  const admins: string[] = [];
  const admin = (name: string, leaf: Issued, credentials = credentialsOf(leaf)): Issued => {
    clients.set(name, credentials);
    admins.push(leaf.identity);
    return leaf;
  };
  const now = Date.now();

  clients.set('unknown self-signed', credentialsOf(issue('nobody')));
  clients.set('unknown of stranger CA', credentialsOf(issue('nobody', { issuer: strangerCa }), strangerCa));
  clients.set('unknown of alpha CA', credentialsOf(issue('nobody', { issuer: alphaCa })));
  clients.set('unknown of beta CA', credentialsOf(issue('nobody', { issuer: betaCa })));
  admin(
    'expired',
    issue('expired', {
      issuer: alphaCa,
      notBefore: new Date(now - 2 * dayMs),
      notAfter: new Date(now - hourMs),
    }),
  );
  admin('not yet valid', issue('early', { issuer: alphaCa, notBefore: new Date(now + hourMs) }));
  const revoked = admin('revoked', issue('revoked', { issuer: alphaCa }));
  admin('server usage', issue('server', { issuer: alphaCa, extendedKeyUsage: ['serverAuth'] }));
  admin('no usage', issue('unused', { issuer: alphaCa, extendedKeyUsage: [] }));
  admin('CA as leaf', issue('ca', { issuer: alphaCa, ca: true }));
  admin('self-signed admin', issue('self', {}));
  admin('admin of beta CA', issue('misissued', { issuer: betaCa }));
  const victim = admin('admin', issue('admin', { issuer: alphaCa }));
  const attackerCa = authority('attacker');
  clients.set('own CA before admin', {
    cert: attackerCa.certificatePem + victim.certificatePem,
    key: attackerCa.privateKeyPem,
  });
  const attacker = issue('attacker');
  clients.set('own leaf before admin', {
    cert: attacker.certificatePem + victim.certificatePem,
    key: attacker.privateKeyPem,
  });
  clients.set('admin before a second leaf', credentialsOf(victim, attacker));
  clients.set('admin with chain', credentialsOf(victim, alphaCa));

  const policies: Record<string, PolicyYaml> = {};
  const permitted = (name: string, policy: string, allow: RuleYaml[], deny: RuleYaml[] = []): void => {
    const leaf = issue(policy, { issuer: alphaCa });
    clients.set(name, credentialsOf(leaf));
    policies[policy] = { allow, deny, identities: [leaf.identity] };
  };
  permitted('no rule', 'nothing', []);
  for (const operation of operations)
    permitted(`op ${operation}`, `op-${operation}`, [{ operations: [operation] }]);
  permitted('op *', 'op-all', [{ operations: ['*'] }]);
  permitted('op * but issue', 'op-all-but-issue', [{ operations: ['*'] }], [{ operations: ['issue'] }]);
  permitted('op * on app-*', 'op-app', [{ operations: ['*'], keys: ['app-*'] }]);
  permitted('op * on other-*', 'op-other', [{ operations: ['*'], keys: ['other-*'] }]);
  for (const route of kesRoutes) {
    if (route.auth !== 'policy') continue;
    const pattern = route.path.endsWith('/') ? `${route.path}*` : route.path;
    permitted(`kes ${pattern}`, `kes-${route.name}`, [{ kes: pattern }]);
  }
  permitted('kes /v1/*', 'kes-all', [{ kes: '/v1/*' }]);
  permitted('kes /v1/* but generate', 'kes-all-but', [{ kes: '/v1/*' }], [{ kes: '/v1/key/generate/*' }]);
  permitted('kes /v1/key/generate/other-*', 'kes-other', [{ kes: '/v1/key/generate/other-*' }]);
  permitted(
    'op * but kes generate',
    'op-but-kes',
    [{ operations: ['*'] }],
    [{ kes: '/v1/key/generate/app-1' }],
  );

  const betaAdmin = issue('beta admin', { issuer: betaCa });
  const betaNode = issue('beta node', { issuer: betaCa });
  clients.set('beta admin', credentialsOf(betaAdmin));
  clients.set('beta op *', credentialsOf(betaNode));

  site.write('alpha-ca.pem', alphaCa.certificatePem);
  site.write('alpha.crl', revocationList(alphaCa, [revoked]));
  site.write('beta-ca.pem', betaCa.certificatePem);
  return {
    clients,
    alpha: {
      name: 'alpha',
      admins,
      clients: verifying.alpha
        ? { auth: 'on', ca: 'alpha-ca.pem', crls: ['alpha.crl'] }
        : { auth: 'off', requireClientAuthEku: false },
      policies,
      keys: ['app-1'],
    },
    beta: {
      name: 'beta',
      admins: [betaAdmin.identity],
      clients: verifying.beta
        ? { auth: 'on', ca: 'beta-ca.pem' }
        : { auth: 'off', requireClientAuthEku: false },
      policies: { node: { allow: [{ operations: ['*'] }], identities: [betaNode.identity] } },
    },
    alphaOnly: ['app-1', 'op-issue', victim.identity, 'alpha'],
    alphaAdmin: victim,
  };
}
