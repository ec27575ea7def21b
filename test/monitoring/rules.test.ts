/** Each alert fires when it should and not when it should not, is about metrics that exist, and has its page. */
import { execFile } from 'node:child_process';
import { readdirSync, readFileSync, writeFileSync } from 'node:fs';
import path from 'node:path';
import { promisify } from 'node:util';
import t from 'tap';
import { createMetrics } from '../../src/telemetry/index.ts';
import { needPrograms } from '../real/debian-programs.ts';
import { ruleCases, type Series } from './rule-cases.ts';
import { metricsIn, projectRoot, ruleFiles, rules } from './rules.ts';

const run = promisify(execFile);

t.test('rules are well formed: name, severity, what it means, its page', async (t) => {
  t.ok(rules.length > 25);
  t.equal(new Set(rules.map((rule) => rule.alert)).size, rules.length, 'no name twice');
  for (const { alert, labels, annotations } of rules) {
    t.match(alert, /^Sello[A-Z][A-Za-z]+$/);
    t.match(labels['severity'], /^(critical|warning|info)$/, alert);
    t.ok(annotations['summary'] && annotations['description'], alert);
    t.ok(annotations['runbook_url']!.endsWith(`/docs/runbooks/${alert}.md`), alert);
  }
});

t.test('rules are about metrics that Sello exports', async (t) => {
  const exported = new Set([...createMetrics({ version: '1' }).families, 'sello_worker_up']);
  for (const { alert, expr } of rules) {
    for (const name of metricsIn(expr))
      t.ok(exported.has(name) || exported.has(name.replace(/_(bucket|count|sum)$/, '')), `${alert}: ${name}`);
  }
});

t.test('each alert has its page and each page its alert', async (t) => {
  const pages = readdirSync(path.join(projectRoot, 'docs/runbooks')).map((name) => name.replace(/\.md$/, ''));
  t.strictSame(pages.sort(), rules.map((rule) => rule.alert).sort());
  for (const { alert, labels, expr } of rules) {
    const page = readFileSync(path.join(projectRoot, `docs/runbooks/${alert}.md`), 'utf8');
    t.ok(page.startsWith(`# ${alert}\n`), alert);
    t.ok(page.includes(`Severity: ${labels['severity']!}`), `${alert}: its severity`);
    t.ok(page.includes(`\`\`\`promql\n${expr.trimEnd()}\n\`\`\``), `${alert}: its expression, as it is`);
    for (const part of ['Symptom', 'Metric', 'Action', 'Verification'])
      t.match(page, new RegExp(`^## ${part}\n\n\\S`, 'm'), `${alert}: ${part}`);
  }
});

t.test('each alert fires, and does not fire', async (t) => {
  t.strictSame(Object.keys(ruleCases).sort(), rules.map((rule) => rule.alert).sort(), 'each has its case');
  const programs = await needPrograms(t, 'promtool');
  if (programs === undefined) return;
  const test = (name: string, series: Series, minutes: number, firing: readonly string[]): object => ({
    name,
    interval: '1m',
    input_series: Object.entries(series).map(([labels, values]) => ({ series: labels, values })),
    promql_expr_test: [
      {
        // Which alerts fire, and no other.
        expr: 'count by (alertname) (ALERTS{alertstate="firing"})',
        eval_time: `${minutes}m`,
        exp_samples: firing.map((alertname) => ({ labels: `{alertname="${alertname}"}`, value: 1 })),
      },
    ],
  });
  const tests = Object.entries(ruleCases).flatMap(([alert, one]) => {
    const up = one.up ?? { 'up{job="sello",instance="a"}': '1x500' };
    const quiet = Object.entries(one.quiet).map(([name, series]) =>
      test(
        `${alert} does not fire: ${name}`,
        alert === 'SelloDown' ? series : { ...up, ...series },
        one.quietAfterMinutes ?? one.afterMinutes,
        [],
      ),
    );
    const firing = [alert, ...(one.with ?? [])];
    const fires = Object.entries({ '': one.fires, ...one.firesToo }).map(([name, series]) =>
      test(`${alert} fires ${name}`, { ...up, ...series }, one.afterMinutes, firing),
    );
    return [...fires, ...quiet];
  });
  const file = path.join(t.testdir({}), 'rules.test.yaml');
  // JSON is YAML.
  writeFileSync(file, JSON.stringify({ rule_files: ruleFiles, evaluation_interval: '1m', tests }));
  const { stdout, stderr, code } = await run(programs.promtool, ['test', 'rules', file]).then(
    (said) => ({ ...said, code: 0 }),
    (error: { stdout: string; stderr: string; code: number }) => error,
  );
  t.equal(code, 0, `${stdout}${stderr}`);
});
