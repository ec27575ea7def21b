/** The expected table as text: a section per variant, a line per client, a word per route. Literals only, no rule in it. */
export type Cells = ReadonlyMap<string, ReadonlyMap<string, string>>;

/** Rows of `table` by the names of its columns. */
export function parseTable(text: string): Map<string, Cells> {
  const variants = new Map<string, Cells>();
  let columns: string[] = [];
  let rows = new Map<string, ReadonlyMap<string, string>>();
  for (const line of text.split('\n')) {
    if (line.trim() === '' || line.startsWith('#')) continue;
    const [head = '', ...parts] = line.split(' | ');
    const cells = parts.map((part) => part.trim());
    if (head.startsWith('= ')) {
      rows = new Map();
      columns = cells;
      variants.set(head.slice(2).trim(), rows);
    } else rows.set(head.trim(), new Map(columns.map((column, i) => [column, cells[i] ?? ''])));
  }
  return variants;
}

export function formatTable(variants: ReadonlyMap<string, Cells>): string {
  const sections: string[] = [];
  for (const [variant, rows] of variants) {
    const columns = [...([...rows.values()][0]?.keys() ?? [])];
    const width = Math.max(variant.length + 2, ...[...rows.keys()].map((name) => name.length));
    const line = (head: string, cells: readonly string[]): string =>
      [head.padEnd(width), ...cells.map((cell, i) => cell.padEnd(columns[i]!.length))].join(' | ').trimEnd();
    sections.push(
      [
        line(`= ${variant}`, columns),
        ...[...rows].map(([name, cells]) => line(name, [...cells.values()])),
      ].join('\n'),
    );
  }
  return sections.join('\n\n');
}
