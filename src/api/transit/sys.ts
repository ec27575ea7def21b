/** What clients ask of Vault itself before they use it. */
import { fault, type VaultAnswer } from './answers.ts';
import type { TransitCall } from './call.ts';
import type { Handler, TransitRoute } from './routes.ts';

/** The release of Vault whose answers these are. */
const vaultVersion = '1.21.2';

const health: Handler = ({ tenant }) => ({
  status: 200,
  bare: {
    initialized: true,
    sealed: false,
    standby: false,
    performance_standby: false,
    replication_performance_mode: 'disabled',
    replication_dr_mode: 'disabled',
    server_time_utc: Math.floor(Date.now() / 1000),
    version: vaultVersion,
    enterprise: false,
    cluster_name: `sello-${tenant.name}`,
    echo_duration_ms: 0,
    clock_skew_ms: 0,
    replication_primary_canary_age_ms: 0,
  },
});

const sealStatus: Handler = ({ tenant }) => ({
  status: 200,
  bare: {
    type: 'shamir',
    initialized: true,
    sealed: false,
    t: 1,
    n: 1,
    progress: 0,
    nonce: '',
    version: vaultVersion,
    migration: false,
    cluster_name: `sello-${tenant.name}`,
    recovery_seal: false,
    storage_type: tenant.keys.store.kind,
  },
});

const leader: Handler = () => ({
  status: 200,
  bare: {
    ha_enabled: false,
    is_self: false,
    active_time: '0001-01-01T00:00:00Z',
    leader_address: '',
    leader_cluster_address: '',
    performance_standby: false,
    performance_standby_last_remote_wal: 0,
  },
});

function mountView(type: string, options: Record<string, string>): Record<string, unknown> {
  return {
    accessor: `${type}_sello`,
    config: { default_lease_ttl: 0, force_no_cache: false, max_lease_ttl: 0 },
    description: '',
    external_entropy_access: false,
    local: false,
    options,
    plugin_version: '',
    running_plugin_version: `v${vaultVersion}+sello`,
    running_sha256: '',
    seal_wrap: false,
    type,
    uuid: '',
  };
}

function mountsOf({ config: { mounts } }: TransitCall): Record<string, Record<string, unknown>> {
  return {
    [`${mounts.transit}/`]: mountView('transit', {}),
    [`${mounts.kv}/`]: mountView('kv', { version: '2' }),
  };
}

const mounts: Handler = (call) => {
  call.authorize('status', undefined);
  const data = mountsOf(call);
  return { status: 200, data, mountType: '' };
};

/** For anybody with a token: what `vault kv` asks before it builds a path. */
const mountOf: Handler = (call, { path = '' }): VaultAnswer => {
  for (const [mount, view] of Object.entries(mountsOf(call)))
    if (`${path}/`.startsWith(mount)) return { status: 200, data: { ...view, path: mount } };
  throw fault(
    403,
    `preflight capability check returned 403, please ensure client's policies grant access to path "${path.split('/')[0]!}/"`,
    'SELLO_NOT_AUTHORIZED',
  );
};

const visibleMounts: Handler = (call) => ({ status: 200, data: { auth: {}, secret: mountsOf(call) } });

export const sysRoutes: readonly TransitRoute[] = [
  { path: 'health', operation: 'status', methods: { GET: health }, isOpen: true },
  { path: 'seal-status', operation: 'status', methods: { GET: sealStatus }, isOpen: true },
  { path: 'leader', operation: 'status', methods: { GET: leader }, isOpen: true },
  { path: 'mounts', operation: 'status', methods: { GET: mounts } },
  { path: 'internal/ui/mounts', operation: 'status', methods: { GET: visibleMounts } },
  { path: 'internal/ui/mounts/{path*}', operation: 'status', methods: { GET: mountOf } },
];
