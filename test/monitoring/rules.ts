/** The rules as they ship, for the tests that try them. */
import { readdirSync, readFileSync } from 'node:fs';
import path from 'node:path';
import { parse } from 'yaml';

export const projectRoot = path.resolve(import.meta.dirname, '../..');
export const monitoringFolder = path.join(projectRoot, 'deploy/monitoring');

export interface Rule {
  readonly alert: string;
  readonly expr: string;
  readonly for?: string;
  readonly labels: Readonly<Record<string, string>>;
  readonly annotations: Readonly<Record<string, string>>;
}

export interface RuleFile {
  readonly groups: readonly { readonly name: string; readonly rules: readonly Rule[] }[];
}

export function filesOf(folder: string, ending: string): string[] {
  const whole = path.join(monitoringFolder, folder);
  return readdirSync(whole)
    .filter((name) => name.endsWith(ending))
    .map((name) => path.join(whole, name));
}

export const ruleFiles = filesOf('rules', '.yaml');

export const rules: readonly Rule[] = ruleFiles.flatMap((file) =>
  (parse(readFileSync(file, 'utf8')) as RuleFile).groups.flatMap((group) => group.rules),
);

/** Families of Sello and of its process that an expression names. */
export function metricsIn(expr: string): string[] {
  return [...expr.matchAll(/\b(?:sello|process|nodejs)_[a-z0-9_]+/g)].map(([name]) => name);
}
