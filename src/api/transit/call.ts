/** One request of the Transit face, from its admission on: who asks, what that one may, and what is recorded of it. */
import { hash } from 'node:crypto';
import type { Decision, Identity, Operation } from '../../access/index.ts';
import { objectOf } from '../../audit/context.ts';
import { recordsOfItems } from '../../audit/items.ts';
import type { AuditItem, AuditRecord } from '../../audit/record.ts';
import type { TransitConfig } from '../../config/model.ts';
import type { Correlation } from '../../correlation.ts';
import { SelloError, type ErrorCode } from '../../errors.ts';
import type { Admission } from '../../server/gate.ts';
import { parseContext } from '../../sse/context.ts';
import type { RecordStore } from '../../keystores/index.ts';
import type { Tenant } from '../../tenants/tenant.ts';
import { permissionDenied, type VaultFault } from './answers.ts';
import type { TransitTarget } from './target.ts';
import type { Token, Tokens } from './tokens.ts';

/** What a record says a request, or one item of a batch, is about. */
export interface Subject {
  readonly key?: string | undefined;
  readonly keyVersion?: number | undefined;
  /** The encryption context as the client sent it. */
  readonly context?: Buffer | undefined;
}

export interface TransitCallParts {
  readonly target: TransitTarget;
  /** `GET`, as it came. */
  readonly method: string;
  readonly admission: Admission;
  readonly tenant: Tenant;
  readonly config: TransitConfig;
  readonly tokens: Tokens;
  readonly requestId: string;
  readonly traceId: string | undefined;
  readonly correlation: Correlation;
  readonly startMs: number;
  /** By its certificate. */
  readonly isOfTenant: boolean;
  /** Takes records of callers whom nobody knows: they must not fill the tenant's space. */
  readonly recordStranger: (record: AuditRecord) => void;
  /** The tenant's audit stream, which a reload may have replaced. */
  readonly auditNow: () => Tenant['audit'];
}

export class TransitCall {
  readonly target: TransitTarget;
  readonly admission: Admission;
  /** As configured now. */
  tenant: Tenant;
  readonly config: TransitConfig;
  readonly tokens: Tokens;
  readonly requestId: string;
  readonly correlation: Correlation;
  readonly records: RecordStore;
  /** The one the request came with, once it was checked. */
  token: Token | undefined;
  /** Its text, which is not kept. */
  tokenText: string | undefined;
  /** Who just logged in. */
  loginIdentity: string | undefined;
  /** For the record of the whole request. */
  subject: Subject = {};
  operation: Operation | undefined;
  /** Records are written: the answer needs none of its own. */
  isRecorded = false;
  /** Why a login was refused; never for the caller. */
  reason: string | undefined;
  readonly #isOfTenant: boolean;
  readonly #recordStranger: (record: AuditRecord) => void;
  readonly #auditNow: () => Tenant['audit'];
  readonly #traceId: string | undefined;
  readonly #method: string;
  readonly #startMs: number;
  #rule: string | undefined;

  constructor(parts: TransitCallParts) {
    this.target = parts.target;
    this.admission = parts.admission;
    this.tenant = parts.tenant;
    this.config = parts.config;
    this.tokens = parts.tokens;
    this.requestId = parts.requestId;
    this.#traceId = parts.traceId;
    this.records = parts.tenant.keys.records!;
    this.#isOfTenant = parts.isOfTenant;
    this.#recordStranger = parts.recordStranger;
    this.#auditNow = parts.auditNow;
    this.correlation = parts.correlation;
    this.#method = parts.method;
    this.#startMs = parts.startMs;
  }

  /** Who is on record: the token's holder, or the certificate's. */
  get identity(): string | undefined {
    return this.token?.identity ?? this.loginIdentity ?? this.admission.identity;
  }

  /** Proved to be somebody of this tenant: by a certificate, a token, or the login under way. */
  get isKnown(): boolean {
    return this.#isOfTenant || this.token !== undefined || this.loginIdentity !== undefined;
  }

  /** Who changed something, in a keyring's words. */
  get by(): string {
    return this.identity ?? '';
  }

  may(operation: Operation, key: string | undefined, context?: Buffer): Decision {
    return this.tenant.access.decide({
      identity: (this.identity ?? '') as Identity,
      policy: this.token?.policy,
      face: 'transit',
      operation,
      path: undefined,
      key,
      context: () => (context === undefined ? undefined : parseContext(context)),
      sourceIp: this.admission.sourceIp,
      nowMs: Date.now(),
    });
  }

  /** @throws VaultFault 403; 429 where a rule's rate is used up */
  authorize(operation: Operation, key: string | undefined, context?: Buffer): void {
    this.operation = operation;
    const decision = this.may(operation, key, context);
    this.#rule = decision.rule;
    if (decision.allowed) return;
    if (decision.rateLimited === true) throw new SelloError('SELLO_RATE_LIMITED');
    throw permissionDenied();
  }

  /** Writes a record of what is about to leave. @throws SelloError SELLO_AUDIT_UNAVAILABLE */
  async release(status: number, subject: Subject = this.subject, phase?: 'begun'): Promise<void> {
    if (phase === undefined) this.isRecorded = true;
    await this.#append(this.record(status, { decision: 'allow', subject }));
  }

  /** The record of an answer that may leave. */
  released(subject: Subject): AuditRecord {
    return this.record(200, { decision: 'allow', subject });
  }

  async recordFailure(error: VaultFault): Promise<void> {
    this.isRecorded = true;
    await this.#append(this.record(error.status, { decision: decisionOf(error), error: error.code }));
  }

  /** Writes the records of an answer. @throws SelloError SELLO_AUDIT_UNAVAILABLE */
  async append(records: readonly AuditRecord[]): Promise<void> {
    this.isRecorded = true;
    await Promise.all(records.map((record) => this.#append(record)));
  }

  /** The records of a batch: items of one outcome together. */
  recordsOf(
    outcomes: readonly { readonly subject: Subject; readonly error?: VaultFault }[],
  ): readonly AuditRecord[] {
    const groups = new Map<string, { readonly error: VaultFault | undefined; readonly items: AuditItem[] }>();
    let last: { readonly context: Buffer; readonly named: AuditItem } | undefined;
    for (const { error, subject } of outcomes) {
      const outcome = error === undefined ? '' : `${String(error.status)} ${error.code ?? ''}`;
      let group = groups.get(outcome);
      if (group === undefined) groups.set(outcome, (group = { error, items: [] }));
      const { context, keyVersion } = subject;
      if (context !== undefined && last?.context.equals(context) !== true)
        last = { context, named: namesOf(context) };
      group.items.push(context === undefined ? { keyVersion } : { keyVersion, ...last!.named });
    }
    const subject = { key: outcomes[0]?.subject.key };
    return [...groups.values()].flatMap(({ error, items }) =>
      recordsOfItems(
        this.record(error?.status ?? 200, {
          decision: error === undefined ? 'allow' : decisionOf(error),
          error: error?.code,
          subject,
        }),
        items,
      ),
    );
  }

  async #append(record: AuditRecord): Promise<void> {
    if (!this.isKnown) {
      this.#recordStranger(record);
      return;
    }
    try {
      await this.#auditNow().append(record);
    } catch (cause) {
      throw new SelloError('SELLO_AUDIT_UNAVAILABLE', { cause });
    }
  }

  record(
    status: number,
    more: {
      readonly decision: AuditRecord['decision'];
      readonly error?: ErrorCode | undefined;
      readonly subject?: Subject;
    },
  ): AuditRecord {
    const { admission } = this;
    const { context, key, keyVersion } = more.subject ?? this.subject;
    const named = context === undefined ? undefined : objectOf(context);
    return {
      timeMs: Date.now(),
      requestId: this.requestId,
      traceId: this.#traceId,
      tenant: this.tenant.name,
      identity: this.identity,
      certificateSerial: admission.peer?.serialNumber,
      certificateIssuer: admission.peer?.issuerName,
      sourceIp: admission.sourceIp,
      face: 'transit',
      method: this.#method,
      path: `/v1/${this.target.segments.join('/')}`,
      operation: this.operation,
      key,
      keyVersion,
      bucket: named?.bucket,
      object: named?.object,
      contextSha256: context === undefined ? undefined : digestOf(context),
      decision: more.decision,
      rule: this.#rule,
      status,
      error: more.error,
      reason: this.reason,
      durationMs: performance.now() - this.#startMs,
      vaultRequestId: this.correlation.vaultRequestId,
    };
  }
}

function decisionOf({ status }: VaultFault): AuditRecord['decision'] {
  return status === 403 || status === 429 ? 'deny' : 'allow';
}

/** Of an item's context: bucket and object, or its hash where it says more or something else. */
function namesOf(context: Buffer): AuditItem {
  return objectOf(context) ?? { contextSha256: digestOf(context) };
}

function digestOf(context: Buffer): string | undefined {
  return context.length === 0 ? undefined : hash('sha256', context, 'hex');
}
