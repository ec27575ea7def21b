/** "Did you mean …": the known name nearest to an unknown one. */

/** Undefined when nothing is near: a third of the longer name may differ, one letter always may. */
export function suggest(unknown: string, known: readonly string[]): string | undefined {
  let best: { name: string; distance: number } | undefined;
  for (const name of known) {
    const distance = editDistance(unknown.toLowerCase(), name.toLowerCase());
    const allowed = Math.max(1, Math.floor(Math.max(unknown.length, name.length) / 3));
    if (distance <= allowed && (best === undefined || distance < best.distance)) best = { name, distance };
  }
  return best?.name;
}

export function didYouMean(unknown: string, known: readonly string[]): string {
  const name = suggest(unknown, known);
  return name === undefined ? '' : `; did you mean '${name}'?`;
}

/** Damerau's distance with adjacent swaps (optimal string alignment); names are short, so the plain table will do. */
export function editDistance(a: string, b: string): number {
  const longestCompared = 64;
  if (a.length > longestCompared || b.length > longestCompared) return a === b ? 0 : longestCompared;
  const rows: number[][] = [Array.from({ length: b.length + 1 }, (_, j) => j)];
  for (let i = 1; i <= a.length; i++) {
    const row = [i];
    for (let j = 1; j <= b.length; j++) {
      const substitution = rows[i - 1]![j - 1]! + (a[i - 1] === b[j - 1] ? 0 : 1);
      let distance = Math.min(substitution, rows[i - 1]![j]! + 1, row[j - 1]! + 1);
      if (i > 1 && j > 1 && a[i - 1] === b[j - 2] && a[i - 2] === b[j - 1]) {
        distance = Math.min(distance, rows[i - 2]![j - 2]! + 1);
      }
      row.push(distance);
    }
    rows.push(row);
  }
  return rows[a.length]![b.length]!;
}
