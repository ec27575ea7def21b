/** Reads a configuration file, KES's or ours, and says everything that is wrong with it. */
import { readFile } from 'node:fs/promises';
import { dirname, resolve } from 'node:path';
import { sharedInTheWorld } from './authorities.ts';
import type { Environment } from './environment.ts';
import { isolationProblems } from './isolation.ts';
import { isKesPattern, kesConfig } from './kes.ts';
import type { Config } from './model.ts';
import { ConfigError, ProblemList } from './problem.ts';
import { selloVersion } from './schema-sello.ts';
import { selloConfig } from './sello.ts';
import { didYouMean } from './suggestion.ts';
import { expandTree, locate, parseTree } from './tree.ts';
import type { MappingTree, Tree } from './tree.ts';

export interface LoadOptions {
  readonly env: Environment;
  /** Relative paths of a KES file start here; the process's own when not given. */
  readonly workingDirectory?: string;
}

export interface ParseOptions extends LoadOptions {
  /** Path of the file, for messages and, in a Sello file, the start of relative paths. */
  readonly file?: string;
}

/**
 * Reads the text of a configuration and looks at nothing else, but for the password of an encrypted TLS key.
 * @throws ConfigError with every problem of the text
 */
export function parseConfig(text: string, options: ParseOptions): Config {
  return parse(text, options).config;
}

/**
 * Reads a configuration file, and the CA files it names as far as tenants must not share them.
 * @throws ConfigError with every problem
 */
export async function loadConfig(path: string, options: LoadOptions): Promise<Config> {
  const file = resolve(options.workingDirectory ?? process.cwd(), path);
  let text: string;
  try {
    text = await readFile(file, 'utf8');
  } catch (cause) {
    const code = cause instanceof Error && 'code' in cause ? String(cause.code) : 'unknown error';
    const why = code === 'ENOENT' ? 'no such file' : `cannot be read (${code})`;
    throw new ConfigError([{ message: why, line: undefined, column: undefined }], file, cause);
  }
  const { config, tree } = parse(text, { ...options, file });
  const problems = new ProblemList();
  for (const { message, path: place } of await sharedInTheWorld(config)) {
    problems.refuse(message, locate(tree, place));
  }
  problems.throwIfAny(file);
  return config;
}

function parse(text: string, { env, file, workingDirectory }: ParseOptions): { config: Config; tree: Tree } {
  const problems = new ProblemList();
  const cwd = workingDirectory ?? process.cwd();
  const raw = parseTree(text, problems);
  problems.throwIfAny(file);
  const tree = mapping(raw, problems);
  problems.throwIfAny(file);
  const isSello = isSelloFile(tree, problems);
  const path = file === undefined ? undefined : resolve(cwd, file);
  let config: Config;
  if (isSello) {
    const expanded = expandTree(tree, env, problems) as MappingTree;
    const folder = path === undefined ? cwd : dirname(path);
    config = selloConfig(expanded, { file: path, folder, env }, problems);
  } else {
    const expanded = expandTree(tree, env, problems, isKesPattern) as MappingTree;
    config = kesConfig(expanded, { file: path, folder: cwd }, problems);
    // Roles of identities are judged in KES's own words; the rest holds for one tenant too.
    for (const { message, path: place } of isolationProblems(config)) {
      if (place[0] === 'probes') problems.refuse(message, locate(tree, ['sello', 'probes']));
      if (place[2] === 'audit') problems.refuse(message, locate(tree, ['sello', 'audit']));
    }
  }
  problems.throwIfAny(file);
  return { config, tree };
}

function mapping(tree: Tree | undefined, problems: ProblemList): MappingTree {
  if (tree?.kind === 'mapping') return tree;
  if (tree !== undefined && (tree.kind !== 'scalar' || !tree.isNull)) {
    problems.refuse('the file must be a mapping of names to values', tree.at);
  }
  return { kind: 'mapping', entries: new Map(), at: tree?.at ?? { line: 1, column: 1 } };
}

/** `version: sello/v1` makes a Sello file. A file without it that is plainly one gets told so. */
function isSelloFile(tree: MappingTree, problems: ProblemList): boolean {
  const version = tree.entries.get('version')?.value;
  const text = version?.kind === 'scalar' ? version.text : undefined;
  if (text !== undefined && text.toLowerCase().startsWith('sello')) {
    if (text !== selloVersion) {
      const near = didYouMean(text, [selloVersion]);
      problems.refuse(
        `version '${text}' is not known; this program reads '${selloVersion}' and KES's 'v1'${near}`,
        version!.at,
      );
      tree.entries.delete('version');
      tree.entries.set('version', {
        keyAt: version!.at,
        value: { kind: 'scalar', text: selloVersion, shown: selloVersion, isNull: false, at: version!.at },
      });
    }
    return true;
  }
  const own = ['listeners', 'tenants'].find((name) => tree.entries.has(name));
  if (text === undefined && own !== undefined && !tree.entries.has('address')) {
    problems.refuse(
      `'${own}' is a field of Sello's own files: begin them with 'version: ${selloVersion}'`,
      tree.entries.get(own)!.keyAt,
    );
    tree.entries.set('version', {
      keyAt: tree.at,
      value: { kind: 'scalar', text: selloVersion, shown: selloVersion, isNull: false, at: tree.at },
    });
    return true;
  }
  return false;
}
