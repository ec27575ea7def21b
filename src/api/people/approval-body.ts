/**
 * Approvals as JSON: what a request for one says, `{"key": …, "version": …, "reason": …}`, without a version the whole key; and how it is shown.
 */
import { isObject, parseStrictJson, personId, type Approval } from '../../access/people/index.ts';
import { AdminError } from '../admin/index.ts';

export interface ApprovalRequest {
  readonly key: string;
  readonly version: number | undefined;
  readonly reason: string;
}

/** @throws AdminError 400 */
export function requestOfApproval(body: Buffer): ApprovalRequest {
  let read: unknown;
  try {
    read = parseStrictJson(new TextDecoder('utf-8', { fatal: true }).decode(body));
  } catch {
    throw new AdminError(400, 'the body is not JSON');
  }
  if (isObject(read)) {
    const { key, version, reason = '', ...others } = read;
    const isVersion = version === undefined || (Number.isSafeInteger(version) && Number(version) > 0);
    if (
      typeof key === 'string' &&
      isVersion &&
      typeof reason === 'string' &&
      Object.keys(others).length === 0
    )
      return { key, version: version as number | undefined, reason };
  }
  throw new AdminError(400, 'the body does not have the form that this request takes');
}

/** What people see of it. */
export function approvalView(approval: Approval): Record<string, unknown> {
  const person = (who: Approval['requestedBy'] | undefined) =>
    who === undefined ? null : { id: personId(who), name: who.displayName, issuer: who.issuer };
  const date = (ms: number | undefined) => (ms === undefined ? null : new Date(ms).toISOString());
  return {
    id: approval.id,
    operation: approval.operation,
    key: approval.key,
    keyId: approval.keyId ?? null,
    version: approval.version ?? null,
    state: approval.state,
    reason: approval.reason,
    requestedBy: person(approval.requestedBy),
    requestedAt: date(approval.requestedAtMs),
    expiresAt: date(approval.expiresMs),
    approvedBy: person(approval.approvedBy),
    approvedAt: date(approval.approvedAtMs),
    usedAt: date(approval.usedAtMs),
  };
}
