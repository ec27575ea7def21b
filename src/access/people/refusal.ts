/** Why a login is refused: a reason that is short and stable, for audit records and metrics. It never leaves the process. */
import { SelloError } from '../../errors.ts';

export type LoginReason =
  | 'token malformed'
  | 'token too large'
  | 'token repeats a claim'
  | 'token algorithm not allowed'
  | 'token type not allowed'
  | 'token signed by an unknown key'
  | 'token signature wrong'
  | 'token from another issuer'
  | 'token for another audience'
  | 'token for another client'
  | 'token expired'
  | 'token not valid yet'
  | 'token too old'
  | 'token claim missing or wrong'
  | 'token required claim differs'
  | 'token names no groups: too many'
  | 'token nonce wrong'
  | 'token not bound to this code or access token'
  | 'email not verified'
  | 'login state wrong'
  | 'login expired'
  | 'login answered by another issuer'
  | 'login refused by provider'
  | 'provider unknown'
  | 'password missing'
  | 'name not acceptable'
  | 'name or password wrong'
  | 'name not unique'
  | 'person has no role'
  | 'person is revoked'
  | 'session unknown or over'
  | 'no login'
  | 'too many failures';

export class LoginError extends SelloError {
  readonly reason: string;

  constructor(
    code: 'SELLO_LOGIN_REFUSED' | 'SELLO_LOGIN_UNAVAILABLE' | 'SELLO_RATE_LIMITED',
    reason: string,
    options: { detail?: string; cause?: unknown } = {},
  ) {
    const { detail } = options;
    super(code, { ...options, detail: detail === undefined ? reason : `${reason}: ${detail}` });
    this.name = 'LoginError';
    this.reason = reason;
  }
}

/** The credential is not good. `detail` is for the log. */
export function refuse(reason: LoginReason, detail?: string, cause?: unknown): LoginError {
  return new LoginError('SELLO_LOGIN_REFUSED', reason, {
    ...(detail === undefined ? {} : { detail }),
    cause,
  });
}

/** Whether it is good cannot be told now. */
export function unavailable(reason: string, detail?: string, cause?: unknown): LoginError {
  return new LoginError('SELLO_LOGIN_UNAVAILABLE', reason, {
    ...(detail === undefined ? {} : { detail }),
    cause,
  });
}

/**
 * What a login needs of our own files. They were there when the configuration was taken; one that is gone since is for those who run the
 * server to mend, and no fault of who logs in.
 */
export function read(what: string, from: () => Buffer): Buffer {
  try {
    return from();
  } catch (error) {
    const detail = error instanceof SelloError ? error.detail : undefined;
    throw unavailable(`${what} cannot be read`, detail ?? (error as Error).message, error);
  }
}
