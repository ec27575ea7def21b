/**
 * A record in the form of the Open Cybersecurity Schema Framework, 1.9.0 (docs/audit.md has the table): use of keys is API
 * Activity (6003), the life of a key Entity Management (3004).
 */

interface Place {
  readonly bucket?: string;
  readonly object?: string;
}

interface EcsRecord {
  readonly '@timestamp': string;
  readonly error?: { readonly code?: string };
  readonly event: {
    readonly action?: string;
    readonly duration?: number;
    readonly outcome?: string;
    readonly reason?: string;
  };
  readonly http?: {
    readonly request?: { readonly id?: string; readonly method?: string };
    readonly response?: { readonly status_code?: number };
  };
  readonly organization?: { readonly id?: string };
  readonly rule?: { readonly name?: string };
  readonly sello: {
    readonly chain?: { readonly sequence: number; readonly stream: string };
    readonly context?: Place;
    readonly items?: readonly (Place & { readonly key?: string })[];
    readonly context_sha256?: string;
    readonly decision?: string;
    readonly face?: string;
    readonly key?: string;
  };
  readonly source?: { readonly ip?: string; readonly address?: string };
  readonly trace?: { readonly id?: string };
  readonly tls?: {
    readonly client?: { readonly issuer?: string; readonly x509?: { readonly serial_number?: string } };
  };
  readonly url?: { readonly path?: string };
  readonly user?: { readonly id?: string };
}

const version = '1.9.0';

const apiActivity = {
  class_uid: 6003,
  class_name: 'API Activity',
  category_uid: 6,
  category_name: 'Application Activity',
};
const entityManagement = {
  class_uid: 3004,
  class_name: 'Entity Management',
  category_uid: 3,
  category_name: 'Identity & Access Management',
};

const names = { 1: 'Create', 2: 'Read', 3: 'Update', 4: 'Delete' } as const;

/** Activity of each operation: 1 create, 2 read, 3 update, 4 delete; those of a key's life are Entity Management. */
const activities: Readonly<
  Record<string, readonly [1 | 2 | 3 | 4, typeof apiActivity | typeof entityManagement]>
> = {
  create: [1, entityManagement],
  import: [1, entityManagement],
  describe: [2, entityManagement],
  list: [2, entityManagement],
  delete: [4, entityManagement],
  rotate: [3, entityManagement],
  state: [3, entityManagement],
  admin: [3, entityManagement],
  issue: [1, apiActivity],
  encrypt: [1, apiActivity],
  seal: [1, apiActivity],
  unwrap: [2, apiActivity],
  open: [2, apiActivity],
  mac: [2, apiActivity],
  rewrap: [3, apiActivity],
};

/** A record line, newline excluded, as a line of OCSF. */
export function ocsfLine(line: Buffer): string {
  return JSON.stringify(toOcsf(JSON.parse(line.toString('latin1')) as EcsRecord));
}

export function toOcsf(record: EcsRecord): object {
  const { event, http, sello, source, tls, trace, user } = record;
  const [activity, kind] = activities[event.action ?? ''] ?? [2, apiActivity];
  const isSuccess = event.outcome === 'success';
  const { items = [] } = sello;
  // Only API Activity has the profile that gives a trace its own place.
  const hasTrace = trace !== undefined && kind === apiActivity;
  return {
    activity_id: activity,
    activity_name: names[activity],
    ...kind,
    type_uid: kind.class_uid * 100 + activity,
    time: Date.parse(record['@timestamp']),
    duration: event.duration === undefined ? undefined : Math.round(event.duration / 1e6),
    severity_id: isSuccess ? 1 : 2,
    status_id: event.outcome === 'unknown' ? 0 : isSuccess ? 1 : 2,
    status_code: record.error?.code ?? String(http?.response?.status_code ?? ''),
    status_detail: event.reason,
    metadata: {
      version,
      product: { name: 'Sello', vendor_name: 'Sello' },
      uid: sello.chain === undefined ? http?.request?.id : `${sello.chain.stream}/${sello.chain.sequence}`,
      sequence: sello.chain?.sequence,
      correlation_uid: http?.request?.id,
      tenant_uid: record.organization?.id,
      profiles: hasTrace ? ['security_control', 'trace'] : ['security_control'],
    },
    trace: hasTrace ? { uid: trace.id } : undefined,
    action_id: sello.decision === 'allow' ? 1 : sello.decision === 'deny' ? 2 : 0,
    firewall_rule: record.rule?.name === undefined ? undefined : { name: record.rule.name },
    actor: {
      user: { uid: user?.id },
      session:
        tls?.client === undefined
          ? undefined
          : { issuer: tls.client.issuer, uid: tls.client.x509?.serial_number },
    },
    src_endpoint: { ip: source?.ip, hostname: source?.address },
    ...(kind === entityManagement
      ? { entity: { name: sello.key, type: 'Encryption Key' } }
      : {
          api: {
            operation: event.action ?? 'unknown',
            service: { name: sello.face },
            request: { uid: http?.request?.id },
          },
          resources: [
            ...[...new Set([sello.key, ...items.map(({ key }) => key)])]
              .filter((name) => name !== undefined)
              .map((name) => ({ name, type: 'Encryption Key' })),
            ...[sello.context ?? {}, ...items].flatMap(({ bucket, object }) =>
              bucket === undefined
                ? []
                : [{ name: object === undefined ? bucket : `${bucket}/${object}`, type: 'Object' }],
            ),
          ],
        }),
    http_request: { http_method: http?.request?.method, url: { path: record.url?.path } },
    unmapped: { context_sha256: sello.context_sha256, trace_id: hasTrace ? undefined : trace?.id },
  };
}
