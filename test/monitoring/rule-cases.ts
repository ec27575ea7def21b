/** For each alert: series that make it fire after a time, and series as close to that as may be that do not. */

/** Series in the notation of promtool: a sample a minute, `0+60x10` counts from 0 in steps of 60. */
export type Series = Readonly<Record<string, string>>;

export interface RuleCase {
  readonly fires: Series;
  /** Other series that make it fire after the same time, named by what they are about. */
  readonly firesToo?: Readonly<Record<string, Series>>;
  /** Minutes after which it fires. */
  readonly afterMinutes: number;
  /** Minutes after which it does not, where those are others. */
  readonly quietAfterMinutes?: number;
  /** Named by what it is about. */
  readonly quiet: Readonly<Record<string, Series>>;
  /** Alerts that fire with it and should. */
  readonly with?: readonly string[];
  /** The target itself is up in every case but those that are about it. */
  readonly up?: Series;
}

const at = 'job="sello",instance="a"';
const acme = `${at},tenant="acme"`;
const requests = (status: number, route = '/v1/key/generate/'): string =>
  `sello_http_requests_total{${acme},face="kes",route="${route}",status="${status}"}`;
const latency = (name: string, labels: string, le: string): string => `${name}_bucket{${labels},le="${le}"}`;
const day = 86_400;

/** A histogram with `fast` observations a minute below `bound`, and `slow` ones above. */
function histogram(name: string, labels: string, bound: string, fast: number, slow: number): Series {
  return {
    [latency(name, labels, bound)]: `0+${fast}x60`,
    [latency(name, labels, '2.5')]: `0+${fast + slow}x60`,
    [latency(name, labels, '+Inf')]: `0+${fast + slow}x60`,
  };
}

const keyLabels = `${at},face="kes",route="/v1/key/decrypt/"`;
const readLabels = `${acme},operation="read",outcome="ok"`;
const reads = (outcome: string): string =>
  `sello_keystore_operation_duration_seconds_count{${acme},operation="read",outcome="${outcome}"}`;
const certificate = `sello_certificate_not_after_timestamp_seconds{${at},certificate="listener 0.0.0.0:7373"}`;
const tokenEnds = `sello_vault_token_expiry_timestamp_seconds{${acme}}`;
const tokenLife = `sello_vault_token_lifetime_seconds{${acme}}`;

export const ruleCases: Readonly<Record<string, RuleCase>> = {
  SelloDown: {
    up: { [`up{${at}}`]: '1x5 0x20' },
    fires: {},
    afterMinutes: 9,
    quiet: { 'one missed scrape': { [`up{${at}}`]: '1x5 0 1x20' } },
  },
  SelloAbsent: {
    up: { 'up{job="node",instance="a"}': '1x20' },
    fires: {},
    afterMinutes: 6,
    quiet: {},
  },
  SelloWorkerDown: {
    fires: {
      [`sello_worker_up{${at},worker="1"}`]: '1x3 0x20',
      [`sello_worker_up{${at},worker="0"}`]: '1x30',
    },
    afterMinutes: 7,
    quiet: { 'a worker that is started again': { [`sello_worker_up{${at},worker="1"}`]: '1x3 0 1x20' } },
  },
  SelloRestarting: {
    fires: { [`process_start_time_seconds{${at}}`]: '1x3 200x3 400x3 600x20' },
    afterMinutes: 14,
    quiet: { 'one upgrade': { [`process_start_time_seconds{${at}}`]: '1x5 300x20' } },
  },
  SelloErrorsFast: {
    fires: { [requests(200)]: '0+970x80', [requests(502)]: '0+30x80' },
    afterMinutes: 70,
    with: ['SelloErrorsSlow'],
    quiet: {
      'one in a thousand': { [requests(200)]: '0+999x80', [requests(500)]: '0+1x80' },
      'a burst that is over': { [requests(200)]: '0+100x80', [requests(502)]: '0+100x30 3000x50' },
      "clients' mistakes": { [requests(200)]: '0+900x80', [requests(404)]: '0+100x80' },
    },
  },
  SelloErrorsSlow: {
    fires: { [requests(200)]: '0+990x400', [requests(502)]: '0+9x400' },
    afterMinutes: 380,
    quiet: { 'one in a thousand': { [requests(200)]: '0+999x400', [requests(502)]: '0+1x400' } },
  },
  SelloSlow: {
    fires: histogram('sello_http_request_duration_seconds', keyLabels, '0.5', 95, 5),
    afterMinutes: 30,
    quiet: {
      'one slow one in a thousand': histogram(
        'sello_http_request_duration_seconds',
        keyLabels,
        '0.5',
        1998,
        2,
      ),
      'log streams, which last': histogram(
        'sello_http_request_duration_seconds',
        `${at},face="kes",route="/v1/log/audit"`,
        '0.5',
        0,
        10,
      ),
    },
  },
  SelloEventLoopBlocked: {
    fires: { [`nodejs_eventloop_lag_p99_seconds{${at}}`]: '0.4x20' },
    afterMinutes: 8,
    quiet: {
      'a short pause': { [`nodejs_eventloop_lag_p99_seconds{${at}}`]: '0.01x3 0.4 0.01x20' },
      'another job': { 'nodejs_eventloop_lag_p99_seconds{job="shop",instance="b"}': '0.4x20' },
    },
  },
  SelloFileDescriptorsLow: {
    fires: { [`process_open_fds{${at}}`]: '900x20', [`process_max_fds{${at}}`]: '1024x20' },
    afterMinutes: 8,
    quiet: {
      'three quarters': { [`process_open_fds{${at}}`]: '768x20', [`process_max_fds{${at}}`]: '1024x20' },
    },
  },
  SelloReloadRefused: {
    fires: { [`sello_reloads_total{${at},outcome="refused"}`]: '0x5 1x20' },
    afterMinutes: 10,
    quietAfterMinutes: 60,
    quiet: {
      'reloads that are taken over': {
        [`sello_reloads_total{${at},outcome="refused"}`]: '0x80',
        [`sello_reloads_total{${at},outcome="ok"}`]: '0+1x80',
      },
      'a refusal an hour ago': { [`sello_reloads_total{${at},outcome="refused"}`]: '0x5 1x120' },
    },
  },
  SelloErrorsLogged: {
    fires: { [`sello_log_errors_total{${at}}`]: '0+12x40' },
    afterMinutes: 25,
    quiet: { 'one a minute': { [`sello_log_errors_total{${at}}`]: '0+1x40' } },
  },
  SelloKeystoreDown: {
    fires: { [`sello_check_up{${acme},check="keystore"}`]: '1x2 0x20' },
    afterMinutes: 6,
    quiet: { 'up again in time': { [`sello_check_up{${acme},check="keystore"}`]: '1x2 0x0 1x20' } },
  },
  SelloKeystoreErrors: {
    fires: { [reads('ok')]: '0+90x20', [reads('unreachable')]: '0+10x20' },
    afterMinutes: 12,
    quiet: { 'keys that do not exist': { [reads('ok')]: '0+50x20', [reads('not_found')]: '0+50x20' } },
  },
  SelloKeystoreSlow: {
    fires: histogram('sello_keystore_operation_duration_seconds', readLabels, '1', 90, 10),
    afterMinutes: 30,
    quiet: { fast: histogram('sello_keystore_operation_duration_seconds', readLabels, '1', 100, 0) },
  },
  SelloStoredKeyUnreadable: {
    fires: { [reads('unreadable')]: '0x5 1x30' },
    afterMinutes: 8,
    quiet: { none: { [reads('unreadable')]: '0x30', [reads('ok')]: '0+10x30' } },
  },
  SelloServingStaleKeys: {
    fires: { [`sello_cache_stale_hits_total{${acme}}`]: '0+5x30' },
    afterMinutes: 12,
    quiet: { 'a short outage that is over': { [`sello_cache_stale_hits_total{${acme}}`]: '0 5 10 10x30' } },
  },
  SelloVaultTokenExpiring: {
    // At minute 50 of an hour a sixth is left.
    fires: { [tokenEnds]: '3600x60', [tokenLife]: '3600x60' },
    afterMinutes: 50,
    quiet: { 'before it is renewed': { [tokenEnds]: '3600x40 6000x60', [tokenLife]: '3600x100' } },
  },
  SelloKeyAlarm: {
    fires: { [`sello_key_alarms_total{${acme},kind="rolled-back"}`]: '0x5 1x20' },
    afterMinutes: 8,
    quietAfterMinutes: 60,
    quiet: { 'one an hour ago': { [`sello_key_alarms_total{${acme},kind="rolled-back"}`]: '0x5 1x120' } },
  },
  SelloHoldsWaiting: {
    fires: { [`sello_holds{${acme}}`]: '0x2 3x40' },
    afterMinutes: 20,
    quiet: {
      'written within minutes': { [`sello_holds{${acme}}`]: '3x10 0x40' },
      none: { [`sello_holds{${acme}}`]: '0x40' },
    },
  },
  SelloPeersUnreachable: {
    fires: { [`sello_peers_known{${at}}`]: '2x40', [`sello_peers_reachable{${at}}`]: '2x5 1x40' },
    firesToo: {
      'one of two processes asks': {
        [`sello_peers_known{${at},worker="0"}`]: '2x40',
        [`sello_peers_reachable{${at},worker="0"}`]: '0x40',
        [`sello_peers_known{${at},worker="1"}`]: '0x40',
        [`sello_peers_reachable{${at},worker="1"}`]: '0x40',
      },
    },
    afterMinutes: 15,
    quiet: {
      'a replica that restarts': {
        [`sello_peers_known{${at}}`]: '2x40',
        [`sello_peers_reachable{${at}}`]: '2x5 1x2 2x40',
      },
      'no peers': { [`sello_peers_known{${at}}`]: '0x40', [`sello_peers_reachable{${at}}`]: '0x40' },
    },
  },
  SelloKeysPastAgeLimit: {
    fires: { [`sello_keys_past_age_limit{${acme}}`]: '2x90' },
    afterMinutes: 65,
    quiet: { 'rotated within the hour': { [`sello_keys_past_age_limit{${acme}}`]: '2x30 0x60' } },
  },
  SelloCertificateExpiresSoon: {
    fires: { [certificate]: `${10 * day}x20` },
    afterMinutes: 1,
    quiet: { 'a month': { [certificate]: `${30 * day}x20` } },
  },
  SelloCertificateExpiresNow: {
    fires: { [certificate]: `${day}x20` },
    afterMinutes: 1,
    with: ['SelloCertificateExpiresSoon'],
    quiet: { 'a month': { [certificate]: `${30 * day}x20` } },
  },
  SelloRequestsDenied: {
    fires: { [requests(403)]: '0+30x30', [requests(200)]: '0+600x30' },
    afterMinutes: 12,
    quiet: {
      'one a minute': { [requests(403)]: '0+1x30' },
      'keys that do not exist': { [requests(404)]: '0+30x30' },
    },
  },
  SelloDecryptRefused: {
    fires: { [requests(400, '/v1/key/decrypt/')]: '0+12x30' },
    afterMinutes: 12,
    quiet: {
      'nobody known': {
        [requests(400, '/v1/key/decrypt/').replace('acme', '')]: '0+12x30',
      },
      'refused elsewhere': { [requests(400, '/v1/key/create/')]: '0+12x30' },
      'one a minute': { [requests(400, '/v1/key/decrypt/')]: '0+1x30' },
    },
  },
  SelloQuotaUsedUp: {
    fires: { [requests(429)]: '0+60x40' },
    afterMinutes: 16,
    quiet: { 'a burst of a minute': { [requests(429)]: '0 600 600x40' } },
  },
  SelloHandshakesFail: {
    fires: { [`sello_tls_handshake_failures_total{${at},reason="unknown ca"}`]: '0+60x40' },
    afterMinutes: 16,
    quiet: {
      'a probe without TLS every ten seconds': {
        [`sello_tls_handshake_failures_total{${at},reason="ECONNRESET"}`]: '0+6x40',
      },
    },
  },
  SelloAuditDown: {
    fires: { [`sello_audit_up{${acme}}`]: '1x2 0x20' },
    afterMinutes: 5,
    quiet: { up: { [`sello_audit_up{${acme}}`]: '1x20' } },
  },
  SelloAuditRecordsRefused: {
    fires: { [`sello_audit_refused_total{${acme}}`]: '0x5 1x20' },
    afterMinutes: 7,
    quiet: { none: { [`sello_audit_refused_total{${acme}}`]: '4x30' } },
  },
  SelloAuditUnproven: {
    fires: { [`sello_audit_chain_up{${acme}}`]: '0x20' },
    afterMinutes: 7,
    quiet: { 'back after two minutes': { [`sello_audit_chain_up{${acme}}`]: '0x2 1x20' } },
  },
  SelloAuditShippingBehind: {
    fires: { [`sello_audit_unshipped_records{${acme}}`]: '0+500x60' },
    firesToo: {
      'a target that is down, and no traffic': { [`sello_audit_unshipped_records{${acme}}`]: '30000x60' },
      'keys wait for a target that is down': { [`sello_audit_unshipped_records{${acme}}`]: '40x60' },
    },
    afterMinutes: 40,
    quiet: {
      'it comes and goes': {
        [`sello_audit_unshipped_records{${acme}}`]:
          '1 3 2 5 1 4 2 1 6 2 3 1 2 4 1 3 2 5 1 4 2 1 6 2 3 1 2 4 1 3 2 5 1 4 2 1 6 2 3 1 2 4',
      },
      'nothing waits': { [`sello_audit_unshipped_records{${acme}}`]: '0x60' },
      'it catches up': { [`sello_audit_unshipped_records{${acme}}`]: '30000-400x60' },
      'a few': { [`sello_audit_unshipped_records{${acme}}`]: '0+5x60' },
    },
  },
  SelloAuditSlow: {
    fires: histogram('sello_audit_write_duration_seconds', acme, '0.25', 90, 10),
    afterMinutes: 30,
    quiet: { fast: histogram('sello_audit_write_duration_seconds', acme, '0.25', 100, 0) },
  },
  SelloAuditThreadsHung: {
    fires: { [`sello_audit_hung_threads{${at}}`]: '0x2 1x20' },
    afterMinutes: 6,
    quiet: { none: { [`sello_audit_hung_threads{${at}}`]: '0x20' } },
  },
};
