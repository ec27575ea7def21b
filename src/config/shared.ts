/** From the shared sections of a file to the model. */
import type { CacheConfig, LifecycleConfig, LimitsConfig, QuotaConfig } from './model.ts';
import type { KesFile } from './schema-kes.ts';
import type { SelloFile } from './schema-sello.ts';
import type { Address } from './kinds.ts';

export function limitsOf(limits: SelloFile['limits']): LimitsConfig {
  return {
    maxConnections: limits.maxConnections,
    maxRequestsInFlight: limits.maxRequestsInFlight,
    headersTimeoutMs: limits.headersTimeout,
    requestTimeoutMs: limits.requestTimeout,
    idleTimeoutMs: limits.idleTimeout,
    handshakeTimeoutMs: limits.handshakeTimeout,
    maxHeaderBytes: limits.maxHeaderBytes,
    maxConnectionAgeMs: limits.maxConnectionAge,
    shutdownTimeoutMs: limits.shutdownTimeout,
    http2: { ...limits.http2 },
  };
}

export function quotaOf(quota: KesFile['sello']['quota'], limits: LimitsConfig): QuotaConfig {
  return {
    requestsPerSecond: quota.requestsPerSecond,
    burst: quota.burst === 0 ? quota.requestsPerSecond : quota.burst,
    maxRequestsInFlight: Math.min(quota.maxRequestsInFlight, limits.maxRequestsInFlight),
  };
}

export function lifecycleOf({
  deletionWait,
  quiet,
  dualControl,
}: KesFile['sello']['lifecycle']): LifecycleConfig {
  return { deletionWaitMs: deletionWait, quietMs: quiet, dualControl };
}

export function cacheOf(
  bounds: { readonly maxEntries: number; readonly negative: number },
  lives: { readonly expiry: number; readonly unused: number; readonly offline: number },
): CacheConfig {
  return {
    maxEntries: bounds.maxEntries,
    expiryMs: lives.expiry,
    unusedMs: lives.unused,
    offlineMs: lives.offline,
    negativeMs: bounds.negative,
  };
}

export function probesOf(probes: Address | 'off'): Address | undefined {
  return probes === 'off' ? undefined : { ...probes };
}
