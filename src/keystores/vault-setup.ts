/**
 * What Vault has to be told for one tenant: its policies, no wider than what Sello does with them, its engines and its login role. Printed
 * for Vault's administrators, or applied with a token of theirs. deploy/vault/ holds the policies of a sample tenant.
 */
import type { VaultKvConfig } from '../config/model.ts';

export type Capability = 'create' | 'read' | 'update' | 'delete' | 'list';

export interface PolicyRule {
  readonly path: string;
  readonly capabilities: readonly Capability[];
  /** For people: what needs it. */
  readonly about: string;
  /** Lines of the rule beside its capabilities. */
  readonly more?: readonly string[];
}

/** `runtime` is the server's. `administrator` is a person's or a job's, and cannot read a key. */
export type PolicyRole = 'runtime' | 'administrator';

/** One request of the set-up, and the same for a shell. */
export interface SetupStep {
  readonly about: string;
  readonly path: string;
  readonly body: object;
  readonly shell: string;
  /** "Already there" is as good. */
  readonly mayExist: boolean;
}

export function policyName(tenant: string, role: PolicyRole): string {
  return `sello-${tenant}-${role}`;
}

export function roleName(tenant: string): string {
  return `sello-${tenant}`;
}

export function policyRules(config: VaultKvConfig, role: PolicyRole): PolicyRule[] {
  return role === 'runtime' ? runtimeRules(config) : administratorRules(config);
}

function runtimeRules({
  custody,
  engine,
  prefix,
  version,
  transit,
  recordsPrefix,
  auditSigning,
}: VaultKvConfig): PolicyRule[] {
  const folder = joined(prefix);
  const keys: PolicyRule[] =
    version === 1
      ? [
          {
            path: `${engine}/${folder}+`,
            capabilities: ['create', 'read', 'delete'],
            about: 'keys: create (without `update`, Vault refuses to replace one), read, delete',
          },
          { path: `${engine}/${folder}`, capabilities: ['list'], about: 'keys: list' },
        ]
      : [
          {
            path: `${engine}/data/${folder}+`,
            capabilities: ['create', 'read'],
            about: 'keys: create and read; none is ever replaced',
          },
          { path: `${engine}/metadata/${folder}+`, capabilities: ['delete'], about: 'keys: delete' },
          { path: `${engine}/metadata/${folder}`, capabilities: ['list'], about: 'keys: list' },
        ];
  const records: PolicyRule[] =
    recordsPrefix === undefined
      ? []
      : [
          {
            path: `${engine}/data/${recordsPrefix}/*`,
            capabilities: ['create', 'read', 'update'],
            about: 'records (states, later versions): create, read, change',
          },
          {
            path: `${engine}/metadata/${recordsPrefix}/*`,
            capabilities: ['list', 'delete'],
            about: 'records: list, end',
          },
        ];
  const wrapping: PolicyRule[] =
    transit === undefined
      ? []
      : [
          {
            path: `${transit.engine}/encrypt/${transit.key}`,
            capabilities: ['update'],
            about: 'encrypt what is stored (without `create`, no key is made by mistake)',
          },
          {
            path: `${transit.engine}/decrypt/${transit.key}`,
            capabilities: ['update'],
            about: 'decrypt what was stored, by any version of the key',
          },
        ];
  return [
    ...keys,
    ...records,
    ...wrapping,
    ...(custody === undefined ? [] : custodyRules(custody)),
    ...(auditSigning === undefined ? [] : signingRules(auditSigning)),
    {
      path: 'auth/token/lookup-self',
      capabilities: ['read'],
      about: 'tell a token that ended from a right that is missing',
    },
    { path: 'auth/token/renew-self', capabilities: ['update'], about: 'renew the token' },
  ];
}

/** Checkpoints of the audit trail: the server has them signed, and can neither change nor read the key. */
function signingRules({ engine, key }: NonNullable<VaultKvConfig['auditSigning']>): PolicyRule[] {
  return [
    {
      path: `${engine}/keys/${key}`,
      capabilities: ['read'],
      about: 'audit: the public half of the key that signs checkpoints',
    },
    { path: `${engine}/sign/${key}`, capabilities: ['update'], about: 'audit: sign checkpoints' },
  ];
}

/** Master keys in Transit: the server makes, uses, rotates and ends them, and can read none. */
function custodyRules({ engine, keyPrefix, kind }: NonNullable<VaultKvConfig['custody']>): PolicyRule[] {
  const name = `${keyPrefix}*`;
  return [
    {
      path: `${engine}/keys/${name}`,
      capabilities: ['read', 'update', 'delete'],
      about:
        'master keys: make, look at, rotate, end (what is allowed below a key is, too); none can be exported',
    },
    {
      path: `${engine}/encrypt/${name}`,
      capabilities: ['update'],
      about: 'wrap keys (without `create`, no master key is made by mistake)',
    },
    { path: `${engine}/decrypt/${name}`, capabilities: ['update'], about: 'unwrap keys' },
    ...(kind === 'cached'
      ? ([
          {
            path: `${engine}/rewrap/${name}`,
            capabilities: ['update'],
            about: 'put stored intermediate keys under the newest version',
          },
        ] satisfies PolicyRule[])
      : []),
  ];
}

function administratorRules({ engine, prefix, version, transit, auditSigning }: VaultKvConfig): PolicyRule[] {
  const folder = joined(prefix);
  const keys: PolicyRule[] =
    version === 1
      ? [{ path: `${engine}/${folder}`, capabilities: ['list'], about: 'see which keys there are' }]
      : [
          { path: `${engine}/metadata/${folder}`, capabilities: ['list'], about: 'see which keys there are' },
          {
            path: `${engine}/metadata/${folder}+`,
            capabilities: ['read'],
            about: 'see versions and dates of a key, and never its value',
          },
          {
            path: `${engine}/undelete/${folder}+`,
            capabilities: ['update'],
            about: 'bring back a key that was deleted softly, by hand',
          },
        ];
  const wrapping: PolicyRule[] =
    transit === undefined
      ? []
      : [
          {
            path: `${transit.engine}/keys/${transit.key}`,
            capabilities: ['read'],
            about: 'see versions of the Transit key',
          },
          {
            path: `${transit.engine}/keys/${transit.key}/rotate`,
            capabilities: ['update'],
            about: 'rotate the Transit key',
          },
        ];
  const signing: PolicyRule[] =
    auditSigning === undefined
      ? []
      : [
          {
            path: `${auditSigning.engine}/keys/${auditSigning.key}`,
            capabilities: ['read'],
            about: 'see versions of the key that signs checkpoints',
          },
          {
            path: `${auditSigning.engine}/keys/${auditSigning.key}/rotate`,
            capabilities: ['update'],
            about: 'rotate the key that signs checkpoints',
          },
        ];
  return [...keys, ...wrapping, ...signing];
}

/** With its slash, or nothing for the top of an engine. */
function joined(prefix: string): string {
  return prefix === '' ? '' : `${prefix}/`;
}

/** A policy in Vault's own language. */
export function policyText(rules: readonly PolicyRule[]): string {
  return rules
    .map(({ path, capabilities, about }) => {
      const list = capabilities.map((capability) => `"${capability}"`).join(', ');
      return `# ${about}\npath "${path}" {\n  capabilities = [${list}]\n}\n`;
    })
    .join('\n');
}

/** An hour is long enough for an outage of the login method, and short for a token that got away. */
const tokenTtl = '1h';

/** In order. Each can be made again without harm. */
export function setupSteps(config: VaultKvConfig, tenant: string): SetupStep[] {
  const { auditSigning, engine, version, transit, vault } = config;
  const steps: SetupStep[] = [
    {
      about: `KV engine, version ${String(version)}`,
      path: `sys/mounts/${engine}`,
      body: { type: 'kv', options: { version: String(version) } },
      shell: `vault secrets enable -path=${engine} -version=${String(version)} kv`,
      mayExist: true,
    },
  ];
  if (transit !== undefined) {
    steps.push(
      {
        about: 'Transit engine',
        path: `sys/mounts/${transit.engine}`,
        body: { type: 'transit' },
        shell: `vault secrets enable -path=${transit.engine} transit`,
        mayExist: true,
      },
      {
        about: 'Transit key; one that is there stays as it is',
        path: `${transit.engine}/keys/${transit.key}`,
        body: {},
        shell: `vault write -f ${transit.engine}/keys/${transit.key}`,
        mayExist: true,
      },
    );
  }
  if (auditSigning !== undefined) {
    steps.push(
      {
        about: 'Transit engine for the audit trail',
        path: `sys/mounts/${auditSigning.engine}`,
        body: { type: 'transit' },
        shell: `vault secrets enable -path=${auditSigning.engine} transit`,
        mayExist: true,
      },
      {
        about: 'key that signs checkpoints; one that is there stays as it is',
        path: `${auditSigning.engine}/keys/${auditSigning.key}`,
        body: { type: 'ed25519' },
        shell: `vault write ${auditSigning.engine}/keys/${auditSigning.key} type=ed25519`,
        mayExist: true,
      },
    );
  }
  for (const role of ['runtime', 'administrator'] as const) {
    const policy = policyText(policyRules(config, role));
    const name = policyName(tenant, role);
    steps.push({
      about: `policy of the ${role}`,
      path: `sys/policies/acl/${name}`,
      body: { policy },
      shell: `vault policy write ${name} - <<'HCL'\n${policy}HCL`,
      mayExist: false,
    });
  }
  return [...steps, ...loginSteps(vault.login, tenant)];
}

function loginSteps(login: VaultKvConfig['vault']['login'], tenant: string): SetupStep[] {
  const role = roleName(tenant);
  const token = {
    token_policies: [policyName(tenant, 'runtime')],
    token_no_default_policy: true,
    token_ttl: tokenTtl,
  };
  const tokenShell = `token_policies=${policyName(tenant, 'runtime')} token_no_default_policy=true token_ttl=${tokenTtl}`;
  switch (login.method) {
    case 'approle':
      return [
        {
          about: 'AppRole',
          path: `sys/auth/${login.mount}`,
          body: { type: 'approle' },
          shell: `vault auth enable -path=${login.mount} approle`,
          mayExist: true,
        },
        {
          about: 'role of the server',
          path: `auth/${login.mount}/role/${role}`,
          body: token,
          shell: `vault write auth/${login.mount}/role/${role} ${tokenShell}`,
          mayExist: false,
        },
      ];
    case 'kubernetes':
    case 'jwt':
    case 'cert':
    case 'token':
    case 'none':
      // Who may log in is for people to say: a service account, a claim, a certificate.
      return [];
  }
}

/** What remains to be done by hand. */
export function remainingSteps({ vault: { login } }: VaultKvConfig, tenant: string): string[] {
  const role = roleName(tenant);
  const policy = policyName(tenant, 'runtime');
  switch (login.method) {
    case 'approle':
      return [
        `vault read auth/${login.mount}/role/${role}/role-id`,
        `vault write -wrap-ttl=10m -f auth/${login.mount}/role/${role}/secret-id   # and 'wrappedFor: ${role}' in the configuration`,
      ];
    case 'kubernetes':
      return [
        `vault write auth/${login.mount}/role/${login.role} bound_service_account_names=sello bound_service_account_namespaces=NAMESPACE audience=vault token_policies=${policy} token_no_default_policy=true token_ttl=${tokenTtl}`,
      ];
    case 'jwt':
      return [
        `vault write auth/${login.mount}/role/${login.role} role_type=jwt user_claim=sub bound_audiences=vault bound_subject=SUBJECT token_policies=${policy} token_no_default_policy=true token_ttl=${tokenTtl}`,
      ];
    case 'cert':
      return [
        `vault write auth/${login.mount}/certs/${login.role ?? role} certificate=@ca.pem allowed_common_names=NAME token_policies=${policy} token_no_default_policy=true token_ttl=${tokenTtl}`,
      ];
    case 'token':
      return [`vault token create -orphan -period=${tokenTtl} -no-default-policy -policy=${policy}`];
    case 'none':
      return [`give the agent's login the policy ${policy}`];
  }
}
