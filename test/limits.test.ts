/** Holds the defaults of docs/limits.md to what a configuration without them loads. */
import { readFileSync } from 'node:fs';
import path from 'node:path';
import t from 'tap';
import { parseBytes, parseDuration } from '../src/config/duration.ts';
import { parseConfig } from '../src/config/index.ts';
import type {
  AuditConfig,
  CacheConfig,
  LifecycleConfig,
  LimitsConfig,
  ObjectsConfig,
  QuotaConfig,
  VaultConfig,
} from '../src/config/model.ts';

const page = readFileSync(new URL('../docs/limits.md', import.meta.url), 'utf8');
const defaults = new Map<string, string>();
for (const line of page.split('\n')) {
  const [, field = '', value = ''] = line.split('|').map((cell) => cell.trim());
  const names = [...field.matchAll(/`([^`]+)`/g)].map(([, name]) => name!);
  const values = value.split(', ');
  names.forEach((name, i) => defaults.set(name, values[i] ?? ''));
}

const identity = 'a'.repeat(64);
const config = parseConfig(
  `version: sello/v1
listeners: [{address: "127.0.0.1:0", tls: {cert: server.crt, key: server.key}}]
operators:
  address: "127.0.0.1:0"
  tls: {cert: server.crt, key: server.key}
  oidc: {main: {issuer: "https://idp.example", audiences: [a], rolesClaim: [r], roles: [{value: v, tenant: app, role: auditor}]}}
tenants: [{name: app, admins: [${identity}], clients: {auth: off}, keystore: {fs: {path: keys}}, objects: {key: sse}}]
`,
  { file: path.resolve('sello.yaml'), env: {} },
);
const tenant = config.tenants[0]!;
const { keystore } = parseConfig(
  `version: sello/v1
listeners: [{address: "127.0.0.1:0", tls: {cert: server.crt, key: server.key}}]
tenants:
  - name: app
    admins: [${identity}]
    clients: {auth: off}
    keystore: {vaultKv: {addresses: ["https://vault:8200"], login: {agent: {}}}}
`,
  { file: path.resolve('sello.yaml'), env: {} },
).tenants[0]!;
if (keystore.kind !== 'vault-kv') throw new Error('another keystore');
const trail = tenant.audit.trail!;
const operators = config.operators!;

const fields: Record<
  string,
  | LimitsConfig
  | LimitsConfig['http2']
  | QuotaConfig
  | CacheConfig
  | AuditConfig
  | ObjectsConfig
  | ObjectsConfig['bucketKeys']
  | VaultConfig
  | LifecycleConfig
  | Record<string, number>
> = {
  limits: config.limits,
  'limits.http2': config.limits.http2,
  'tenants[].quota': tenant.quota,
  'tenants[].lifecycle': tenant.lifecycle,
  cache: tenant.cache,
  audit: config.serverAudit,
  objects: tenant.objects!,
  'objects.bucketKeys': tenant.objects!.bucketKeys,
  'audit.checkpoint': { records: trail.checkpointRecords, interval: trail.checkpointMs },
  vaultKv: keystore.vault,
  'operators.sessions': { idle: operators.sessions.idleMs, absolute: operators.sessions.absoluteMs },
  'operators.approvals': { expire: operators.approvals.lifeMs, use: operators.approvals.useWithinMs },
  'audit.segment': { size: trail.segmentBytes, age: trail.segmentAgeMs },
};

/** The number a field of the model has, whatever unit its name ends in. */
function inForce(name: string): unknown {
  const section = name.slice(0, name.lastIndexOf('.'));
  const last = name.slice(name.lastIndexOf('.') + 1);
  const values = fields[section] as unknown as Record<string, unknown> | undefined;
  return values?.[last] ?? values?.[`${last}Ms`];
}

function written(name: string): number | undefined {
  const text = /^\S+/.exec(defaults.get(name) ?? '')?.[0] ?? '';
  return /^\d+$/.test(text) ? Number(text) : (parseDuration(text) ?? parseBytes(text));
}

t.test('every default that names a field is the one in force', async (t) => {
  t.ok(defaults.size > 18, 'the page has its tables');
  for (const name of defaults.keys()) t.equal(written(name), inForce(name), name);
});

t.test('every limit of the configuration is on the page', async (t) => {
  const { http2, ...limits } = config.limits;
  const expected = [
    ...Object.keys(limits).map((name) => `limits.${name.replace(/Ms$/, '')}`),
    ...Object.keys(http2).map((name) => `limits.http2.${name}`),
  ];
  t.same(
    expected.filter((name) => !defaults.has(name)),
    [],
  );
});
