/** Links between pages lead somewhere, and the tests that SECURITY.md names are there. */
import { existsSync, readFileSync, readdirSync } from 'node:fs';
import path from 'node:path';
import t from 'tap';

const root = path.resolve(import.meta.dirname, '..');
const pages = [
  ...readdirSync(root).filter((name) => name.endsWith('.md')),
  ...readdirSync(path.join(root, 'docs'), { recursive: true, encoding: 'utf8' })
    .filter((name) => name.endsWith('.md'))
    .map((name) => path.join('docs', name)),
];

/** The anchor that a heading gets: as on GitHub. */
function anchorsOf(text: string): Set<string> {
  const headings = text.matchAll(/^#+ +(.*)$/gm);
  return new Set(
    [...headings].map(([, title]) =>
      title!
        .toLowerCase()
        .replace(/[^\p{L}\p{N} _-]/gu, '')
        .trim()
        .replaceAll(' ', '-'),
    ),
  );
}

t.test('every link to a file or a heading leads there', async (t) => {
  t.ok(pages.length > 8);
  for (const page of pages) {
    const text = readFileSync(path.join(root, page), 'utf8');
    const prose = text.replace(/^```[\s\S]*?^```/gm, '').replace(/`[^`\n]*`/g, '');
    for (const [, target] of prose.matchAll(/\]\(([^)\s]+)\)/g)) {
      if (/^[a-z]+:/.test(target!)) continue;
      const [file = '', anchor] = target!.split('#');
      const at = file === '' ? path.join(root, page) : path.resolve(root, path.dirname(page), file);
      if (!t.ok(existsSync(at), `${page} → ${target!}`)) continue;
      if (anchor !== undefined)
        t.ok(anchorsOf(readFileSync(at, 'utf8')).has(anchor), `${page} → ${target!}, the heading`);
    }
  }
});

t.test('tests named as evidence are there', async (t) => {
  const security = readFileSync(path.join(root, 'SECURITY.md'), 'utf8');
  const named = new Set([...security.matchAll(/`(test\/[\w/.-]+)`/g)].map(([, name]) => name!));
  t.ok(named.size > 10);
  for (const name of named) t.ok(existsSync(path.join(root, name)), name);
});

t.test('the index names every page of its folder', async (t) => {
  const index = readFileSync(path.join(root, 'docs/README.md'), 'utf8');
  for (const page of pages.filter((name) => name.startsWith('docs/') && name !== 'docs/README.md')) {
    t.ok(index.includes(`(${page.slice('docs/'.length)})`), page);
  }
});
