/**
 * The configuration as the rest of Sello sees it: parsed, validated, defaults filled in, secrets not yet read.
 * Both a Sello file and a KES file end here. Durations are milliseconds.
 */
import { hash } from 'node:crypto';
import type { Identity } from '../access/identity.ts';
import type { Operation } from '../access/operations.ts';
import type { TokenAlgorithm } from '../access/people/token-algorithms.ts';
import type { RoleGrant } from '../access/people/roles.ts';
import type { TenantName } from '../tenants/name.ts';

export interface Config {
  /** `kes`: read from a KES file as it is, one tenant. */
  readonly dialect: 'sello' | 'kes';
  /** Absolute path of the file, undefined for `sello dev`. */
  readonly file: string | undefined;
  readonly processes: number;
  readonly listeners: readonly ListenerConfig[];
  /** Plain HTTP listener for /livez, /readyz, /metrics. */
  readonly probes: { readonly host: string; readonly port: number } | undefined;
  readonly limits: LimitsConfig;
  readonly log: LogConfig;
  /** Not given: no traces. */
  readonly traces?: TracesConfig | undefined;
  /** Stream for refusals before a tenant is known. */
  readonly serverAudit: AuditConfig;
  readonly tenants: readonly TenantConfig[];
  /** Not given: people have no way in. */
  readonly operators?: OperatorsConfig | undefined;
  /** Not given: replicas hear of one another's changes through their keystores alone. */
  readonly peers?: PeersConfig | undefined;
  /** Where holds outlive a restart; undefined: nowhere. */
  readonly holdsFolder?: string | undefined;
  /** Upper bound in which deletes, policy changes and revocations reach every process. */
  readonly propagationMs: number;
  /** Things a person should know about this file: legacy fields, patterns that never match. Each has a line where known. */
  readonly warnings: readonly ConfigNotice[];
}

export interface ConfigNotice {
  readonly message: string;
  readonly line: number | undefined;
  /** True when `sello config check` counts it as an error although the server starts. */
  readonly failsCheck: boolean;
}

/** OpenTelemetry traces, by OTLP over HTTP. */
export interface TracesConfig {
  readonly url: string;
  readonly caFile: string | undefined;
  readonly authorizationFile: string | undefined;
  readonly service: string;
  /** Of so many requests one is traced. */
  readonly oneIn: number;
  readonly timeoutMs: number;
}

export interface ListenerConfig {
  readonly host: string;
  readonly port: number;
  readonly tls: TlsConfig;
  /** When not empty: SNI and :authority must be one of these (a missing SNI is accepted). */
  readonly serverNames: readonly string[];
  /** Served by a process beside the workers, at a lower priority. */
  readonly ownProcess: boolean;
  /** Callers without a certificate belong to this tenant, and prove who they are by a login (Transit face). */
  readonly tenantWithoutCertificate?: TenantName | undefined;
}

/** How replicas know one another, and where they listen to each other. */
export interface PeersConfig {
  readonly host: string;
  readonly port: number;
  /** Shown to peers as their server and as their client. */
  readonly tls: TlsConfig;
  readonly caFile: string;
  /** Every peer's certificate is for this name; undefined: `identities` says who they are. */
  readonly name: string | undefined;
  /** Not empty: these alone. */
  readonly identities: readonly Identity[];
  /** Origins. */
  readonly urls: readonly string[];
  /** A DNS name that resolves to all of them. */
  readonly discover: { readonly host: string; readonly port: number } | undefined;
}

/** The listener for people, and how they prove who they are. */
export interface OperatorsConfig {
  readonly host: string;
  readonly port: number;
  readonly tls: TlsConfig;
  /** Origin as browsers see it; undefined: no login by browser. */
  readonly url: string | undefined;
  readonly sessions: { readonly idleMs: number; readonly absoluteMs: number };
  /** Dual control. */
  readonly approvals: { readonly lifeMs: number; readonly useWithinMs: number };
  readonly oidc: readonly OidcConfig[];
  readonly ldap: readonly LdapConfig[];
}

/** An OpenID provider. A claim is a list of names, from the outside in. */
export interface OidcConfig {
  readonly name: string;
  readonly issuer: string;
  readonly alsoIssuers: readonly string[];
  readonly audiences: readonly string[];
  readonly client:
    | {
        readonly id: string;
        /** undefined: a public client. */
        readonly secret: SecretSource | undefined;
        readonly authentication: 'basic' | 'post';
        readonly scopes: readonly string[];
      }
    | undefined;
  readonly authorizedParties: readonly string[];
  readonly algorithms: readonly TokenAlgorithm[];
  readonly clockSkewMs: number;
  readonly maxTokenAgeMs: number;
  readonly bearer: 'any' | 'at+jwt';
  readonly rolesClaim: readonly string[];
  readonly roles: readonly (RoleGrant & { readonly claim: readonly string[] | undefined })[];
  readonly require: Readonly<Record<string, string>>;
  readonly subjectClaim: readonly string[];
  readonly nameClaims: readonly (readonly string[])[];
  readonly stableClaim: readonly string[] | undefined;
  readonly revoked: readonly string[];
  readonly caFile: string | undefined;
  readonly timeoutMs: number;
  readonly keys: { readonly freshMs: number; readonly keptMs: number };
}

/** A directory. */
export interface LdapConfig {
  readonly name: string;
  /** `ldaps:`, or `ldap:` with StartTLS. */
  readonly url: string;
  readonly caFile: string | undefined;
  readonly bind:
    | { readonly by: 'service'; readonly dn: string; readonly password: SecretSource }
    | { readonly by: 'template'; readonly template: string };
  readonly userBase: string;
  readonly userFilter: string;
  readonly idAttribute: string;
  readonly nameAttribute: string;
  readonly stableAttribute: string | undefined;
  readonly groups:
    | { readonly by: 'attribute'; readonly attribute: string }
    | { readonly by: 'search'; readonly base: string; readonly attribute: string; readonly nested: boolean };
  readonly roles: readonly RoleGrant[];
  readonly timeoutMs: number;
  readonly revoked: readonly string[];
}

export interface TlsConfig {
  readonly certFile: string;
  readonly keyFile: string;
  readonly keyPassword: string | undefined;
  readonly minVersion: 'TLSv1.2' | 'TLSv1.3';
}

export interface LimitsConfig {
  readonly maxConnections: number;
  readonly maxRequestsInFlight: number;
  readonly headersTimeoutMs: number;
  readonly requestTimeoutMs: number;
  readonly idleTimeoutMs: number;
  readonly handshakeTimeoutMs: number;
  readonly maxHeaderBytes: number;
  /** 0: connections live as long as they like. */
  readonly maxConnectionAgeMs: number;
  readonly shutdownTimeoutMs: number;
  readonly http2: {
    readonly maxConcurrentStreams: number;
    readonly maxResetsPerSecond: number;
    readonly maxSettings: number;
    readonly maxOutstandingPings: number;
    readonly maxSessionMemoryMb: number;
  };
}

export type LogLevel = 'trace' | 'debug' | 'info' | 'warn' | 'error' | 'silent';

export interface LogConfig {
  readonly level: LogLevel;
  readonly format: 'json' | 'pretty';
}

export interface AuditConfig {
  /** `off` writes nothing (KES's `log.audit: off` with no Sello audit section). */
  readonly mode: 'written' | 'synced' | 'off';
  /** Absolute path of the JSON lines file, or of the trail's folder; `-` is standard output. */
  readonly path: string;
  /** `path` is the folder of a chained trail (docs/formats/audit-log.md); undefined: a plain file. */
  readonly trail?: TrailConfig | undefined;
  /** A write that takes longer gives 503. */
  readonly deadlineMs: number;
  /** The server stream's own quota; further refusals of the same source and reason are counted, not written one by one. */
  readonly maxRecordsPerSecond: number;
}

export interface TrailConfig {
  /** Absolute path of the Ed25519 key that signs checkpoints; made when absent. */
  readonly signingKey: string;
  /** A checkpoint at the latest after so many records, and so long after the first record it is not over. */
  readonly checkpointRecords: number;
  readonly checkpointMs: number;
  /** A segment is sealed at this size or age, whichever comes first. */
  readonly segmentBytes: number;
  readonly segmentAgeMs: number;
  readonly compression: 'none' | 'gzip' | 'zstd';
  /** `shipped`: a record counts once a target has acknowledged it. */
  readonly release: 'written' | 'shipped';
  readonly ship: readonly ShipConfig[];
}

export type ShipConfig =
  | {
      readonly kind: 'webhook';
      readonly url: string;
      /** PEM file of CAs; undefined: the system's. */
      readonly caFile: string | undefined;
      /** File with the value of the Authorization header. */
      readonly authorizationFile: string | undefined;
      readonly format: 'ecs' | 'ocsf';
      readonly batchRecords: number;
      readonly timeoutMs: number;
    }
  | {
      readonly kind: 'syslog';
      readonly host: string;
      readonly port: number;
      readonly caFile: string | undefined;
      readonly certFile: string | undefined;
      readonly keyFile: string | undefined;
      readonly timeoutMs: number;
    };

export interface TenantConfig {
  readonly name: TenantName;
  /** Identities that may do everything in this tenant. Empty: no admin. */
  readonly admins: readonly Identity[];
  readonly clients: ClientAuthConfig;
  readonly policies: readonly PolicyConfig[];
  readonly keystore: KeystoreConfig;
  readonly cache: CacheConfig;
  readonly audit: AuditConfig;
  readonly quota: QuotaConfig;
  readonly lifecycle: LifecycleConfig;
  readonly kes: KesFaceConfig;
  /** Not given: this tenant has no object API. */
  readonly objects?: ObjectsConfig | undefined;
  /** Not given: this tenant has no Transit face. */
  readonly transit?: TransitConfig | undefined;
  /** Created at start when absent. */
  readonly keys: readonly string[];
}

export interface ClientAuthConfig {
  /** off: any leaf that is not a CA, identity by SPKI only. on: chain, dates, CRL. */
  readonly auth: 'on' | 'off';
  /** Trusted CAs with `auth: on`; a file or a folder. undefined with `on`: the system's roots. */
  readonly caFile: string | undefined;
  readonly crlFiles: readonly string[];
  /** What a CRL past its nextUpdate means. */
  readonly staleCrl: 'refuse' | 'accept';
  readonly requireClientAuthEku: boolean;
  readonly proxy: { readonly identities: readonly Identity[]; readonly header: string } | undefined;
}

export interface PolicyConfig {
  readonly name: string;
  readonly allow: readonly RuleConfig[];
  readonly deny: readonly RuleConfig[];
  readonly identities: readonly Identity[];
}

export type RuleConfig = KesRuleConfig | OperationRuleConfig;

/** A KES path pattern such as `/v1/key/generate/app*`. */
export interface KesRuleConfig {
  readonly kind: 'kes';
  readonly pattern: string;
  /** `prefix`: KES since 2023-10. `glob`: the older path.Match rules, by setting. */
  readonly matching: 'prefix' | 'glob';
}

export interface OperationRuleConfig {
  readonly kind: 'operations';
  readonly operations: readonly (Operation | '*')[];
  /** Key patterns: exact names, or a prefix ending in `*`. Empty: every key. */
  readonly keys: readonly string[];
  readonly conditions: RuleConditions;
}

export interface RuleConditions {
  /** Each named entry of the encryption context must equal the value, or start with it where the value ends in `*`. */
  readonly context?: Readonly<Record<string, string>>;
  /** CIDR blocks. */
  readonly sources?: readonly string[];
  /** UTC, `HH:MM-HH:MM`; may cross midnight. */
  readonly timeOfDay?: string;
  /** The rule holds for at most this many requests per second of one identity. */
  readonly ratePerSecond?: number;
}

export type KeystoreConfig =
  | { readonly kind: 'memory' }
  | { readonly kind: 'fs'; readonly path: string }
  | { readonly kind: 'file'; readonly path: string; readonly rootKey: SecretSource }
  | VaultKvConfig;

/** Keys as KES keeps them in Vault's KV engine. */
export interface VaultKvConfig {
  readonly kind: 'vault-kv';
  readonly vault: VaultConfig;
  /** Mount of the KV engine, without slashes at its ends. */
  readonly engine: string;
  readonly version: 1 | 2;
  /** Folder of the keys in it; empty: its top. */
  readonly prefix: string;
  /** Stored values are encrypted by this Transit key before they are written. */
  readonly transit: { readonly engine: string; readonly key: string } | undefined;
  /** Folder in the same engine for what KES must not see; undefined: none, and so no rotation. */
  readonly recordsPrefix: string | undefined;
  /** Master keys stay in Transit (`vaultTransit`). */
  readonly custody?: CustodyConfig | undefined;
  /** Ed25519 key in Transit that signs the checkpoints of the tenant's audit trail; not given: a key of the node. */
  readonly auditSigning?: { readonly engine: string; readonly key: string } | undefined;
  /** Nobody asked for that folder: a policy that was made for KES may not allow it, and keys are served without. */
  readonly recordsAreOptional?: boolean;
}

/** Master keys in Vault's Transit engine. */
export interface CustodyConfig {
  readonly kind: 'strict' | 'cached';
  readonly engine: string;
  /** Names of Transit keys begin with it. */
  readonly keyPrefix: string;
  /** Of one intermediate key in one process (`cached`). */
  readonly maxAgeMs: number;
  readonly maxUses: number;
  readonly maxBytes: number;
}

/** How Vault is reached. */
export interface VaultConfig {
  /** `https://host:port`, `http://host:port` or `unix:/path`, in order of preference. */
  readonly addresses: readonly string[];
  /** Sent with every call for data; empty: none. */
  readonly namespace: string;
  readonly tls: {
    readonly caFile: string | undefined;
    readonly certFile: string | undefined;
    readonly keyFile: string | undefined;
    readonly serverName: string | undefined;
  };
  readonly login: VaultLoginConfig;
  /** For a whole call, with what is tried again in it. */
  readonly timeoutMs: number;
  readonly connectTimeoutMs: number;
  /** Per address and process. */
  readonly maxConnections: number;
  /** An idle connection is looked after this often. */
  readonly pingMs: number;
}

/** `namespace` is the login's own; empty: none. */
export type VaultLoginConfig =
  /** An agent in front adds the token. */
  | { readonly method: 'none' }
  | { readonly method: 'token'; readonly namespace: string; readonly token: AnySecret }
  | {
      readonly method: 'approle';
      readonly mount: string;
      readonly namespace: string;
      readonly roleId: AnySecret;
      readonly secretId: AnySecret;
      /** `secretId` is a wrapping token made for this role: `auth/MOUNT/role/ROLE/secret-id`. */
      readonly wrappedFor: string | undefined;
    }
  | {
      readonly method: 'kubernetes' | 'jwt';
      readonly mount: string;
      readonly namespace: string;
      readonly role: string;
      /** Read again at every login. */
      readonly jwt: AnySecret;
    }
  | {
      readonly method: 'cert';
      readonly mount: string;
      readonly namespace: string;
      /** Name of the certificate role; undefined: Vault tries them all. */
      readonly role: string | undefined;
    };

/** Where a secret comes from; read at start, never logged. */
export type SecretSource =
  | { readonly from: 'file'; readonly path: string }
  | { readonly from: 'env'; readonly name: string }
  | { readonly from: 'credential'; readonly name: string };

/** A place outside, or the file itself, as KES's files have it. */
export type AnySecret = SecretSource | { readonly from: 'text'; readonly text: InlineSecret };

/**
 * A secret of the configuration file. It is in no listing, log or JSON of the configuration; two that differ are told apart by
 * their hash.
 */
export class InlineSecret {
  readonly sha256: string;
  readonly #text: string;

  constructor(text: string) {
    this.#text = text;
    this.sha256 = hash('sha256', text);
  }

  reveal(): Buffer {
    const bytes = Buffer.allocUnsafeSlow(Buffer.byteLength(this.#text));
    bytes.write(this.#text);
    return bytes;
  }

  toJSON(): string {
    return '[secret]';
  }
}

export interface CacheConfig {
  readonly maxEntries: number;
  /** A key is loaded anew this long after it was loaded. 0: no limit but `unused`. */
  readonly expiryMs: number;
  /** A key unused this long is forgotten. */
  readonly unusedMs: number;
  /** How long keys are served past their life while the store is down. 0: not at all. */
  readonly offlineMs: number;
  readonly negativeMs: number;
}

export interface QuotaConfig {
  /** Requests per second; 0: no limit. */
  readonly requestsPerSecond: number;
  readonly burst: number;
  readonly maxRequestsInFlight: number;
}

/** How keys and their versions end. */
export interface LifecycleConfig {
  /** Between asking for an end and the end, at least. */
  readonly deletionWaitMs: number;
  /** A version that opened something within this time is not destroyed. */
  readonly quietMs: number;
  /** Nobody destroys alone: by certificate not at all, people by two (docs/people.md). */
  readonly dualControl: boolean;
}

export interface KesFaceConfig {
  /** Per-route settings of a KES file's `api` section, by route path. Only harmless routes may skip authentication. */
  readonly routes: Readonly<
    Record<string, { readonly skipAuth: boolean; readonly timeoutMs: number | undefined }>
  >;
  /** `2021` serves the error texts that clients before 2022 know. */
  readonly errorTexts: 'current' | '2021';
  /** `ndjson`: lists as KES answered them before 2023-10. */
  readonly lists: 'json' | 'ndjson';
}

export interface ObjectsConfig {
  readonly cipher: 'aes-256-gcm' | 'chacha20-poly1305';
  /** For buckets that have no entry of their own. */
  readonly everyBucket: BucketEncryption;
  readonly buckets: Readonly<Record<string, BucketEncryption>>;
  /** For how long, and for how many objects, one data key serves a bucket with `bucketKey`. */
  readonly bucketKeys: { readonly maxAgeMs: number; readonly maxObjects: number };
  /** AWS answers a wrong customer key with 403; Ceph's tests ask for 400. */
  readonly wrongCustomerKeyStatus: 403 | 400;
  /** `aws:kms` without a key id is refused; AWS takes the bucket's or its own key. */
  readonly requiresKmsKeyId: boolean;
  /** Object streams at once, of this tenant, in one process. */
  readonly maxStreams: number;
}

export interface BucketEncryption {
  readonly mode: 'sse-s3' | 'sse-kms' | 'none';
  readonly keyName: string;
  /** A request that names another encryption is refused. */
  readonly isForced: boolean;
  readonly allowsCustomerKeys: boolean;
  /** Patterns of keys that clients may name: exact, or a prefix ending in `*`. Empty: every key. */
  readonly allowedKeys: readonly string[];
  readonly usesBucketKey: boolean;
}

/** The face of Vault's Transit and KV 2. */
export interface TransitConfig {
  /** One path segment each; logins stand below `auth/`. */
  readonly mounts: {
    readonly transit: string;
    readonly kv: string;
    readonly approle: string;
    readonly kubernetes: string;
    readonly cert: string;
    readonly jwt: string;
  };
  readonly namespace: string;
  /** Requests without a token are judged by their certificate. */
  readonly certificateIsEnough: boolean;
  readonly tokens: { readonly ttlMs: number; readonly maxTtlMs: number };
  readonly approle: Readonly<Record<string, ApproleRole>>;
  readonly kubernetes: KubernetesLogins | undefined;
  readonly jwt: JwtLogins | undefined;
}

export interface TransitRole {
  readonly policy: string;
  readonly ttlMs: number;
  readonly maxTtlMs: number;
  /** CIDR blocks; empty: all. */
  readonly sources: readonly string[];
}

export interface ApproleRole extends TransitRole {
  /** Undefined: made from tenant and role. */
  readonly roleId: string | undefined;
  /** 0: no end. */
  readonly secretIdTtlMs: number;
  /** 0: any number. */
  readonly secretIdUses: number;
}

export interface KubernetesLogins {
  readonly review:
    | { readonly url: string; readonly caFile: string | undefined; readonly token: SecretSource | undefined }
    | undefined;
  readonly issuer: { readonly url: string; readonly caFile: string | undefined } | undefined;
  readonly audiences: readonly string[];
  readonly roles: Readonly<
    Record<
      string,
      TransitRole & { readonly serviceAccounts: readonly string[]; readonly namespaces: readonly string[] }
    >
  >;
}

export interface JwtLogins {
  readonly issuer: string;
  readonly caFile: string | undefined;
  readonly audiences: readonly string[];
  readonly algorithms: readonly TokenAlgorithm[];
  readonly roles: Readonly<
    Record<
      string,
      TransitRole & {
        readonly subject: string | undefined;
        readonly claims: Readonly<Record<string, string>>;
      }
    >
  >;
}
