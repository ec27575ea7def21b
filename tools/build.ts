/**
 * Builds the npm package's code: `npm run build` compiles src/ into dist/, which Node runs without type stripping
 * (Node refuses to strip types below node_modules). Ends with 1 when what came out could not run.
 */
import { spawnSync } from 'node:child_process';
import { chmodSync, cpSync, readFileSync, readdirSync, rmSync, writeFileSync } from 'node:fs';
import { createRequire } from 'node:module';
import { join, relative, resolve } from 'node:path';

const root = resolve(import.meta.dirname, '..');
const dist = join(root, 'dist');

/** A file named in an import, an export, a dynamic import or a URL beside the module, with the ending `.ts`. */
const typescriptFile =
  /(\bfrom\s*|\bimport\s*\(?\s*|\bnew URL\(\s*)(['"])(\.{1,2}\/[^'"\n]*?)(?<!\.d)\.ts\2/g;

function filesBelow(folder: string, ending: string): string[] {
  return readdirSync(folder, { recursive: true, encoding: 'utf8' })
    .filter((name) => name.endsWith(ending))
    .map((name) => join(folder, name));
}

/** The compiler rewrites imports in code and leaves them in declarations, where `.ts` would name files not shipped. */
function rewriteDeclarations(): void {
  for (const file of filesBelow(dist, '.d.ts')) {
    const text = readFileSync(file, 'utf8');
    const rewritten = text.replace(typescriptFile, '$1$2$3.js$2');
    if (rewritten !== text) writeFileSync(file, rewritten);
  }
}

function importsOfTypescript(): string[] {
  return filesBelow(dist, '.js')
    .concat(filesBelow(dist, '.d.ts'))
    .flatMap((file) =>
      [...readFileSync(file, 'utf8').matchAll(typescriptFile)].map(
        ([found]) => `${relative(root, file)}: ${found}`,
      ),
    );
}

rmSync(dist, { recursive: true, force: true });
const compiler = createRequire(import.meta.url).resolve('typescript/bin/tsc');
const { status } = spawnSync(process.execPath, [compiler, '-p', join(root, 'tsconfig.build.json')], {
  stdio: 'inherit',
});
if (status !== 0) process.exit(status ?? 1);
// A browser gets them as they are.
const consoleFiles = join('api', 'console', 'files');
cpSync(join(root, 'src', consoleFiles), join(dist, consoleFiles), { recursive: true });
rewriteDeclarations();
const wrong = importsOfTypescript();
if (wrong.length > 0) {
  console.error(`dist/ names TypeScript files that are not there:\n${wrong.join('\n')}`);
  process.exit(1);
}
chmodSync(join(dist, 'main.js'), 0o755);
console.log(`dist/: ${String(filesBelow(dist, '.js').length)} modules`);
