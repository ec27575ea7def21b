/**
 * What Sello counts (docs/metrics.md names every family). Callers resolve a series once per route, tenant or file and
 * keep it. No label ever holds a key, an object or an identity; the number of tenants told apart is bounded.
 */
import { collectDefaultMetrics, Registry } from 'prom-client';
import type { Face } from '../access/operations.ts';
import { hungWriters, type AuditObserver, type ChainStatus } from '../audit/index.ts';
import {
  CounterFamily,
  type Distribution,
  GaugeFamily,
  HistogramFamily,
  type Count,
  type Level,
} from './families.ts';
import { renderMetrics, type MetricFamilies, type MetricsPage } from './exposition.ts';
import { KesMetrics } from './kes-metrics.ts';
import type { SpanOutcome } from './tracing.ts';

export interface Metrics {
  /** `route` is the route's pattern, never the path that was asked for. An unknown tenant is the empty string. */
  request(face: Face, route: string, tenant: string): RequestSeries;
  keystore(tenant: string, operation: KeystoreOperation): KeystoreSeries;
  /** Follows a cache's own counts, read at each scrape, until the returned function is called: counters keep what they reached. */
  cache(tenant: string, read: () => CacheCounts): () => void;
  /** The empty string is the server's own stream. */
  audit(tenant: string): AuditSeries;
  tlsHandshakeFailed(reason: string): void;
  /** A login of a person, or a request whose login was not taken. */
  login(outcome: LoginOutcome): void;
  /** `certificate` names it for people, such as `listener 0.0.0.0:7373`. */
  certificateNotAfter(certificate: string, notAfterMs: number): void;
  reloaded(outcome: 'ok' | 'refused', nowMs: number): void;
  /** `tenant`: whose request it was about, if one's. */
  errorLogged(tenant?: string): void;
  /** Keys in use whose sealing version is past its age limit. */
  agedKeys(tenant: string, count: number): void;
  /** A key event that a person has to look at. */
  keyAlarm(tenant: string, kind: string): void;
  /** Replicas that this one knows, read at each scrape. */
  peers(read: () => { readonly known: number; readonly reachable: number }): void;
  /** What came of an item of a peer, or of one who is none. */
  peerItem(outcome: PeerItemOutcome): void;
  /** Follows the number of holds of a tenant until the returned function is called. */
  holds(tenant: string, read: () => number): () => void;
  /** What /readyz asks, read at each scrape. */
  checks(read: () => readonly CheckState[]): void;
  /** Follows the life of a tenant's Vault token, read at each scrape, until the returned function is called. */
  vaultToken(tenant: string, read: () => TokenLife | undefined): () => void;
  /** Spans of traces, by what became of them. */
  spans(outcome: SpanOutcome, count: number): void;
  /** Everything, for /metrics. */
  text(openMetrics?: boolean): Promise<MetricsPage>;
  /** The same as data, for a supervisor that shows several processes. */
  snapshot(): Promise<MetricFamilies>;
  /** KES's families alone, for /v1/metrics: of one tenant, or of the whole server. */
  kesText(tenant: string | undefined): { readonly contentType: string; readonly body: string };
  /** Names of all families of /metrics. */
  readonly families: readonly string[];
}

export type PeerItemOutcome = (typeof peerItemOutcomes)[number];

export type LoginOutcome = 'ok' | 'refused' | 'unavailable' | 'limited' | 'forged';

export interface RequestSeries {
  begin(): void;
  /** `traceId`: of the trace that tells of the request. */
  end(status: number, seconds: number, traceId?: string): void;
}

export type KeystoreOperation = 'create' | 'read' | 'delete' | 'list' | 'health' | 'change';
export type KeystoreOutcome = 'ok' | 'not_found' | 'exists' | 'unreachable' | 'unreadable' | 'failed';

export interface KeystoreSeries {
  observe(outcome: KeystoreOutcome, seconds: number): void;
}

/** One check of readiness. The tenant is undefined where it is about the whole process. */
export interface CheckState {
  readonly check: string;
  readonly tenant: string | undefined;
  readonly isUp: boolean;
}

/** A token that ends: when, and how long its last grant was for. */
export interface TokenLife {
  readonly expiresAtMs: number;
  readonly ttlMs: number;
}

/** A cache's own counts since it was made. */
export interface CacheCounts {
  readonly hits: number;
  readonly misses: number;
  /** Names known to be absent. */
  readonly negative: number;
  /** Keys past their life, served because the store is down. */
  readonly stale: number;
  readonly evictions: number;
  readonly entries: number;
}

export interface AuditSeries extends AuditObserver {
  /** Read at each scrape. */
  watch(stream: {
    readonly queued: number;
    readonly trouble: string | undefined;
    readonly chain?: ChainStatus | undefined;
  }): void;
}

export interface MetricsOptions {
  readonly version: string;
  /** Tenants told apart; further ones share {@link otherTenants}. */
  readonly maxTenants?: number;
  /** `process_*` and `nodejs_*`. Off in tests that make many. */
  readonly processMetrics?: boolean;
}

/** No tenant can have this name. */
export const otherTenants = '~other';

/** 100 tenants × some 25 routes × 5 statuses render in under 50 ms. */
const defaultMaxTenants = 100;

/** What {@link Metrics.keyAlarm} counts: a series that begins with its first event would hide that one from `increase()`. */
const keyAlarmKinds = ['compromised-version-used', 'rolled-back'] as const;

/** `unknown`: of a tenant that is not here. `stranger`: not of a peer at all. */
const peerItemOutcomes = ['taken', 'known', 'ignored', 'refused', 'unknown', 'stranger'] as const;

/** Reasons come from a TLS library's error codes: many, but not from a peer's free text. */
const maxReasons = 64;

export function createMetrics(options: MetricsOptions): Metrics {
  return new PrometheusMetrics(options);
}

class PrometheusMetrics implements Metrics {
  readonly #registry = new Registry();
  /** One tenant's people read nothing of another's traffic: each has its own. */
  readonly #kes = new Map<string, KesMetrics>();
  readonly #maxTenants: number;
  readonly #tenants = new Set<string>();
  readonly #requestSeries = new Map<string, RequestSeries>();
  readonly #requests: CounterFamily;
  readonly #durations: HistogramFamily;
  readonly #inFlight: GaugeFamily;
  readonly #keystore: HistogramFamily;
  readonly #cache: Readonly<Record<'hits' | 'misses' | 'negative' | 'stale' | 'evictions', CounterFamily>>;
  readonly #cacheEntries: GaugeFamily;
  readonly #auditRecords: CounterFamily;
  readonly #auditBytes: CounterFamily;
  readonly #auditRefused: CounterFamily;
  readonly #auditQueued: GaugeFamily;
  readonly #auditUp: GaugeFamily;
  readonly #auditProven: GaugeFamily;
  readonly #auditUnanchored: GaugeFamily;
  readonly #auditUnshipped: GaugeFamily;
  readonly #auditSeconds: HistogramFamily;
  readonly #handshakes: CounterFamily;
  readonly #logins: CounterFamily;
  readonly #spans: CounterFamily;
  readonly #notAfter: GaugeFamily;
  readonly #keyAlarms: CounterFamily;
  readonly #agedKeys: GaugeFamily;
  readonly #peers: Readonly<Record<'known' | 'reachable', Level>>;
  readonly #peerItems: CounterFamily;
  readonly #holds: GaugeFamily;
  readonly #checks: GaugeFamily;
  readonly #tokens = new Set<{ readonly label: string; readonly read: () => TokenLife | undefined }>();
  readonly #reloads: CounterFamily;
  readonly #reloadedAt: GaugeFamily;
  readonly #errorsLogged: Count;

  constructor(options: MetricsOptions) {
    this.#maxTenants = options.maxTenants ?? defaultMaxTenants;
    const counter = (name: string, help: string, ...labels: string[]): CounterFamily =>
      new CounterFamily(this.#registry, name, help, labels);
    const gauge = (name: string, help: string, ...labels: string[]): GaugeFamily =>
      new GaugeFamily(this.#registry, name, help, labels);
    const histogram = (name: string, help: string, ...labels: string[]): HistogramFamily =>
      new HistogramFamily(this.#registry, name, help, labels);

    gauge('sello_build_info', 'Always 1; the labels say what runs.', 'version', 'node').with(
      options.version,
      process.versions.node,
    ).value = 1;
    this.#requests = counter(
      'sello_http_requests_total',
      'Requests answered.',
      ...['face', 'route', 'tenant', 'status'],
    );
    this.#durations = histogram(
      'sello_http_request_duration_seconds',
      'From the end of the request headers to the end of the answer.',
      ...['face', 'route'],
    );
    this.#inFlight = gauge('sello_http_requests_in_flight', 'Requests being answered.', 'face');
    this.#keystore = histogram(
      'sello_keystore_operation_duration_seconds',
      'Calls to the keystore.',
      ...['tenant', 'operation', 'outcome'],
    );
    this.#cache = {
      hits: counter('sello_cache_hits_total', 'Keys found in the cache.', 'tenant'),
      misses: counter('sello_cache_misses_total', 'Keys asked of the keystore.', 'tenant'),
      negative: counter('sello_cache_negative_hits_total', 'Names known to be absent.', 'tenant'),
      stale: counter(
        'sello_cache_stale_hits_total',
        'Keys served past their life, the store being down.',
        'tenant',
      ),
      evictions: counter('sello_cache_evictions_total', 'Keys that left the cache.', 'tenant'),
    };
    this.#cacheEntries = gauge('sello_cache_entries', 'Keys in the cache.', 'tenant');
    this.#auditRecords = counter('sello_audit_records_total', 'Audit records made durable.', 'tenant');
    this.#auditBytes = counter('sello_audit_bytes_total', 'Their size.', 'tenant');
    this.#auditRefused = counter(
      'sello_audit_refused_total',
      'Audit records that could not be written.',
      'tenant',
    );
    this.#auditQueued = gauge(
      'sello_audit_queued_records',
      'Audit records that wait for the disk.',
      'tenant',
    );
    this.#auditUp = gauge('sello_audit_up', '1 while the stream takes records.', 'tenant');
    this.#auditProven = gauge('sello_audit_chain_up', '1 while checkpoints are made and anchored.', 'tenant');
    this.#auditUnanchored = gauge(
      'sello_audit_uncheckpointed_records',
      'Records of a trail behind its last checkpoint.',
      'tenant',
    );
    this.#auditUnshipped = gauge(
      'sello_audit_unshipped_records',
      'Records that the slowest target has not acknowledged.',
      'tenant',
    );
    this.#auditSeconds = histogram(
      'sello_audit_write_duration_seconds',
      'Until an audit record is durable.',
      'tenant',
    );
    gauge('sello_audit_hung_threads', 'Audit writer threads in a call that does not return.').with().read =
      hungWriters;
    this.#logins = counter('sello_logins_total', 'Logins of people, by outcome.', 'outcome');
    this.#handshakes = counter('sello_tls_handshake_failures_total', 'TLS handshakes that failed.', 'reason');
    this.#notAfter = gauge(
      'sello_certificate_not_after_timestamp_seconds',
      'When the certificate ends.',
      'certificate',
    );
    this.#keyAlarms = counter(
      'sello_key_alarms_total',
      'Uses of compromised key versions, and keyrings older than one seen before.',
      ...['tenant', 'kind'],
    );
    this.#agedKeys = gauge(
      'sello_keys_past_age_limit',
      'Keys in use that have sealed with one version for more than two years.',
      'tenant',
    );
    this.#reloads = counter('sello_reloads_total', 'Reloads of configuration and certificates.', 'outcome');
    for (const outcome of ['ok', 'refused']) this.#reloads.with(outcome);
    this.#peers = {
      known: gauge('sello_peers_known', 'Other replicas that this one is to reach.').with(),
      reachable: gauge('sello_peers_reachable', 'Those of them that answered last.').with(),
    };
    this.#peerItems = counter('sello_peer_items_total', 'What came of what peers told.', 'outcome');
    for (const outcome of peerItemOutcomes) this.#peerItems.with(outcome);
    this.#holds = gauge(
      'sello_holds',
      'Restrictions that were asked for while the keystore could not be reached, and are not written to it yet.',
      'tenant',
    );
    this.#checks = gauge('sello_check_up', '1 while this check of readiness passes.', ...['tenant', 'check']);
    const tokenEnds = gauge(
      'sello_vault_token_expiry_timestamp_seconds',
      'When the Vault token in use ends.',
      'tenant',
    );
    tokenEnds.collect = () => this.#eachToken(tokenEnds, ({ expiresAtMs }) => expiresAtMs / 1000);
    const tokenLife = gauge(
      'sello_vault_token_lifetime_seconds',
      'What the Vault token in use was last granted.',
      'tenant',
    );
    tokenLife.collect = () => this.#eachToken(tokenLife, ({ ttlMs }) => ttlMs / 1000);
    this.#spans = counter('sello_trace_spans_total', 'Spans of traces.', 'outcome');
    this.#reloadedAt = gauge(
      'sello_reload_success_timestamp_seconds',
      'The last reload that was taken over.',
    );
    this.#errorsLogged = counter('sello_log_errors_total', 'Log lines of level error.').with();
    if (options.processMetrics ?? true) collectDefaultMetrics({ register: this.#registry });
  }

  get families(): readonly string[] {
    return this.#registry.getMetricsAsArray().map((family) => family.name);
  }

  request(face: Face, route: string, tenant: string): RequestSeries {
    const label = this.#tenantLabel(tenant);
    const key = `${face}\0${route}\0${label}`;
    let series = this.#requestSeries.get(key);
    if (series === undefined) {
      const kes = face === 'kes' ? this.#kesOf(label) : undefined;
      series = new CountedRequest(
        (status) => this.#requests.with(face, route, label, String(status)),
        this.#durations.with(face, route),
        this.#inFlight.with(face),
        kes,
      );
      this.#requestSeries.set(key, series);
    }
    return series;
  }

  keystore(tenant: string, operation: KeystoreOperation): KeystoreSeries {
    const label = this.#tenantLabel(tenant);
    const known = new Map<KeystoreOutcome, Distribution>();
    // A single unreadable key is worth an alert: the first one must be an increase.
    if (operation === 'read') known.set('unreadable', this.#keystore.with(label, operation, 'unreadable'));
    return {
      observe: (outcome, seconds) => {
        let distribution = known.get(outcome);
        if (distribution === undefined) {
          distribution = this.#keystore.with(label, operation, outcome);
          known.set(outcome, distribution);
        }
        distribution.observe(seconds);
      },
    };
  }

  cache(tenant: string, read: () => CacheCounts): () => void {
    const label = this.#tenantLabel(tenant);
    for (const kind of keyAlarmKinds) this.#keyAlarms.with(label, kind);
    // Until they are counted for the first time.
    this.#agedKeys.with(label);
    const stops = (['hits', 'misses', 'negative', 'stale', 'evictions'] as const).map((name) =>
      this.#cache[name].with(label).follow(() => read()[name]),
    );
    stops.push(this.#cacheEntries.with(label).follow(() => read().entries));
    return () => {
      for (const stop of stops) stop();
    };
  }

  audit(tenant: string): AuditSeries {
    const label = this.#tenantLabel(tenant);
    const records = this.#auditRecords.with(label);
    const size = this.#auditBytes.with(label);
    const refused = this.#auditRefused.with(label);
    const duration = this.#auditSeconds.with(label);
    const kes = this.#kesOf(label);
    return {
      written: (count, bytes, seconds) => {
        records.inc(count);
        size.inc(bytes);
        duration.observe(seconds, count);
        kes.auditEvents += count;
      },
      refused: (count) => refused.inc(count),
      watch: (stream) => {
        addReader(this.#auditQueued.with(label), () => stream.queued);
        this.#auditUp.with(label).read = () => (stream.trouble === undefined ? 1 : 0);
        if (stream.chain === undefined) return;
        this.#auditProven.with(label).read = () => (stream.chain?.trouble === undefined ? 1 : 0);
        this.#auditUnanchored.with(label).read = () => {
          const { records, checkpointed } = stream.chain!;
          return records - checkpointed;
        };
        this.#auditUnshipped.with(label).read = () => {
          const { records, shipped } = stream.chain!;
          return Math.max(0, ...shipped.map((acknowledged) => records - acknowledged));
        };
      },
    };
  }

  tlsHandshakeFailed(reason: string): void {
    const { series } = this.#handshakes;
    this.#handshakes.with(series.has(reason) || series.size < maxReasons ? reason : 'other').inc();
  }

  login(outcome: LoginOutcome): void {
    this.#logins.with(outcome).inc();
  }

  certificateNotAfter(certificate: string, notAfterMs: number): void {
    this.#notAfter.with(certificate).value = notAfterMs / 1000;
  }

  reloaded(outcome: 'ok' | 'refused', nowMs: number): void {
    this.#reloads.with(outcome).inc();
    if (outcome === 'ok') this.#reloadedAt.with().value = nowMs / 1000;
  }

  agedKeys(tenant: string, count: number): void {
    this.#agedKeys.with(this.#tenantLabel(tenant)).value = count;
  }

  peers(read: () => { readonly known: number; readonly reachable: number }): void {
    this.#peers.known.read = () => read().known;
    this.#peers.reachable.read = () => read().reachable;
  }

  peerItem(outcome: PeerItemOutcome): void {
    this.#peerItems.with(outcome).inc();
  }

  holds(tenant: string, read: () => number): () => void {
    return this.#holds.with(this.#tenantLabel(tenant)).follow(read);
  }

  keyAlarm(tenant: string, kind: string): void {
    this.#keyAlarms.with(this.#tenantLabel(tenant), kind).inc();
  }

  errorLogged(tenant = ''): void {
    this.#errorsLogged.inc();
    this.#kesOf(this.#tenantLabel(tenant)).errorEvents++;
  }

  checks(read: () => readonly CheckState[]): void {
    this.#checks.collect = () => {
      for (const { check, tenant, isUp } of read()) {
        const { series } = this.#checks;
        const label = this.#tenantLabel(tenant ?? '');
        // Tenants that share a label are up when all of them are.
        const isKnown = series.has(`${label}\0${check}`);
        const level = this.#checks.with(label, check);
        level.value = isUp && (!isKnown || level.value === 1) ? 1 : 0;
      }
    };
  }

  vaultToken(tenant: string, read: () => TokenLife | undefined): () => void {
    const token = { label: this.#tenantLabel(tenant), read };
    this.#tokens.add(token);
    return () => void this.#tokens.delete(token);
  }

  /** One series per tenant that has a token which ends; of those that share a label, the token that ends first. */
  #eachToken(family: GaugeFamily, value: (life: TokenLife) => number): void {
    const first = new Map<string, TokenLife>();
    for (const { label, read } of this.#tokens) {
      const life = read();
      const before = first.get(label);
      if (life !== undefined && (before === undefined || life.expiresAtMs < before.expiresAtMs))
        first.set(label, life);
    }
    for (const [label, life] of first) family.with(label).value = value(life);
  }

  spans(outcome: SpanOutcome, count: number): void {
    this.#spans.with(outcome).inc(count);
  }

  async text(openMetrics = false): Promise<MetricsPage> {
    return renderMetrics(await this.#registry.getMetricsAsJSON(), openMetrics);
  }

  async snapshot(): Promise<MetricFamilies> {
    return this.#registry.getMetricsAsJSON();
  }

  kesText(tenant: string | undefined): { contentType: string; body: string } {
    if (tenant !== undefined) return this.#kesOf(this.#tenantLabel(tenant)).text();
    const whole = new KesMetrics();
    for (const part of this.#kes.values()) whole.add(part);
    return whole.text();
  }

  #kesOf(label: string): KesMetrics {
    let kes = this.#kes.get(label);
    if (kes === undefined) this.#kes.set(label, (kes = new KesMetrics()));
    return kes;
  }

  #tenantLabel(tenant: string): string {
    if (tenant === '' || this.#tenants.has(tenant)) return tenant;
    if (this.#tenants.size >= this.#maxTenants) return otherTenants;
    this.#tenants.add(tenant);
    return tenant;
  }
}

/** Tenants that share a label add up. */
function addReader(level: Level, read: () => number): void {
  const before = level.read;
  level.read = before === undefined ? read : () => before() + read();
}

class CountedRequest implements RequestSeries {
  readonly #resolve: (status: number) => Count;
  readonly #duration: Distribution;
  readonly #inFlight: Level;
  readonly #kes: KesMetrics | undefined;
  /** By status: an index is faster than a map. */
  readonly #byStatus: (Count | undefined)[] = new Array<Count | undefined>(600);

  constructor(
    resolve: (status: number) => Count,
    duration: Distribution,
    inFlight: Level,
    kes: KesMetrics | undefined,
  ) {
    this.#resolve = resolve;
    this.#duration = duration;
    this.#inFlight = inFlight;
    this.#kes = kes;
  }

  begin(): void {
    this.#inFlight.value++;
    if (this.#kes !== undefined) this.#kes.active++;
  }

  end(status: number, seconds: number, traceId?: string): void {
    this.#inFlight.value--;
    let count = this.#byStatus[status];
    if (count === undefined) {
      count = this.#resolve(status);
      this.#byStatus[status] = count;
    }
    count.value++;
    this.#duration.observe(seconds, 1, traceId);
    if (this.#kes !== undefined) this.#kes.answered(status, seconds);
  }
}
