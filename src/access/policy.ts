/**
 * Policies compiled into one immutable object, replaced as a whole at reload. Order: admin, then deny rules, then
 * allow rules, then no.
 *
 * KES patterns grant the routes of the KES face alone (a KES `allow: /v1/*` must not grant a new face). On that face
 * a KES deny pattern works on the path, exactly as in KES; on every other face it denies the operation whose
 * route it denies (design.md, Policy). A `/v1/key/decrypt/` deny also holds for bulk decryption, which no KES since
 * 2023-10 has and no policy written since then can name.
 */
import { SelloError } from '../errors.ts';
import type { PolicyConfig } from '../config/model.ts';
import type { Identity } from './identity.ts';
import { operations } from './operations.ts';
import type { Face, Operation } from './operations.ts';
import { concernsOperation, deniesOperation } from './path-pattern.ts';
import { compileKesRule, compileOperationRule, judgeOperationRule, rateBucketOf } from './rule.ts';
import type { Decision, KesRule, OperationRule, Rule, RuleRequest } from './rule.ts';

export type { Decision } from './rule.ts';

export interface AccessRequest extends RuleRequest {
  readonly identity: Identity;
  readonly face: Face;
  /** Decoded URL path; KES face only. */
  readonly path: string | undefined;
  /** The policy of a login that named one, in place of the identity's own. */
  readonly policy?: string | undefined;
}

/** What KES's read routes and `sello policy` show of a policy. */
export interface PolicyView {
  readonly name: string;
  /** KES patterns, in the order written. */
  readonly allowPatterns: readonly string[];
  readonly denyPatterns: readonly string[];
  /** Operation rules, in words. */
  readonly allowRules: readonly string[];
  readonly denyRules: readonly string[];
  readonly identities: readonly Identity[];
}

export interface Access {
  decide(request: AccessRequest): Decision;
  readonly admins: ReadonlySet<Identity>;
  /** Names, sorted. */
  readonly policyNames: readonly string[];
  policy(name: string): PolicyView | undefined;
  /** Admins and identities of policies, sorted. */
  readonly identities: readonly Identity[];
  policyOf(identity: Identity): string | undefined;
  /** The compiled rules that concern an identity, in the order {@link Access.decide} asks them. For {@link explain}. */
  rulesOf(identity: Identity): readonly Rule[];
}

interface CompiledPolicy {
  readonly view: PolicyView;
  readonly rules: readonly Rule[];
  readonly kesDeny: readonly KesRule[];
  readonly kesAllow: readonly KesRule[];
  /** KES deny patterns by the operation they act on outside the KES face. */
  readonly derivedDeny: ByOperation<KesRule>;
  readonly deny: ByOperation<OperationRule>;
  readonly allow: ByOperation<OperationRule>;
  readonly nothing: Decision;
}

type ByOperation<T> = Readonly<Record<Operation, readonly T[]>>;

const adminDecision: Decision = { allowed: true, rule: 'admin' };
const noPolicy: Decision = { allowed: false, rule: 'no policy' };

/** @throws SelloError SELLO_CONFIG_INVALID an identity with two roles, a rule that cannot be compiled */
export function compileAccess(config: {
  readonly admins: readonly Identity[];
  readonly policies: readonly PolicyConfig[];
}): Access {
  const admins = new Set(config.admins);
  const policies = new Map<string, CompiledPolicy>();
  const policyByIdentity = new Map<Identity, CompiledPolicy>();
  for (const policyConfig of config.policies) {
    if (policies.has(policyConfig.name)) throw invalid(`policy ${policyConfig.name} is there twice`);
    const policy = compilePolicy(policyConfig);
    policies.set(policyConfig.name, policy);
    for (const identity of new Set(policyConfig.identities)) {
      if (admins.has(identity)) throw invalid(`admin ${identity} is also in policy ${policyConfig.name}`);
      const other = policyByIdentity.get(identity);
      if (other !== undefined) {
        throw invalid(
          `identity ${identity} is in policy ${other.view.name} and in policy ${policyConfig.name}`,
        );
      }
      policyByIdentity.set(identity, policy);
    }
  }
  return {
    admins,
    policyNames: [...policies.keys()].sort(),
    identities: [...admins, ...policyByIdentity.keys()].sort(),
    policy: (name) => policies.get(name)?.view,
    policyOf: (identity) => policyByIdentity.get(identity)?.view.name,
    rulesOf: (identity) => policyByIdentity.get(identity)?.rules ?? [],
    decide: (request) => {
      const named = request.policy;
      if (named !== undefined) {
        const policy = policies.get(named);
        return policy === undefined ? noPolicy : decideByPolicy(policy, request);
      }
      const policy = policyByIdentity.get(request.identity);
      if (policy !== undefined) return decideByPolicy(policy, request);
      return admins.has(request.identity) ? adminDecision : noPolicy;
    },
  };
}

function decideByPolicy(policy: CompiledPolicy, request: AccessRequest): Decision {
  const { operation } = request;
  const path = request.face === 'kes' ? request.path : undefined;
  if (path !== undefined) {
    for (const rule of policy.kesDeny) if (kesDenyMatches(rule, path)) return rule.decision;
  } else {
    for (const rule of policy.derivedDeny[operation]) {
      if (deniesOperation(rule.pattern, operation, request.key)) return rule.decision;
    }
  }
  for (const rule of policy.deny[operation]) {
    if (judgeOperationRule(rule, request).holds !== false) return rule.decision;
  }
  if (path !== undefined) {
    for (const rule of policy.kesAllow) if (rule.pattern.matches(path)) return rule.decision;
  }
  let refusal = policy.nothing;
  for (const rule of policy.allow[operation]) {
    if (judgeOperationRule(rule, request).holds !== true) continue;
    const bucket = rateBucketOf(rule, request.identity);
    if (bucket === undefined || bucket.take(request.nowMs)) return rule.decision;
    refusal = rule.rateExceeded;
  }
  return refusal;
}

const bulkDecryptPath = '/v1/key/bulk/decrypt/';
const decryptPath = '/v1/key/decrypt/';

function kesDenyMatches(rule: KesRule, path: string): boolean {
  if (rule.pattern.matches(path)) return true;
  return (
    path.startsWith(bulkDecryptPath) && rule.pattern.matches(decryptPath + path.slice(bulkDecryptPath.length))
  );
}

function compilePolicy(config: PolicyConfig): CompiledPolicy {
  const compileAll = (effect: 'allow' | 'deny') =>
    config[effect].map((rule) =>
      rule.kind === 'kes'
        ? compileKesRule(config.name, effect, rule)
        : compileOperationRule(config.name, effect, rule),
    );
  const deny = compileAll('deny');
  const allow = compileAll('allow');
  const kesDeny = deny.filter((rule) => rule.kind === 'kes');
  const kesAllow = allow.filter((rule) => rule.kind === 'kes');
  const operationDeny = deny.filter((rule) => rule.kind === 'operations');
  const operationAllow = allow.filter((rule) => rule.kind === 'operations');
  const texts = (rules: readonly Rule[]) => rules.map((rule) => rule.text);
  return {
    view: {
      name: config.name,
      allowPatterns: texts(kesAllow),
      denyPatterns: texts(kesDeny),
      allowRules: texts(operationAllow),
      denyRules: texts(operationDeny),
      identities: config.identities,
    },
    rules: [...kesDeny, ...operationDeny, ...kesAllow, ...operationAllow],
    kesDeny,
    kesAllow,
    derivedDeny: byOperation(kesDeny, (rule, operation) => concernsOperation(rule.pattern, operation)),
    deny: byOperation(operationDeny, (rule, operation) => rule.operations.has(operation)),
    allow: byOperation(operationAllow, (rule, operation) => rule.operations.has(operation)),
    nothing: { allowed: false, rule: `no rule of policy ${config.name}`, policy: config.name },
  };
}

function byOperation<T>(
  rules: readonly T[],
  concerns: (rule: T, operation: Operation) => boolean,
): ByOperation<T> {
  const entries = operations.map((operation) => [
    operation,
    rules.filter((rule) => concerns(rule, operation)),
  ]);
  return Object.fromEntries(entries) as ByOperation<T>;
}

export interface RuleExplanation {
  readonly effect: 'allow' | 'deny';
  readonly rule: string;
  /** True when the rule matches the request (it decides only when none before it did). */
  readonly matched: boolean;
  readonly because: string;
}

/** Every rule of the identity's policy, matched or not and why, in the order they are asked. Takes no rate token. */
export function explain(
  access: Access,
  request: AccessRequest,
): {
  readonly policy: string | undefined;
  readonly rules: readonly RuleExplanation[];
  readonly decision: Decision;
} {
  const rules = access.rulesOf(request.identity);
  const policy = access.policyOf(request.identity);
  const explained = rules.map((rule) => ({
    effect: rule.effect,
    rule: rule.text,
    ...explainRule(rule, request),
  }));
  if (policy === undefined) return { policy, rules: explained, decision: access.decide(request) };
  const deciding = explained.findIndex((each) => each.matched);
  const limited = rules.find((_rule, index) => explained[index]!.because === rateExceededText);
  let decision: Decision = { allowed: false, rule: `no rule of policy ${policy}`, policy };
  if (deciding >= 0) decision = rules[deciding]!.decision;
  else if (limited?.kind === 'operations') decision = limited.rateExceeded;
  return { policy, rules: explained, decision };
}

const rateExceededText = 'its rate is exceeded';

function explainRule(rule: Rule, request: AccessRequest): { matched: boolean; because: string } {
  if (rule.kind === 'kes') return explainKesRule(rule, request);
  const verdict = judgeOperationRule(rule, request);
  if (verdict.holds === undefined) {
    const closed = rule.effect === 'deny' ? 'a deny rule then applies' : 'an allow rule then does not apply';
    return { matched: rule.effect === 'deny', because: `${verdict.because}: ${closed}` };
  }
  if (verdict.holds && rateBucketOf(rule, request.identity)?.hasToken(request.nowMs) === false) {
    return { matched: false, because: rateExceededText };
  }
  return { matched: verdict.holds, because: verdict.because };
}

function explainKesRule(rule: KesRule, request: AccessRequest): { matched: boolean; because: string } {
  const path = request.face === 'kes' ? request.path : undefined;
  if (path !== undefined) {
    const matched = rule.effect === 'deny' ? kesDenyMatches(rule, path) : rule.pattern.matches(path);
    return {
      matched,
      because: matched ? 'the pattern matches the path' : 'the pattern does not match the path',
    };
  }
  if (rule.effect === 'allow')
    return { matched: false, because: 'a KES pattern grants routes of the KES face alone' };
  const matched = deniesOperation(rule.pattern, request.operation, request.key);
  const because = matched
    ? 'the pattern denies this operation on every face'
    : 'the pattern does not reach this operation';
  return { matched, because };
}

function invalid(detail: string): SelloError {
  return new SelloError('SELLO_CONFIG_INVALID', { detail });
}
