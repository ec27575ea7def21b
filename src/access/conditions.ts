/**
 * Conditions on a rule. Each is judged to `true`, `false`, or `undefined` when it cannot be evaluated (no readable
 * context, no source address). All must hold. What cannot be evaluated fails closed: an allow rule then does not
 * apply, a deny rule does (docs/policies.md).
 */
import { SelloError } from '../errors.ts';
import type { RuleConditions } from '../config/model.ts';
import { blockHolds, parseCidr, parseIp } from './cidr.ts';
import type { IpAddress } from './cidr.ts';

export interface ConditionFacts {
  /** Parses the encryption context when first asked; undefined when it is not a map of strings. */
  readonly context: (() => Readonly<Record<string, string>> | undefined) | undefined;
  readonly sourceIp: string | undefined;
  readonly nowMs: number;
}

export interface ConditionVerdict {
  readonly holds: boolean | undefined;
  /** The first condition that did not hold, for `sello policy test`. */
  readonly because: string;
}

type Condition = (facts: ConditionFacts) => ConditionVerdict;

const met: ConditionVerdict = { holds: true, because: 'all conditions hold' };

/**
 * Compiles all conditions but the rate, which has a state of its own.
 * @throws SelloError SELLO_CONFIG_INVALID
 */
export function compileConditions(conditions: RuleConditions): Condition | undefined {
  const parts: Condition[] = [];
  if (conditions.sources !== undefined) parts.push(sourcesCondition(conditions.sources));
  if (conditions.timeOfDay !== undefined) parts.push(timeCondition(conditions.timeOfDay));
  if (conditions.context !== undefined) parts.push(contextCondition(conditions.context));
  if (parts.length === 0) return undefined;
  return (facts) => {
    let open: ConditionVerdict | undefined;
    for (const part of parts) {
      const verdict = part(facts);
      if (verdict.holds === false) return verdict;
      if (verdict.holds === undefined) open ??= verdict;
    }
    return open ?? met;
  };
}

/** One line for people, such as `source 10.0.0.0/8, time 08:00-18:00`. */
export function describeConditions(conditions: RuleConditions): string {
  const parts: string[] = [];
  for (const [name, value] of Object.entries(conditions.context ?? {}))
    parts.push(`context ${name}=${value}`);
  if (conditions.sources !== undefined) parts.push(`source ${conditions.sources.join(' or ')}`);
  if (conditions.timeOfDay !== undefined) parts.push(`time ${conditions.timeOfDay}`);
  if (conditions.ratePerSecond !== undefined) parts.push(`rate ${conditions.ratePerSecond}/s`);
  return parts.join(', ');
}

function contextCondition(wanted: Readonly<Record<string, string>>): Condition {
  const entries = Object.entries(wanted).map(([name, value]) => ({
    name,
    isPrefix: value.endsWith('*'),
    text: value.endsWith('*') ? value.slice(0, -1) : value,
    differs: { holds: false, because: `context entry ${name} is not ${value}` } as const,
  }));
  const unreadable: ConditionVerdict = {
    holds: undefined,
    because: 'the request carries no readable context',
  };
  return (facts) => {
    const context = readContext(facts);
    if (context === undefined) return unreadable;
    for (const entry of entries) {
      const value = Object.hasOwn(context, entry.name) ? context[entry.name] : undefined;
      if (typeof value !== 'string') return entry.differs;
      if (entry.isPrefix ? !value.startsWith(entry.text) : value !== entry.text) return entry.differs;
    }
    return met;
  };
}

function readContext(facts: ConditionFacts): Readonly<Record<string, string>> | undefined {
  try {
    return facts.context?.();
  } catch {
    return undefined;
  }
}

function sourcesCondition(sources: readonly string[]): Condition {
  const blocks = sources.map((text) => {
    const block = parseCidr(text);
    if (block === undefined) throw invalid(`'${text}' is not a network such as 10.0.0.0/8`);
    return block;
  });
  const unknown: ConditionVerdict = { holds: undefined, because: 'the source address is not known' };
  const outside: ConditionVerdict = { holds: false, because: `source is not in ${sources.join(' or ')}` };
  // Keep-alive clients ask again and again from one address.
  let lastText: string | undefined;
  let last: IpAddress | undefined;
  return ({ sourceIp }) => {
    if (sourceIp === undefined) return unknown;
    if (sourceIp !== lastText) {
      last = parseIp(sourceIp);
      lastText = sourceIp;
    }
    const address = last;
    if (address === undefined) return unknown;
    return blocks.some((block) => blockHolds(block, address)) ? met : outside;
  };
}

const minutesPerDay = 24 * 60;
const msPerMinute = 60_000;

function timeCondition(text: string): Condition {
  const match = /^([01]\d|2[0-3]):([0-5]\d)-([01]\d|2[0-4]):([0-5]\d)$/.exec(text);
  if (match === null) throw invalid(`'${text}' is not a time of day such as 08:00-18:00`);
  const [fromHour, fromMinute, toHour, toMinute] = match.slice(1).map(Number) as [
    number,
    number,
    number,
    number,
  ];
  const from = fromHour * 60 + fromMinute;
  const to = toHour * 60 + toMinute;
  if (to > minutesPerDay || from === to) throw invalid(`'${text}' is not a time of day such as 08:00-18:00`);
  const outside: ConditionVerdict = { holds: false, because: `time is not within ${text} UTC` };
  const unknown: ConditionVerdict = { holds: undefined, because: 'the time is not known' };
  return ({ nowMs }) => {
    if (!Number.isFinite(nowMs)) return unknown;
    const days = Math.floor(nowMs / (minutesPerDay * msPerMinute));
    const minute = Math.floor(nowMs / msPerMinute) - days * minutesPerDay;
    const inside = from < to ? from <= minute && minute < to : from <= minute || minute < to;
    return inside ? met : outside;
  };
}

/**
 * Token bucket: one second's worth of tokens, at least one. One per rule and identity, so their number is bounded
 * by the configuration. The state is per process and starts full after a reload.
 */
export class RateBucket {
  readonly #perMs: number;
  readonly #capacity: number;
  #tokens: number;
  #atMs = 0;

  /** @throws SelloError SELLO_CONFIG_INVALID */
  constructor(ratePerSecond: number) {
    if (!Number.isFinite(ratePerSecond) || ratePerSecond <= 0) {
      throw invalid(`ratePerSecond ${ratePerSecond} is not a positive number`);
    }
    this.#perMs = ratePerSecond / 1000;
    this.#capacity = Math.max(1, ratePerSecond);
    this.#tokens = this.#capacity;
  }

  #refill(nowMs: number): void {
    // A clock that steps back refills nothing, and does not stop the refill until it has caught up.
    if (nowMs > this.#atMs) {
      this.#tokens = Math.min(this.#capacity, this.#tokens + (nowMs - this.#atMs) * this.#perMs);
    }
    this.#atMs = nowMs;
  }

  take(nowMs: number): boolean {
    this.#refill(nowMs);
    if (this.#tokens < 1) return false;
    this.#tokens -= 1;
    return true;
  }

  /** Whether {@link take} would succeed, without taking. */
  hasToken(nowMs: number): boolean {
    this.#refill(nowMs);
    return this.#tokens >= 1;
  }
}

function invalid(detail: string): SelloError {
  return new SelloError('SELLO_CONFIG_INVALID', { detail });
}
