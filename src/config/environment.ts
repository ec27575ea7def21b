/**
 * Variables in scalars. KES replaces a scalar that is exactly `${NAME}`; we also replace inside scalars and take a
 * default: `${NAME:-default}` (used, as in a shell, when NAME is unset or empty). `$${` stands for a literal `${`.
 * Replaced text is never read as YAML again, so a value cannot bring fields of its own.
 */
export type Environment = Readonly<Record<string, string | undefined>>;

export interface Expansion {
  readonly text: string;
  /** Names without a value and without a default, in order. */
  readonly unset: readonly string[];
}

const reference = /\$\$\{|\$\{([^}]*)\}/g;

export function expand(text: string, env: Environment): Expansion {
  if (!text.includes('${')) return { text, unset: [] };
  const unset: string[] = [];
  const replaced = text.replace(reference, (match, inner: string | undefined) => {
    if (inner === undefined) return '${';
    const cut = inner.indexOf(':-');
    const name = cut < 0 ? inner : inner.slice(0, cut);
    const value = Object.hasOwn(env, name) ? env[name] : undefined;
    if (cut >= 0) return value === undefined || value === '' ? inner.slice(cut + 2) : value;
    if (value === undefined) unset.push(name);
    return value ?? match;
  });
  return { text: replaced, unset };
}
