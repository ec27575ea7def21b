/**
 * Writes what is made from the configuration schemas: config/*.schema.json and the tables of docs/configuration.md.
 * A test holds the committed files to this. Run: `node tools/schema.ts`
 */
import { readFileSync, writeFileSync } from 'node:fs';
import { join, resolve } from 'node:path';
import { format, resolveConfig } from 'prettier';
import { publishedSchemas } from '../src/config/publish.ts';
import { referenceSections } from '../src/config/reference.ts';

const root = resolve(import.meta.dirname, '..');

/** Path (from the project's root) and content of every generated file; the page keeps its own words. */
export async function generatedFiles(): Promise<Map<string, string>> {
  const { sello, kes } = publishedSchemas();
  const page = 'docs/configuration.md';
  const files = new Map([
    ['config/sello.schema.json', JSON.stringify(sello, null, 2)],
    ['config/kes.schema.json', JSON.stringify(kes, null, 2)],
    [page, fill(readFileSync(join(root, page), 'utf8'), referenceSections())],
  ]);
  for (const [path, content] of files) {
    const filepath = join(root, path);
    files.set(path, await format(content, { ...(await resolveConfig(filepath)), filepath }));
  }
  return files;
}

/** Replaces what stands between `<!-- NAME: made by tools/schema.ts -->` and `<!-- end of NAME -->`. */
function fill(page: string, sections: Record<string, string>): string {
  return Object.entries(sections).reduce((text, [name, section]) => {
    const start = `<!-- ${name}: made by tools/schema.ts -->`;
    const end = `<!-- end of ${name} -->`;
    const [before, rest] = text.split(start);
    const after = rest?.split(end)[1];
    if (before === undefined || after === undefined) throw new Error(`the page has no section '${name}'`);
    return `${before}${start}\n\n${section}\n\n${end}${after}`;
  }, page);
}

if (import.meta.main) {
  for (const [path, content] of await generatedFiles()) {
    writeFileSync(join(root, path), content);
    console.log(path);
  }
}
