import { readFileSync } from 'node:fs';
import { resolve } from 'node:path';
import fc from 'fast-check';
import t from 'tap';
import { ConfigError, parseConfig } from '../../src/config/index.ts';

const examples = ['sello-minimal.yaml', 'sello-multi-tenant.yaml', 'kes-fs.yaml'].map((name) =>
  readFileSync(resolve(import.meta.dirname, '../../config', name), 'utf8')
    .split('\n')
    .filter((line) => line.trim() !== '' && !/^\s*#/.test(line)),
);

const identities = ['SELLO_ADMIN', 'BLUE_ADMIN', 'BLUE_NODE', 'BLUE_BACKUP', 'GREEN_PROXY', 'GREEN_NODE', 'KES_ADMIN', 'KES_MINIO']; // prettier-ignore
const env = {
  ...Object.fromEntries(identities.map((name, i) => [name, String(i).repeat(64)])),
  KES_ADDRESS: '127.0.0.1:7373',
  KES_TLS_KEY: 'server.key',
  KES_TLS_CERT: 'server.crt',
  KES_KEYS: 'keys',
};

const odd = ['', '~', '[]', '{}', '[[]]', '{ a: { b: c } }', '[~]', "''", '-1', '0', '*', 'on', '__proto__', '${X}', '${', '!!binary x', '*a', '&a x', '"\\0"', '- x', '1e999', 'constructor']; // prettier-ignore

type Change = { at: number; kind: 'drop' | 'double' | 'value' | 'name' | 'indent'; odd: number };

function change(lines: readonly string[], { at, kind, odd: which }: Change): string[] {
  const i = at % lines.length;
  const line = lines[i]!;
  const word = odd[which % odd.length]!;
  const changed: Record<Change['kind'], string[]> = {
    drop: [],
    double: [line, line],
    value: [line.replace(/(: |- ).*$/, (_, mark: string) => `${mark}${word}`)],
    name: [line.replace(/[A-Za-z]\w*:/, () => `${word}:`)],
    indent: [`  ${line}`],
  };
  return [...lines.slice(0, i), ...changed[kind], ...lines.slice(i + 1)];
}

t.test('a mangled file loads or is refused with its problems; nothing else ever happens', async (t) => {
  for (const lines of examples) parseConfig(lines.join('\n'), { env });
  let refused = 0;
  fc.assert(
    fc.property(
      fc.constantFrom(...examples),
      fc.array(
        fc.record({
          at: fc.nat(200),
          kind: fc.constantFrom<Change['kind']>('drop', 'double', 'value', 'name', 'indent'),
          odd: fc.nat(100),
        }),
        { minLength: 1, maxLength: 4 },
      ),
      (lines, changes) => {
        const text = changes.reduce<string[]>(change, [...lines]).join('\n');
        try {
          parseConfig(text, { env });
        } catch (error) {
          if (!(error instanceof ConfigError)) throw error;
          refused++;
          if (error.problems.length === 0) throw new Error('refused without a problem', { cause: error });
        }
      },
    ),
    { numRuns: 1000 },
  );
  t.ok(refused > 500 && refused < 1000, `${refused} of 1000 refused`);
  t.equal(({} as Record<string, unknown>)['a'], undefined, 'no prototype was touched');
});
