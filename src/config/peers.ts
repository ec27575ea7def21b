/** From the `peers` section to the model, with what a field alone cannot tell. */
import type { PeersConfig, TenantConfig, TlsConfig } from './model.ts';
import type { PeersFields } from './schema-peers.ts';

/** More would tell one another of everything all the time: put the replicas of one region together. */
const mostUrls = 64;

export function peersOf(
  source: PeersFields,
  tls: TlsConfig,
  tenants: readonly TenantConfig[],
  refuse: (message: string, ...path: (string | number)[]) => void,
): PeersConfig {
  const { address, ca, discover, identities, name, urls } = source;
  if (name === undefined && identities.length === 0)
    refuse("'name' or 'identities' is missing: whoever has any certificate of 'ca' would be a replica");
  if (urls.length === 0 && discover === undefined)
    refuse("'urls' or 'discover' is missing: no replica would ever be asked");
  if (urls.length > mostUrls) refuse(`at most ${String(mostUrls)} replicas`, 'urls');
  urls.forEach((url, i) => {
    const { href, origin, protocol } = new URL(url);
    if (protocol !== 'https:' || href !== `${origin}/`)
      refuse(`'${url}' is no address of a replica: 'https://host:port'`, 'urls', i);
  });
  // A client's certificate must not be one that speaks for the server.
  identities.forEach((identity, i) => {
    const tenant = tenants.find(
      ({ admins, policies }) =>
        admins.includes(identity) || policies.some((policy) => policy.identities.includes(identity)),
    );
    if (tenant !== undefined) refuse(`this is a client of tenant '${tenant.name}'`, 'identities', i);
  });
  const colon = discover?.lastIndexOf(':') ?? 0;
  return {
    ...address,
    tls,
    caFile: ca,
    name,
    identities,
    urls: [...new Set(urls.map((url) => new URL(url).origin))],
    discover:
      discover === undefined
        ? undefined
        : { host: discover.slice(0, colon).replace(/^\[|\]$/g, ''), port: Number(discover.slice(colon + 1)) },
  };
}
