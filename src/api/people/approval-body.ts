/** The body of a request for approval: `{"key": …, "version": …, "reason": …}`; without a version the whole key. */
import { isObject, parseStrictJson } from '../../access/people/index.ts';
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
