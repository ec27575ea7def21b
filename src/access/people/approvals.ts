/**
 * Dual control: what cannot be undone is asked for by one person and approved by another, within a time limit, and then done at most
 * once. The state is one record per request in the tenant's own store, changed by compare-and-set, so every replica sees the same and of
 * two at once one wins.
 *
 * ```
 * pending ──approve (another person, who may)──▶ approved ──use (both may still)──▶ used
 *    └──────────────── withdraw ────────────────────┴──▶ withdrawn        any: expired by its time
 * ```
 *
 * A request is marked used before the operation begins: one that fails half way needs a new request, and none is ever done twice.
 */
import { randomBytes } from 'node:crypto';
import type { Clock } from '../../clock.ts';
import { hasCode, SelloError } from '../../errors.ts';
import type { RecordStore } from '../../keystores/contract.ts';
import type { TenantName } from '../../tenants/name.ts';
import { isOperation, type Operation } from '../operations.ts';
import { personId, type Evidence, type PersonRef } from './roles.ts';
import { isObject, parseStrictJson } from './strict-json.ts';

/** Exactly what is asked for. An approval is good for this and nothing else. */
export interface ApprovalSubject {
  readonly operation: Operation;
  readonly key: string;
  /** undefined: the whole key. */
  readonly version: number | undefined;
  /** What tells the key from one that was made again under its name: its own id, or of one without a keyring its bytes' fingerprint. */
  readonly keyId: string | undefined;
  /** Without a waiting period in which it can be called off. */
  readonly atOnce: boolean;
}

export interface Approval extends ApprovalSubject {
  readonly id: string;
  readonly tenant: TenantName;
  readonly state: 'pending' | 'approved' | 'used' | 'withdrawn' | 'expired';
  readonly requestedBy: PersonRef;
  readonly requestedAtMs: number;
  /** Approval and use both come before. */
  readonly expiresMs: number;
  readonly approvedBy: PersonRef | undefined;
  readonly approvedAtMs: number | undefined;
  readonly usedAtMs: number | undefined;
  /** For people: why. */
  readonly reason: string;
}

/** What a person may do at this moment. Asked when a request is made, when it is approved, and of both people when it is used. */
export interface CurrentRights {
  /** @throws SelloError when it cannot be told: then nothing is done */
  may(person: PersonRef, tenant: TenantName, operation: Operation, key: string): Promise<boolean>;
}

export interface ApprovalOptions {
  readonly tenant: TenantName;
  readonly records: RecordStore;
  readonly rights: CurrentRights;
  /** What stands at this moment under the name that somebody asked about. @throws SelloError when it is not there */
  readonly subjectNow: (asked: ApprovalSubject) => Promise<ApprovalSubject>;
  readonly clock: Clock;
  /** A request ends this long after it was made. */
  readonly lifeMs: number;
  /** An approval is good for this long, and never longer than the request. */
  readonly useWithinMs: number;
}

/** What the operation is done with. Made by {@link Approvals.use} alone. */
export interface UsedApproval extends Approval {
  readonly state: 'used';
  readonly approvedBy: PersonRef;
}

const folder = 'approvals';

/** Open requests of one tenant: people look at each of them. */
export const maxOpenApprovals = 100;

/** Records of what is over go when a new request is made, this long after; the audit trail has it all. */
const keptAfterMs = 24 * 3_600_000;

/** Replicas' clocks differ. */
const clockSkewMs = 60_000;

const idPattern = /^[0-9a-f]{12}-[0-9a-f]{32}$/;
const maxReasonCharacters = 500;
const pageSize = 256;

export class Approvals {
  readonly #options: ApprovalOptions;

  constructor(options: ApprovalOptions) {
    this.#options = options;
  }

  /** @throws SelloError SELLO_NOT_AUTHORIZED, SELLO_RATE_LIMITED when too many are open */
  async request(subject: ApprovalSubject, by: PersonRef, reason = ''): Promise<Approval> {
    const { tenant, records, clock, lifeMs } = this.#options;
    await this.#mustMay(by, subject);
    await this.#makeRoom();
    const nowMs = clock.now();
    const id = `${Math.floor(nowMs).toString(16).padStart(12, '0')}-${randomBytes(16).toString('hex')}`;
    const approval: Approval = {
      id,
      tenant,
      operation: subject.operation,
      key: subject.key,
      version: subject.version,
      keyId: subject.keyId,
      atOnce: subject.atOnce,
      state: 'pending',
      requestedBy: refOf(by),
      requestedAtMs: nowMs,
      expiresMs: nowMs + lifeMs,
      approvedBy: undefined,
      approvedAtMs: undefined,
      usedAtMs: undefined,
      reason: reason.slice(0, maxReasonCharacters),
    };
    await records.write(pathOf(id), encode(approval), 0);
    return approval;
  }

  /** @throws SelloError SELLO_APPROVAL_NOT_FOUND */
  async read(id: string): Promise<Approval> {
    return (await this.#load(id)).approval;
  }

  /** What is there, oldest first, what is over included until it is swept. */
  async list(): Promise<Approval[]> {
    const all: Approval[] = [];
    for (const id of await this.#ids()) {
      const approval = await this.read(id).catch(ignoreAbsent);
      if (approval !== undefined) all.push(approval);
    }
    return all;
  }

  /**
   * By another person than the one who asked, who may do the operation themselves. Nobody approves the end of a key that took the
   * place of the one they read of.
   * @throws SelloError SELLO_APPROVAL_…, SELLO_NOT_AUTHORIZED, SELLO_RECORD_CONFLICT
   */
  async approve(id: string, by: PersonRef): Promise<Approval> {
    const { approval, revision } = await this.#load(id);
    if (approval.state === 'expired') throw new SelloError('SELLO_APPROVAL_EXPIRED');
    if (approval.state !== 'pending') throw new SelloError('SELLO_APPROVAL_USED', { detail: approval.state });
    const sameness = sameHuman(approval.requestedBy, by);
    if (sameness !== undefined) throw new SelloError('SELLO_APPROVAL_SAME_PERSON', { detail: sameness });
    await this.#mustMay(by, approval);
    // Whoever lost their rights since they asked has nothing to be approved.
    await this.#mustMay(approval.requestedBy, approval);
    if (!isSameSubject(approval, await this.#options.subjectNow(approval)))
      throw new SelloError('SELLO_APPROVAL_EXPIRED', { detail: 'the key is another one by now' });
    const nowMs = this.#options.clock.now();
    return this.#save(
      {
        ...approval,
        state: 'approved',
        approvedBy: refOf(by),
        approvedAtMs: nowMs,
        expiresMs: Math.min(approval.expiresMs, nowMs + this.#options.useWithinMs),
      },
      revision,
    );
  }

  /**
   * Uses an approval up. `subject` is what is about to be done, found anew by the caller: it must be what was approved. Both people
   * must still have the right to it. When this returns, the caller may do it, once.
   * @throws SelloError SELLO_APPROVAL_…, SELLO_NOT_AUTHORIZED, SELLO_RECORD_CONFLICT
   */
  async use(id: string, subject: ApprovalSubject): Promise<UsedApproval> {
    const { approval, revision } = await this.#load(id);
    const { state, approvedBy, requestedBy } = approval;
    if (state === 'expired') throw new SelloError('SELLO_APPROVAL_EXPIRED');
    if (state === 'used' || state === 'withdrawn')
      throw new SelloError('SELLO_APPROVAL_USED', { detail: state });
    if (state !== 'approved' || approvedBy === undefined) throw new SelloError('SELLO_APPROVAL_REQUIRED');
    if (!isSameSubject(approval, subject))
      throw new SelloError('SELLO_APPROVAL_REQUIRED', { detail: 'something else was approved' });
    // The settings may have changed since: what tells people apart is asked again.
    const sameness = sameHuman(requestedBy, approvedBy);
    if (sameness !== undefined) throw new SelloError('SELLO_APPROVAL_SAME_PERSON', { detail: sameness });
    await this.#mustMay(requestedBy, approval);
    await this.#mustMay(approvedBy, approval);
    const used = await this.#save(
      { ...approval, state: 'used', usedAtMs: this.#options.clock.now() },
      revision,
    );
    return { ...used, state: 'used', approvedBy };
  }

  /** By anybody who may do the operation. @throws SelloError */
  async withdraw(id: string, by: PersonRef): Promise<Approval> {
    const { approval, revision } = await this.#load(id);
    if (approval.state === 'used' || approval.state === 'withdrawn')
      throw new SelloError('SELLO_APPROVAL_USED', { detail: approval.state });
    await this.#mustMay(by, approval);
    return this.#save({ ...approval, state: 'withdrawn' }, revision);
  }

  async #mustMay(person: PersonRef, { operation, key }: ApprovalSubject): Promise<void> {
    const { rights, tenant } = this.#options;
    if (!(await rights.may(person, tenant, operation, key)))
      throw new SelloError('SELLO_NOT_AUTHORIZED', { detail: `${personId(person)} may not ${operation}` });
  }

  async #load(id: string): Promise<{ approval: Approval; revision: number }> {
    if (!idPattern.test(id)) throw new SelloError('SELLO_APPROVAL_NOT_FOUND');
    const stored = await this.#options.records.read(pathOf(id));
    if (stored === undefined) throw new SelloError('SELLO_APPROVAL_NOT_FOUND');
    const approval = decode(stored.value, id, this.#options.tenant);
    return { approval: this.#atThisTime(approval), revision: stored.revision };
  }

  /** A request of the future is as bad as one of the past: somebody moved a clock. */
  #atThisTime(approval: Approval): Approval {
    const isOpen = approval.state === 'pending' || approval.state === 'approved';
    const nowMs = this.#options.clock.now();
    const isOver = nowMs >= approval.expiresMs || nowMs < approval.requestedAtMs - clockSkewMs;
    return isOpen && isOver ? { ...approval, state: 'expired' } : approval;
  }

  async #save(approval: Approval, revision: number): Promise<Approval> {
    await this.#options.records.write(pathOf(approval.id), encode(approval), revision);
    return approval;
  }

  async #ids(): Promise<string[]> {
    const ids: string[] = [];
    for (let after = ''; ids.length <= 16 * pageSize;) {
      const page = await this.#options.records.list(folder, { after, limit: pageSize });
      ids.push(...page.names.filter((name) => idPattern.test(name)));
      after = page.names.at(-1) ?? '';
      if (!page.more || after === '') break;
    }
    return ids;
  }

  /** Removes what is long over, and refuses when too many requests are open. */
  async #makeRoom(): Promise<void> {
    const { records, clock } = this.#options;
    const nowMs = clock.now();
    let open = 0;
    for (const id of await this.#ids()) {
      const found = await this.#load(id).catch(ignoreAbsent);
      if (found === undefined) continue;
      const { approval, revision } = found;
      if (approval.state === 'pending' || approval.state === 'approved') open++;
      else if (nowMs >= approval.expiresMs + keptAfterMs)
        await records.delete(pathOf(id), revision).catch(ignoreConflict);
    }
    if (open >= maxOpenApprovals)
      throw new SelloError('SELLO_RATE_LIMITED', { detail: `${String(open)} requests wait for approval` });
  }
}

/**
 * Why two logins may be one human; undefined when they are two for certain. Within one issuer the subject tells them apart, and the stable
 * id where there is one, which then both must have. Between two issuers only the stable id does: without one on both sides nobody can know.
 */
export function sameHuman(one: PersonRef, other: PersonRef): string | undefined {
  if (one.issuer === other.issuer && one.subject === other.subject) return 'the same person';
  if (one.stableId !== undefined && one.stableId === other.stableId)
    return 'the same person by another login';
  if (one.issuer !== other.issuer && (one.stableId === undefined || other.stableId === undefined))
    return 'logins of two issuers that nothing tells apart';
  // An issuer that says of some whose account it is says nothing of the others, such as accounts for tests.
  if ((one.stableId === undefined) !== (other.stableId === undefined))
    return 'a login that has no stable id, beside one that has';
  return undefined;
}

function isSameSubject(a: ApprovalSubject, b: ApprovalSubject): boolean {
  return (
    a.operation === b.operation &&
    a.key === b.key &&
    a.version === b.version &&
    a.keyId === b.keyId &&
    a.atOnce === b.atOnce
  );
}

/** A whole person has more, which is not for the record. */
function refOf({ issuer, subject, displayName, stableId, evidence }: PersonRef): PersonRef {
  return { issuer, subject, displayName, stableId, evidence };
}

function pathOf(id: string): string {
  return `${folder}/${id}`;
}

function ignoreAbsent(error: unknown): undefined {
  if (hasCode(error, 'SELLO_APPROVAL_NOT_FOUND')) return undefined;
  throw error;
}

function ignoreConflict(error: unknown): void {
  if (!hasCode(error, 'SELLO_RECORD_CONFLICT')) throw error;
}

function encode(approval: Approval): Buffer {
  return Buffer.from(JSON.stringify({ format: 1, ...approval }), 'utf8');
}

/** @throws SelloError SELLO_STORED_KEY_UNREADABLE: what cannot be read approves nothing */
function decode(value: Buffer, id: string, tenant: TenantName): Approval {
  const unreadable = (cause?: unknown): SelloError =>
    new SelloError('SELLO_STORED_KEY_UNREADABLE', { detail: `approval ${id}`, cause });
  let read: unknown;
  try {
    read = parseStrictJson(value.toString('utf8'));
  } catch (error) {
    throw unreadable(error);
  }
  if (!isObject(read) || read['format'] !== 1) throw unreadable();
  // A record copied from another tenant's store, or to another id, is not this one.
  if (read['id'] !== id || read['tenant'] !== tenant) throw unreadable();
  const { state, operation, key, version, keyId, atOnce = false, reason } = read;
  const isState = state === 'pending' || state === 'approved' || state === 'used' || state === 'withdrawn';
  if (!isState || !isOperation(operation) || typeof key !== 'string' || typeof reason !== 'string')
    throw unreadable();
  if (version !== undefined && !Number.isSafeInteger(version)) throw unreadable();
  if (keyId !== undefined && typeof keyId !== 'string') throw unreadable();
  if (typeof atOnce !== 'boolean') throw unreadable();
  const time = (name: string): number => {
    const at = read[name];
    if (typeof at !== 'number' || !Number.isFinite(at)) throw unreadable();
    return at;
  };
  const person = (name: string): PersonRef => {
    const found = read[name];
    if (!isObject(found)) throw unreadable();
    const { issuer, subject, displayName, stableId } = found;
    if (typeof issuer !== 'string' || typeof subject !== 'string' || typeof displayName !== 'string')
      throw unreadable();
    if (stableId !== undefined && typeof stableId !== 'string') throw unreadable();
    const evidence = evidenceOf(found['evidence']);
    if (evidence === undefined) throw unreadable();
    return { issuer, subject, displayName, stableId, evidence };
  };
  return {
    id,
    tenant,
    operation,
    key,
    version: version as number | undefined,
    keyId,
    atOnce,
    state,
    requestedBy: person('requestedBy'),
    requestedAtMs: time('requestedAtMs'),
    expiresMs: time('expiresMs'),
    approvedBy: read['approvedBy'] === undefined ? undefined : person('approvedBy'),
    approvedAtMs: read['approvedAtMs'] === undefined ? undefined : time('approvedAtMs'),
    usedAtMs: read['usedAtMs'] === undefined ? undefined : time('usedAtMs'),
    reason,
  };
}

function evidenceOf(value: unknown): Evidence[] | undefined {
  const isTexts = (list: unknown): list is string[] =>
    Array.isArray(list) && list.every((entry) => typeof entry === 'string');
  if (!Array.isArray(value)) return undefined;
  const read = value.map((entry: unknown) =>
    isObject(entry) && isTexts(entry['claim']) && isTexts(entry['values'])
      ? { claim: entry['claim'], values: entry['values'] }
      : undefined,
  );
  return read.every((entry) => entry !== undefined) ? read : undefined;
}
