/** What people look at beside single keys: a tenant as a whole, its keys page by page. */
import type { Tenant } from '../../tenants/tenant.ts';
import { eachOf } from '../../concurrency.ts';
import { SelloError } from '../../errors.ts';
import { isName, type KeyName } from '../../keys/index.ts';
import { AdminError, keyringView } from '../admin/index.ts';
import { shownCertificates, type CertificateSources } from './certificates.ts';

/** Each is read from the keystore for its states. */
export const maxKeysOfPage = 100;
const keysOfPage = 25;
const readAtOnce = 8;

export async function tenantView(tenant: Tenant, sources: CertificateSources): Promise<object> {
  const { name, config, configuredAt, keys, audit } = tenant;
  const { lifecycle } = config;
  const isWorking = await keys.health().then(
    () => true,
    () => false,
  );
  const { chain } = audit;
  const next = (await shownCertificates(tenant, sources)).find(
    // A client that has not been here for a day has another certificate by now, or is gone.
    ({ seenAt }) => seenAt === null || Date.now() - Date.parse(seenAt) < 86_400_000,
  );
  return {
    tenant: name,
    configuredAt,
    keystore: { kind: keys.store.kind, isWorking, hasVersions: keys.records !== undefined },
    audit: {
      kind: config.audit.mode === 'off' ? 'off' : config.audit.trail === undefined ? 'file' : 'trail',
      mode: config.audit.mode,
      trouble: audit.trouble ?? null,
      stream: chain?.stream ?? null,
      records: chain?.records ?? null,
      checkpointed: chain?.checkpointed ?? null,
      proofTrouble: chain?.trouble ?? null,
      shipped: chain?.shipped ?? [],
    },
    lifecycle: {
      deletionWaitSeconds: Math.ceil(lifecycle.deletionWaitMs / 1000),
      quietSeconds: Math.ceil(lifecycle.quietMs / 1000),
      dualControl: lifecycle.dualControl,
    },
    certificateEnds: next?.notAfter ?? null,
  };
}

/** A page of keys, each with its versions. @throws AdminError 400, SelloError */
export async function keysView({ keys }: Tenant, query: URLSearchParams): Promise<object> {
  const { prefix, after, limit } = pageOf(query);
  const { names, more } = await keys.list({ prefix, limit, ...(after === undefined ? {} : { after }) });
  const shown = new Array<object>(names.length);
  await eachOf(names, readAtOnce, async (name, at) => {
    shown[at] = await keyView(name, keys);
  });
  return { keys: shown.filter((one) => one !== undefined), next: more ? (names.at(-1) ?? null) : null };
}

/** One that cannot be read is told by its code, and hides no other. */
async function keyView(name: KeyName, keys: Tenant['keys']): Promise<object> {
  try {
    return { key: name, keyring: keyringView(name, await keys.keyring(name)), error: null };
  } catch (error) {
    return { key: name, keyring: null, error: error instanceof SelloError ? error.code : 'SELLO_INTERNAL' };
  }
}

function pageOf(query: URLSearchParams): { prefix: string; after: string | undefined; limit: number } {
  for (const name of query.keys())
    if (!['prefix', 'after', 'limit'].includes(name) || query.getAll(name).length > 1)
      throw new AdminError(400, 'the query does not have the form that this request takes');
  const prefix = query.get('prefix') ?? '';
  const after = query.get('after') ?? undefined;
  const limit = query.get('limit') ?? String(keysOfPage);
  const isPage = /^[1-9]\d{0,2}$/.test(limit) && Number(limit) <= maxKeysOfPage;
  if (!isPage || !/^[\w-]{0,80}$/.test(prefix) || (after !== undefined && !isName(after)))
    throw new AdminError(400, 'the query does not have the form that this request takes');
  return { prefix, after, limit: Number(limit) };
}
