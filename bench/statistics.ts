/** Rounds to one figure each: medians, because a shared machine has bad seconds. */
import type { Measurement } from './load.ts';

export function median(values: readonly number[]): number {
  const sorted = [...values].sort((a, b) => a - b);
  const middle = Math.floor(sorted.length / 2);
  return sorted.length % 2 === 1 ? sorted[middle]! : (sorted[middle - 1]! + sorted[middle]!) / 2;
}

/** The median of each figure over the rounds, the sum of errors, the worst of what others took. */
export function summarize(rounds: readonly Measurement[]): Measurement {
  const errors: Record<string, number> = {};
  for (const round of rounds) {
    for (const [text, count] of Object.entries(round.errors)) errors[text] = (errors[text] ?? 0) + count;
  }
  return {
    perSecond: median(rounds.map((round) => round.perSecond)),
    p50Us: median(rounds.map((round) => round.p50Us)),
    p99Us: median(rounds.map((round) => round.p99Us)),
    cpuUsPerRequest: median(rounds.map((round) => round.cpuUsPerRequest)),
    foreignCores: Math.max(...rounds.map((round) => round.foreignCores)),
    errors,
  };
}

export function errorCount(measurement: Measurement): number {
  return Object.values(measurement.errors).reduce((sum, count) => sum + count, 0);
}
