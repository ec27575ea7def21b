/** Writes deploy/vault/*.hcl: the policies of the tenant `acme`. A test holds the committed files to this. */
import { mkdirSync, writeFileSync } from 'node:fs';
import { dirname, resolve } from 'node:path';
import type { VaultKvConfig } from '../src/config/model.ts';
import { policyRules, policyText, type PolicyRole } from '../src/keystores/vault-setup.ts';

const root = resolve(import.meta.dirname, '..');

function custodyOf(kind: 'strict' | 'cached'): NonNullable<VaultKvConfig['custody']> {
  return { kind, engine: 'transit', keyPrefix: 'sello-acme-', maxAgeMs: 0, maxUses: 0, maxBytes: 0 };
}

const shapes: Readonly<Record<string, Partial<VaultKvConfig>>> = {
  'kv-v1': { version: 1, recordsPrefix: undefined },
  'kv-v2': {},
  'kv-v2-audit': { auditSigning: { engine: 'transit', key: 'audit-acme' } },
  'kv-v2-transit': { transit: { engine: 'transit', key: 'sello-acme' } },
  'transit-strict': { transit: { engine: 'transit', key: 'sello-acme' }, custody: custodyOf('strict') },
  'transit-cached': { transit: { engine: 'transit', key: 'sello-acme' }, custody: custodyOf('cached') },
};

/** Path and content of every file. */
export function policyFiles(): Map<string, string> {
  const files = new Map<string, string>();
  for (const [shape, change] of Object.entries(shapes)) {
    for (const role of ['runtime', 'administrator'] as const satisfies PolicyRole[]) {
      const rules = policyRules({ ...sample, ...change }, role);
      const head = `# Tenant acme, ${shape}, ${role}. Made by tools/vault-policies.ts; for yours: sello vault setup\n\n`;
      files.set(`deploy/vault/${shape}-${role}.hcl`, head + policyText(rules));
    }
  }
  return files;
}

const sample: VaultKvConfig = {
  kind: 'vault-kv',
  vault: {
    addresses: ['https://vault.example.org:8200'],
    namespace: '',
    tls: { caFile: undefined, certFile: undefined, keyFile: undefined, serverName: undefined },
    login: { method: 'none' },
    timeoutMs: 10_000,
    connectTimeoutMs: 3_000,
    maxConnections: 16,
    pingMs: 10_000,
  },
  engine: 'kv',
  version: 2,
  prefix: 'acme',
  transit: undefined,
  recordsPrefix: 'acme.sello',
};

if (import.meta.main) {
  for (const [path, content] of policyFiles()) {
    mkdirSync(dirname(resolve(root, path)), { recursive: true });
    writeFileSync(resolve(root, path), content);
    console.log(path);
  }
}
