/** From the settings of an audit stream to its trail. */
import { join } from 'node:path';
import type { AuditConfig, KeystoreConfig, ShipConfig, TrailConfig } from './model.ts';
import type { TrailFields } from './schema-trail.ts';

/** A path that ends in `/` is a folder with a chained trail; any other one a plain file. */
export function placeOf(
  path: string,
  fields: TrailFields,
  keystore: KeystoreConfig | undefined,
): Pick<AuditConfig, 'path' | 'trail'> {
  if (!path.endsWith('/') || path === '/') return { path };
  const folder = path.replace(/\/+$/, '');
  return { path: folder, trail: trailOf(folder, fields, keystore) };
}

function trailOf(folder: string, fields: TrailFields, keystore: KeystoreConfig | undefined): TrailConfig {
  // Not in the trail itself: that is what is copied to auditors.
  const absent =
    keystore?.kind === 'file' ? join(keystore.path, 'audit-key.pem') : `${folder}.signing-key.pem`;
  return {
    signingKey: fields.signingKey ?? absent,
    checkpointRecords: fields.checkpoint.records,
    checkpointMs: fields.checkpoint.interval,
    segmentBytes: fields.segment.size,
    segmentAgeMs: fields.segment.age,
    compression: fields.segment.compression,
    release: fields.release,
    ship: fields.ship.flatMap(shipOf),
  };
}

function shipOf({ webhook, syslog }: TrailFields['ship'][number]): ShipConfig[] {
  if (webhook !== undefined) {
    const { url, ca, authorization, format, batch, timeout } = webhook;
    return [
      {
        kind: 'webhook',
        url,
        caFile: ca,
        authorizationFile: authorization,
        format,
        batchRecords: batch,
        timeoutMs: timeout,
      },
    ];
  }
  if (syslog === undefined) return [];
  const { server, ca, cert, key, timeout } = syslog;
  const at = server.lastIndexOf(':');
  const host = server.slice(0, at).replace(/^\[(.*)\]$/, '$1');
  return [
    {
      kind: 'syslog',
      host,
      port: Number(server.slice(at + 1)),
      caFile: ca,
      certFile: cert,
      keyFile: key,
      timeoutMs: timeout,
    },
  ];
}
