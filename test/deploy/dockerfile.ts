/** Just enough of a Dockerfile's grammar for our own: instructions, continuation lines, comments, stages. */
export interface Instruction {
  readonly keyword: string;
  readonly rest: string;
}

/** Stages in order; each begins with its FROM. */
export function stagesOf(text: string): Instruction[][] {
  const lines = text
    .split('\n')
    .filter((line) => !/^\s*#/.test(line))
    .join('\n')
    .replace(/\\\n/g, ' ')
    .split('\n')
    .filter((line) => line.trim() !== '');
  const stages: Instruction[][] = [];
  for (const line of lines) {
    const [, keyword = '', rest = ''] = /^([A-Z]+)\s+(.*)$/.exec(line) ?? [];
    if (keyword === '') throw new Error(`not an instruction: ${line}`);
    if (keyword === 'FROM') stages.push([]);
    stages.at(-1)?.push({ keyword, rest: rest.replace(/\s+/g, ' ').trim() });
  }
  return stages;
}
