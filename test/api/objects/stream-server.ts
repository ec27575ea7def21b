/** A server of its own process for tests of memory: tells its resident size and open handles when asked. */
import { constants, PerformanceObserver, type PerformanceEntry } from 'node:perf_hooks';
import { readdirSync, readFileSync, rmSync } from 'node:fs';
import { ObjectSite, objectsYaml } from './site.ts';
import { credentialsOf } from '../../attacks/pki.ts';

const site = await new ObjectSite().begin({ ...objectsYaml, maxStreams: 2000 });
process.on('exit', () => rmSync(site.folder, { recursive: true, force: true }));
process.on('disconnect', () => process.exit(0));
process.send!({ port: site.port, ...credentialsOf(site.node) });

/** Collections of the whole heap so far, those that are asked for below included. */
let wholeCollections = 0;
new PerformanceObserver((list) => {
  for (const entry of list.getEntries() as (PerformanceEntry & {
    readonly detail: { readonly kind: number };
  })[])
    if (entry.detail.kind === constants.NODE_PERFORMANCE_GC_MAJOR) wholeCollections++;
}).observe({ entryTypes: ['gc'] });

process.on('message', (what: 'sizes' | 'peak') => {
  globalThis.gc?.();
  const status = readFileSync('/proc/self/status', 'utf8');
  const peak = Number(/VmHWM:\s+(\d+) kB/.exec(status)![1]) * 1024;
  process.send!({
    what,
    rss: process.memoryUsage.rss(),
    peak,
    wholeCollections,
    files: readdirSync('/proc/self/fd').length,
    inFlight: site.server.runtime.tenants.get('alpha')!.quota.inFlight,
  });
});
