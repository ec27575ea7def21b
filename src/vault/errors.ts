/**
 * What can go wrong between Sello and Vault, told apart by what Vault's own servers answer (the texts are those of Vault 1.x and
 * OpenBao 2.x). A {@link VaultError} is a SelloError; its detail is for logs, and holds neither tokens nor values.
 */
import { SelloError, type ErrorCode } from '../errors.ts';

export type VaultProblem =
  /** No connection: refused, reset, unknown host, certificate not trusted. */
  | 'unreachable'
  /** No answer in time. */
  | 'timeout'
  | 'sealed'
  | 'uninitialised'
  /** Standby without a leader: an election, or a cluster that lost its majority. */
  | 'no-active-node'
  /** Sent to an address that the configuration does not list. */
  | 'redirected'
  | 'rate-limited'
  /** 412: the node has not seen yet what another one wrote. */
  | 'stale'
  /** 403 with a token that is good: its policies do not allow the call. */
  | 'forbidden'
  /** No token: every login fails. */
  | 'no-login'
  /** 404 with nothing behind it: there is no such entry. */
  | 'absent'
  /** 404 with metadata behind it: the entry's version is deleted or destroyed. */
  | 'deleted'
  /** 404 because no engine is mounted there, or one of another version. */
  | 'no-mount'
  /** 400, 405 and the like: the call itself is wrong. */
  | 'refused'
  /** Any other 5xx. */
  | 'failed'
  /** An answer that is not what Vault answers. */
  | 'malformed'
  | 'closed';

/** All of them mean: nothing can be said about keys at this moment. */
const away: ReadonlySet<VaultProblem> = new Set<VaultProblem>([
  'unreachable',
  'timeout',
  'sealed',
  'uninitialised',
  'no-active-node',
  'redirected',
  'rate-limited',
  'stale',
  'no-login',
  'no-mount',
  'closed',
]);

export interface VaultErrorFacts {
  readonly problem: VaultProblem;
  /** What was done, such as `read kv/data/app`. */
  readonly action: string;
  /** HTTP status, where there was an answer. */
  readonly status?: number | undefined;
  readonly messages?: readonly string[];
  readonly vaultRequestId?: string | undefined;
  readonly retryAfterMs?: number | undefined;
  /** Vault may have done what was asked although no answer came. */
  readonly mayBeDone?: boolean;
  readonly cause?: unknown;
}

export class VaultError extends SelloError {
  readonly problem: VaultProblem;
  readonly status: number | undefined;
  /** Vault's own words, made safe to log. */
  readonly messages: readonly string[];
  readonly vaultRequestId: string | undefined;
  readonly retryAfterMs: number | undefined;
  readonly mayBeDone: boolean;

  constructor(facts: VaultErrorFacts) {
    const messages = (facts.messages ?? []).slice(0, 3).map(harmless);
    const status = facts.status === undefined ? '' : ` (HTTP ${String(facts.status)})`;
    const said = messages.length === 0 ? '' : `: ${messages.join('; ')}`;
    super(codeOf(facts.problem), {
      detail: `vault: ${facts.action}: ${facts.problem}${status}${said}`,
      ...(facts.cause === undefined ? {} : { cause: facts.cause }),
    });
    this.name = 'VaultError';
    this.problem = facts.problem;
    this.status = facts.status;
    this.messages = messages;
    this.vaultRequestId = facts.vaultRequestId;
    this.retryAfterMs = facts.retryAfterMs;
    this.mayBeDone = facts.mayBeDone === true;
  }
}

export function isVaultProblem(error: unknown, ...problems: VaultProblem[]): error is VaultError {
  return error instanceof VaultError && problems.includes(error.problem);
}

function codeOf(problem: VaultProblem): ErrorCode {
  return away.has(problem) ? 'SELLO_STORE_UNREACHABLE' : 'SELLO_STORE_FAILED';
}

/** Longer words of Vault's say nothing more. */
const maxMessageCharacters = 300;

/** Tokens and ciphertexts by their prefixes, and anything longer than a path of Vault or a name in it. */
const secretLike =
  /\b(?:hv[sbr]|[sbr])\.[A-Za-z0-9_-]{16,}|vault:v\d+:[A-Za-z0-9+/=]+|[A-Za-z0-9+_=-]{81,}|[A-Za-z0-9+/_=-]{300,}/g;

/** A text of Vault's on one line, without what might be a secret that Vault quotes. */
export function harmless(text: string): string {
  const oneLine = text.replace(/\s+/g, ' ').trim().replace(secretLike, '[…]');
  // eslint-disable-next-line no-control-regex
  const visible = oneLine.replace(/[\u0000-\u001f\u007f-\u009f\u2028-\u202e\u2066-\u2069]/g, '?');
  return visible.length > maxMessageCharacters ? `${visible.slice(0, maxMessageCharacters)}…` : visible;
}
