/**
 * Older forms of a KES file, turned into today's before the schema reads it, each with a warning; and the keystores
 * that KES has and we do not, refused by name. docs/configuration.md lists both from the tables here.
 */
import type { Position, ProblemList } from './problem.ts';
import { didYouMean } from './suggestion.ts';
import type { MappingTree, ScalarTree, Tree } from './tree.ts';

export interface LegacyField {
  readonly field: string;
  readonly until: string;
  readonly becomes: string;
}

/** What is accepted with a warning. */
export const legacyFields: readonly LegacyField[] = [
  { field: 'root', until: 'v0.17', becomes: '`admin.identity`' },
  { field: 'proxy', until: 'v0.17', becomes: '`tls.proxy`' },
  { field: 'policy.NAME.paths', until: 'v0.13', becomes: '`policy.NAME.allow`' },
  { field: 'keys, as a mapping', until: 'v0.17', becomes: '`keystore`' },
  {
    field: 'keystore.vault.approle.retry, …kubernetes.retry',
    until: 'v0.22',
    becomes: 'nothing: KES ignores it too',
  },
];

/** Keystores of KES, by their name in a file, with the field that tells a filled-in one from a sample's empty one. */
const foreignKeystores: Readonly<
  Record<string, { readonly title: string; readonly decisive: readonly string[] }>
> = {
  aws: { title: 'AWS Secrets Manager', decisive: ['secretsmanager', 'endpoint'] },
  gcp: { title: 'Google Cloud Secret Manager', decisive: ['secretmanager', 'project_id'] },
  azure: { title: 'Azure Key Vault', decisive: ['keyvault', 'endpoint'] },
  gemalto: { title: 'Gemalto KeySecure (Thales CipherTrust)', decisive: ['keysecure', 'endpoint'] },
  fortanix: { title: 'Fortanix SDKMS', decisive: ['sdkms', 'endpoint'] },
  entrust: { title: 'Entrust KeyControl', decisive: ['keycontrol', 'endpoint'] },
  etcd: { title: 'etcd', decisive: [] },
  kes: { title: 'another KES server', decisive: [] },
  encryptedfs: { title: 'the encrypted files of a KES fork', decisive: [] },
  credhub: { title: 'CredHub', decisive: [] },
};

export const unsupportedKeystores: readonly { readonly name: string; readonly title: string }[] =
  Object.entries(foreignKeystores).map(([name, { title }]) => ({ name, title }));

/** Ours, each with the field that tells a filled-in one. */
const ownKeystores: Readonly<Record<string, string>> = { fs: 'path', vault: 'endpoint' };

const knownKeystores = [...Object.keys(ownKeystores), ...Object.keys(foreignKeystores)];

export interface ModernKesTree {
  readonly tree: MappingTree;
  /** False when the file names no keystore at all. */
  readonly namesKeystore: boolean;
}

export function modernise(file: MappingTree, problems: ProblemList): ModernKesTree {
  const tree = withoutEmpties(file) as MappingTree;
  moveRoot(tree, problems);
  moveProxy(tree, problems);
  movePaths(tree, problems);
  moveKeystore(tree, problems);
  return { tree, namesKeystore: settleKeystore(tree, problems) };
}

/** To Go an empty text is the same as no text, and KES's samples are full of `field: ""`. */
function withoutEmpties(tree: Tree): Tree {
  if (tree.kind === 'scalar') return tree.text === '' ? { ...tree, isNull: true } : tree;
  if (tree.kind === 'sequence') {
    const items = tree.items.map(withoutEmpties).filter((item) => item.kind !== 'scalar' || !item.isNull);
    return { ...tree, items };
  }
  const entries: MappingTree['entries'] = new Map();
  for (const [name, { keyAt, value }] of tree.entries)
    entries.set(name, { keyAt, value: withoutEmpties(value) });
  return { ...tree, entries };
}

function moveRoot(tree: MappingTree, problems: ProblemList): void {
  const root = take(tree, 'root');
  if (root === undefined || isNull(root.value)) return;
  legacy(problems, 'root', 'admin.identity', root.keyAt);
  const admin = mappingAt(tree, 'admin', root.keyAt);
  if (present(admin, 'identity')) problems.refuse("'root' and 'admin.identity' are both given", root.keyAt);
  else admin.entries.set('identity', root);
}

function moveProxy(tree: MappingTree, problems: ProblemList): void {
  const proxy = take(tree, 'proxy');
  if (proxy === undefined || isNull(proxy.value)) return;
  legacy(problems, 'proxy', 'tls.proxy', proxy.keyAt);
  const tls = mappingAt(tree, 'tls', proxy.keyAt);
  if (present(tls, 'proxy')) problems.refuse("'proxy' and 'tls.proxy' are both given", proxy.keyAt);
  else tls.entries.set('proxy', proxy);
}

function movePaths(tree: MappingTree, problems: ProblemList): void {
  const policies = tree.entries.get('policy')?.value;
  if (policies?.kind !== 'mapping') return;
  for (const [name, { value: policy }] of policies.entries) {
    const paths = policy.kind === 'mapping' ? take(policy, 'paths') : undefined;
    if (policy.kind !== 'mapping' || paths === undefined || isNull(paths.value)) continue;
    legacy(problems, `policy.${name}.paths`, `policy.${name}.allow`, paths.keyAt);
    if (present(policy, 'allow')) {
      problems.refuse(`'policy.${name}' has both 'paths' and 'allow'`, paths.keyAt);
    } else policy.entries.set('allow', paths);
  }
}

/** `keys` was the keystore up to v0.17; since 2025 it is a list of keys to create. */
function moveKeystore(tree: MappingTree, problems: ProblemList): void {
  const keys = tree.entries.get('keys');
  if (keys?.value.kind !== 'mapping') return;
  tree.entries.delete('keys');
  legacy(problems, 'keys', 'keystore', keys.keyAt);
  if (present(tree, 'keystore')) problems.refuse("'keys' and 'keystore' both name a keystore", keys.keyAt);
  else tree.entries.set('keystore', keys);
}

/** Leaves at most `fs` or `vault` in the tree; everything else is refused with its name. */
function settleKeystore(tree: MappingTree, problems: ProblemList): boolean {
  const keystore = tree.entries.get('keystore')?.value;
  if (keystore?.kind !== 'mapping') return keystore !== undefined && !isNull(keystore);
  for (const [name, { keyAt }] of keystore.entries) {
    if (knownKeystores.includes(name)) continue;
    keystore.entries.delete(name);
    problems.refuse(`unknown field '${name}' in 'keystore'${didYouMean(name, knownKeystores)}`, keyAt);
    return true;
  }
  const filled = [...keystore.entries].filter(([name, { value }]) => isFilled(name, value));
  // A sample with every store in it and one filled in means that one; a single empty one gets its own message below.
  if (filled.length > 0)
    for (const [name, { value }] of keystore.entries)
      if (!isFilled(name, value)) keystore.entries.delete(name);
  if (filled.length > 1) {
    const names = filled.map(([name]) => name).join(', ');
    const at = filled[1]![1].keyAt;
    problems.refuse(`invalid keystore config: more than once keystore specified: ${names}`, at);
  }
  const namesAny = [...keystore.entries.values()].some(({ value }) => !isNull(value));
  for (const [name, { title }] of Object.entries(foreignKeystores)) {
    const store = take(keystore, name);
    if (store === undefined || isNull(store.value)) continue;
    problems.refuse(`keystore '${name}' (${title}) is not supported`, store.keyAt);
  }
  const vault = keystore.entries.get('vault');
  if (vault !== undefined) noteRetry(vault.value, problems);
  return namesAny;
}

function noteRetry(vault: Tree, problems: ProblemList): void {
  if (vault.kind !== 'mapping') return;
  for (const login of ['approle', 'kubernetes']) {
    const method = vault.entries.get(login)?.value;
    const retry = method?.kind === 'mapping' ? method.entries.get('retry') : undefined;
    if (retry === undefined) continue;
    if (method?.kind === 'mapping') method.entries.delete('retry');
    const message = `'keystore.vault.${login}.retry' is an old field without effect: remove it`;
    problems.notice(message, retry.keyAt, { failsCheck: false });
  }
}

function isFilled(name: string, value: Tree): boolean {
  if (isNull(value)) return false;
  let here: Tree | undefined = value;
  const own = ownKeystores[name];
  for (const step of own === undefined ? (foreignKeystores[name]?.decisive ?? []) : [own]) {
    here = here?.kind === 'mapping' ? here.entries.get(step)?.value : undefined;
  }
  return here !== undefined && !isNull(here);
}

function legacy(problems: ProblemList, old: string, now: string, at: Position): void {
  problems.notice(`'${old}' is an old field: write '${now}'`, at, { failsCheck: false });
}

function take(tree: MappingTree, name: string): { keyAt: Position; value: Tree } | undefined {
  const entry = tree.entries.get(name);
  tree.entries.delete(name);
  return entry;
}

function present(tree: MappingTree, name: string): boolean {
  const entry = tree.entries.get(name);
  return entry !== undefined && !isNull(entry.value);
}

function mappingAt(tree: MappingTree, name: string, at: Position): MappingTree {
  const existing = tree.entries.get(name)?.value;
  if (existing?.kind === 'mapping') return existing;
  const created: MappingTree = { kind: 'mapping', entries: new Map(), at };
  if (existing === undefined || isNull(existing)) tree.entries.set(name, { keyAt: at, value: created });
  return created;
}

function isNull(tree: Tree): tree is ScalarTree {
  return tree.kind === 'scalar' && tree.isNull;
}
