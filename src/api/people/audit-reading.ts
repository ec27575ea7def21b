/**
 * Searches and verifications that people ask for, in threads of their own (audit/reading.ts). How many at once is bounded for each tenant
 * and for the process, so that nobody's questions take the machine from the keys.
 */
import os from 'node:os';
import path from 'node:path';
import {
  readAnchors,
  readRecords,
  streamFolders,
  verifyInThread,
  type Anchor,
  type Reading,
  type SearchTask,
  type StreamReport,
  type TrailReport,
} from '../../audit/index.ts';
import type { Clock } from '../../clock.ts';
import { SelloError } from '../../errors.ts';
import type { Tenant } from '../../tenants/tenant.ts';
import { AdminError } from '../admin/index.ts';

/** Of searches, live ones included. */
export const maxSearchesPerTenant = 4;
export const maxSearches = 12;
/** Of verifications, which hash all there is. */
export const maxVerifications = 2;

/** In an answer. */
const maxStreams = 200;
const maxFindings = 50;

interface Verification {
  readonly state: 'running' | 'done' | 'failed';
  readonly trail: string;
  readonly startedMs: number;
  readonly startedBy: string;
  readonly endedMs?: number;
  readonly result?: Record<string, unknown>;
}

export class AuditReading {
  readonly #clock: Clock;
  readonly #searching = new Map<string, number>();
  readonly #verifications = new Map<string, Verification>();
  readonly #end = new AbortController();

  constructor(clock: Clock) {
    this.#clock = clock;
  }

  /** @throws AdminError 409 where there is nothing to read, SelloError SELLO_RATE_LIMITED */
  search(tenant: Tenant, task: Omit<SearchTask, 'kind' | 'trail'>): Reading {
    const trail = trailOf(tenant);
    const { name } = tenant;
    const own = this.#searching.get(name) ?? 0;
    let all = 0;
    for (const count of this.#searching.values()) all += count;
    if (own >= maxSearchesPerTenant || all >= maxSearches || this.#end.signal.aborted)
      throw new SelloError('SELLO_RATE_LIMITED', { detail: 'too many searches' });
    this.#searching.set(name, own + 1);
    // Whatever stands in the folder: of another tenant nothing is shown.
    const filter = { ...task.filter, tenant: name };
    return readRecords({ ...task, kind: 'search', trail, filter }, () => {
      const left = this.#searching.get(name)! - 1;
      if (left === 0) this.#searching.delete(name);
      else this.#searching.set(name, left);
    });
  }

  /** Begins one, or goes on with the one under way. @throws AdminError 409, SelloError SELLO_RATE_LIMITED */
  verify(tenant: Tenant, by: string): Record<string, unknown> {
    const trail = trailOf(tenant);
    if (tenant.config.audit.trail === undefined)
      throw new AdminError(409, 'this tenant’s records are in a plain file, which proves nothing');
    if (this.#of(tenant)?.state === 'running') return this.verification(tenant);
    const running = [...this.#verifications.values()].filter(({ state }) => state === 'running').length;
    if (running >= maxVerifications || this.#end.signal.aborted)
      throw new SelloError('SELLO_RATE_LIMITED', { detail: 'too many verifications' });
    const begun: Verification = { state: 'running', trail, startedMs: this.#clock.now(), startedBy: by };
    this.#verifications.set(tenant.name, begun);
    this.#verify(tenant, trail).then(
      (result) => this.#ended(tenant, begun, { state: 'done', result }),
      () => this.#ended(tenant, begun, { state: 'failed' }),
    );
    return this.verification(tenant);
  }

  /** The latest one. */
  verification(tenant: Tenant): Record<string, unknown> {
    const known = this.#of(tenant);
    return {
      state: known?.state ?? 'none',
      startedAt: dateOf(known?.startedMs),
      startedBy: known?.startedBy ?? null,
      endedAt: dateOf(known?.endedMs),
      result: known?.result ?? null,
    };
  }

  /** Ends what is under way. */
  close(): void {
    this.#end.abort();
  }

  /** What was found in a trail that is no longer this tenant's says nothing of the one that is. */
  #of(tenant: Tenant): Verification | undefined {
    const known = this.#verifications.get(tenant.name);
    return known?.trail === tenant.config.audit.path ? known : undefined;
  }

  #ended(tenant: Tenant, begun: Verification, how: Pick<Verification, 'state' | 'result'>): void {
    if (this.#verifications.get(tenant.name) !== begun) return;
    this.#verifications.set(tenant.name, { ...begun, ...how, endedMs: this.#clock.now() });
  }

  async #verify(tenant: Tenant, trail: string): Promise<Record<string, unknown>> {
    const { records } = tenant.keys;
    // Before the files are read: what is newer than its anchor is no fault, the other way round it would be.
    const read = records === undefined ? undefined : await readAnchors(records);
    const node = os.hostname();
    const there = new Set((await streamFolders(trail)).map((folder) => path.basename(folder)));
    const isOurs = (anchor: Anchor): boolean => anchor.node === node || there.has(anchor.stream);
    const anchors = read?.anchors.filter(isOurs);
    const report = await verifyInThread(trail, anchors, this.#end.signal);
    const elsewhere = (read?.anchors ?? []).filter((anchor) => !isOurs(anchor));
    return viewOf(report, node, read === undefined ? undefined : { ...read, elsewhere });
  }
}

/** The folder, or the file. @throws AdminError 409 */
function trailOf({ config: { audit } }: Tenant): string {
  if (audit.mode === 'off') throw new AdminError(409, 'this tenant keeps no audit records');
  if (audit.path === '-')
    throw new AdminError(409, 'this tenant’s records go to standard output and cannot be read back');
  return audit.path;
}

function viewOf(
  report: TrailReport,
  node: string,
  read: { readonly damaged: readonly string[]; readonly elsewhere: readonly Anchor[] } | undefined,
): Record<string, unknown> {
  const damaged = (read?.damaged ?? []).map((stream) => ({
    kind: 'stream',
    index: null,
    text: `the keystore has an anchor of stream ${stream} that is none`,
  }));
  const findings = [...damaged, ...report.findings.map(shownFinding)];
  const streams = report.streams.toSorted((a, b) => b.findings.length - a.findings.length);
  return {
    verdict: damaged.length > 0 ? 'wrong' : report.verdict,
    node,
    isAnchored: read !== undefined,
    streams: streams.slice(0, maxStreams).map(shownStream),
    streamsNotShown: Math.max(0, streams.length - maxStreams),
    findings: findings.slice(0, maxFindings),
    elsewhere: (read?.elsewhere ?? []).slice(0, maxStreams).map((anchor) => ({
      stream: anchor.stream,
      node: anchor.node,
      records: anchor.checkpoint?.size ?? 0,
      ended: anchor.ended,
      updated: anchor.updated,
    })),
  };
}

function shownStream(report: StreamReport): Record<string, unknown> {
  const { stream, node, records, attested, signed, ended, firstTime, lastTime } = report;
  return {
    stream,
    node: node ?? null,
    records,
    attested: attested ?? null,
    signed,
    ended: ended ?? null,
    firstTime: firstTime ?? null,
    lastTime: lastTime ?? null,
    findings: report.findings.slice(0, maxFindings).map(shownFinding),
    notices: report.notices.slice(0, maxFindings),
  };
}

function shownFinding({ kind, index, text }: TrailReport['findings'][number]): Record<string, unknown> {
  return { kind, index: index ?? null, text };
}

function dateOf(ms: number | undefined): string | null {
  return ms === undefined ? null : new Date(ms).toISOString();
}
