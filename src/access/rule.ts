/**
 * One compiled rule of a policy and how it is judged.
 *
 * Keys limit operations that concern a key; `metrics`, `status`, `read-audit` and `admin` concern none, and a rule
 * that names one of them holds whatever its keys say. `*` among the operations stands for those the rest of the rule
 * can be judged for: with keys, the operations on a key; with a context condition, those that carry a context.
 */
import { SelloError } from '../errors.ts';
import type { KesRuleConfig, OperationRuleConfig } from '../config/model.ts';
import { compileConditions, describeConditions, RateBucket } from './conditions.ts';
import type { ConditionFacts } from './conditions.ts';
import { operations } from './operations.ts';
import type { Operation } from './operations.ts';
import { compilePathPattern } from './path-pattern.ts';
import type { PathPattern } from './path-pattern.ts';

export type Effect = 'allow' | 'deny';

const keylessOperations: ReadonlySet<Operation> = new Set<Operation>([
  'metrics',
  'status',
  'read-audit',
  'admin',
]);

/** Operations whose request can carry an encryption context. */
const contextOperations: ReadonlySet<Operation> = new Set<Operation>([
  'issue', 'encrypt', 'unwrap', 'rewrap', 'seal', 'open',
]); // prettier-ignore

export interface Decision {
  readonly allowed: boolean;
  /** For people and records, such as `policy app: allow /v1/key/generate/app*`. */
  readonly rule: string;
  readonly policy?: string;
  /** True when only the rate of a rule stands in the way: the same request is allowed a little later. */
  readonly rateLimited?: boolean;
}

interface CompiledRule {
  readonly effect: Effect;
  /** As written by a person: the pattern, or `issue, unwrap on app* when source 10.0.0.0/8`. */
  readonly text: string;
  /** What this rule's match means; made once. */
  readonly decision: Decision;
}

export interface KesRule extends CompiledRule {
  readonly kind: 'kes';
  readonly pattern: PathPattern;
}

export interface OperationRule extends CompiledRule {
  readonly kind: 'operations';
  readonly operations: ReadonlySet<Operation>;
  /** Undefined: every key. */
  readonly keys: readonly KeyPattern[] | undefined;
  readonly conditions: ReturnType<typeof compileConditions>;
  readonly ratePerSecond: number | undefined;
  readonly buckets: Map<string, RateBucket>;
  readonly rateExceeded: Decision;
}

export type Rule = KesRule | OperationRule;

interface KeyPattern {
  readonly text: string;
  readonly isPrefix: boolean;
}

export function compileKesRule(policy: string, effect: Effect, rule: KesRuleConfig): KesRule {
  return {
    kind: 'kes',
    effect,
    text: rule.pattern,
    pattern: compilePathPattern(rule.pattern, rule.matching),
    decision: { allowed: effect === 'allow', rule: `policy ${policy}: ${effect} ${rule.pattern}`, policy },
  };
}

/** @throws SelloError SELLO_CONFIG_INVALID */
export function compileOperationRule(
  policy: string,
  effect: Effect,
  rule: OperationRuleConfig,
): OperationRule {
  const invalid = (detail: string) =>
    new SelloError('SELLO_CONFIG_INVALID', { detail: `policy ${policy}: ${effect}: ${detail}` });
  if (effect === 'deny' && rule.conditions.ratePerSecond !== undefined) {
    throw invalid('ratePerSecond limits what a rule allows and has no meaning on a deny rule');
  }
  if (rule.conditions.ratePerSecond !== undefined) void new RateBucket(rule.conditions.ratePerSecond);
  const text = describeRule(rule);
  return {
    kind: 'operations',
    effect,
    text,
    operations: expandOperations(rule),
    keys: rule.keys.length === 0 ? undefined : rule.keys.map((key) => compileKeyPattern(key, invalid)),
    conditions: compileConditions(rule.conditions),
    ratePerSecond: rule.conditions.ratePerSecond,
    buckets: new Map(),
    decision: { allowed: effect === 'allow', rule: `policy ${policy}: ${effect} ${text}`, policy },
    rateExceeded: {
      allowed: false,
      rule: `policy ${policy}: rate exceeded of ${effect} ${text}`,
      policy,
      rateLimited: true,
    },
  };
}

function compileKeyPattern(text: string, invalid: (detail: string) => SelloError): KeyPattern {
  const isPrefix = text.endsWith('*');
  const body = isPrefix ? text.slice(0, -1) : text;
  if (body.includes('*')) throw invalid(`key pattern '${text}' has a * that is not at its end`);
  if (!isPrefix && body === '') throw invalid('a key pattern is empty');
  return { text: body, isPrefix };
}

function expandOperations(rule: OperationRuleConfig): ReadonlySet<Operation> {
  const set = new Set<Operation>();
  for (const operation of rule.operations) {
    if (operation !== '*') {
      set.add(operation);
      continue;
    }
    for (const each of operations) {
      if (rule.keys.length > 0 && keylessOperations.has(each)) continue;
      if (rule.conditions.context !== undefined && !contextOperations.has(each)) continue;
      set.add(each);
    }
  }
  return set;
}

function describeRule(rule: OperationRuleConfig): string {
  const keys = rule.keys.length === 0 ? '' : ` on ${rule.keys.join(', ')}`;
  const conditions = describeConditions(rule.conditions);
  return `${rule.operations.join(', ')}${keys}${conditions === '' ? '' : ` when ${conditions}`}`;
}

export interface RuleRequest extends ConditionFacts {
  readonly operation: Operation;
  /** Name of the key; for `list` the prefix asked for; for `admin` the name of the policy or identity, if any. */
  readonly key: string | undefined;
}

/**
 * Whether the keys of a rule hold for a request; undefined when that cannot be told. A listing shows every name with
 * its prefix: it is allowed when all of them are (the prefix of the pattern begins that of the listing), and
 * denied when one of them could be.
 */
function keysHold(rule: OperationRule, request: RuleRequest): boolean | undefined {
  const { keys } = rule;
  if (keys === undefined || keylessOperations.has(request.operation)) return true;
  const { key } = request;
  if (key === undefined) return undefined;
  const isList = request.operation === 'list';
  for (const pattern of keys) {
    if (pattern.isPrefix && key.startsWith(pattern.text)) return true;
    if (!isList) {
      if (!pattern.isPrefix && key === pattern.text) return true;
    } else if (rule.effect === 'deny' && pattern.text.startsWith(key)) {
      return true;
    }
  }
  return false;
}

export interface RuleVerdict {
  /** undefined: cannot be told, which an allow rule takes as no and a deny rule as yes. */
  readonly holds: boolean | undefined;
  readonly because: string;
}

const holds: RuleVerdict = { holds: true, because: 'matches' };
const otherOperation: RuleVerdict = { holds: false, because: 'is about other operations' };
const otherKey: RuleVerdict = { holds: false, because: 'is about other keys' };
const noKey: RuleVerdict = { holds: undefined, because: 'the request names no key' };

/** Everything but the rate. */
export function judgeOperationRule(rule: OperationRule, request: RuleRequest): RuleVerdict {
  if (!rule.operations.has(request.operation)) return otherOperation;
  const keys = keysHold(rule, request);
  if (keys === false) return otherKey;
  if (rule.conditions !== undefined) {
    const verdict = rule.conditions(request);
    if (verdict.holds !== true) return verdict;
  }
  return keys === undefined ? noKey : holds;
}

/** The bucket of one identity under one rule. Only identities of the policy come here, so their number is bounded. */
export function rateBucketOf(rule: OperationRule, identity: string): RateBucket | undefined {
  if (rule.ratePerSecond === undefined) return undefined;
  let bucket = rule.buckets.get(identity);
  if (bucket === undefined) {
    bucket = new RateBucket(rule.ratePerSecond);
    rule.buckets.set(identity, bucket);
  }
  return bucket;
}
