/** The dashboards are a model that Grafana takes, and every query parses and is about metrics that exist. */
import { execFile } from 'node:child_process';
import { readFileSync, writeFileSync } from 'node:fs';
import path from 'node:path';
import { promisify } from 'node:util';
import t from 'tap';
import { createMetrics } from '../../src/telemetry/index.ts';
import { needPrograms } from '../real/debian-programs.ts';
import { dashboards, expanded, queriesOf, type Panel } from './dashboards.ts';
import { filesOf, metricsIn } from './rules.ts';

const run = promisify(execFile);

t.test('dashboards are a valid model', (t) => {
  t.equal(dashboards.length, 4);
  t.equal(new Set(dashboards.map(({ uid }) => uid)).size, dashboards.length, 'each has its own id');
  for (const board of dashboards) {
    t.match(board.uid, /^[a-z-]{1,40}$/);
    t.ok(board.schemaVersion >= 36);
    t.ok(board.title.startsWith('Sello: '));
    t.equal(new Set(board.panels.map(({ id }) => id)).size, board.panels.length, 'each panel its own id');
    const variables = new Set(board.templating.list.map(({ name }) => name));
    t.ok(variables.has('datasource'));
    for (const [i, panel] of board.panels.entries()) {
      const name = `${board.uid}: ${panel.title}`;
      t.match(panel.type, /^(row|timeseries|stat|table)$/, name);
      const { x, w } = panel.gridPos;
      t.ok(x >= 0 && w > 0 && x + w <= 24, `${name} is on the grid`);
      for (const other of board.panels.slice(i + 1)) {
        if (overlap(panel, other)) t.fail(`${name} lies over ${other.title}`);
      }
      if (panel.type === 'row') continue;
      t.ok(panel.targets!.length > 0, name);
      t.equal(
        new Set(panel.targets!.map(({ refId }) => refId)).size,
        panel.targets!.length,
        `${name}: queries told apart`,
      );
      t.ok(panel.fieldConfig!.defaults.unit, `${name} has a unit`);
      t.equal(panel.datasource!.uid, '${datasource}', `${name}: the source that was chosen`);
    }
    for (const { name, expr } of queriesOf(board)) {
      for (const [, variable] of expr.matchAll(/\$\{?(\w+)/g))
        t.ok(variables.has(variable!) || variable === '__rate_interval', `${name}: $${variable!}`);
    }
  }
  t.end();
});

function overlap({ gridPos: a }: Panel, { gridPos: b }: Panel): boolean {
  return a.x < b.x + b.w && b.x < a.x + a.w && a.y < b.y + b.h && b.y < a.y + a.h;
}

t.test('queries are about metrics that Sello exports', async (t) => {
  const exported = new Set([...createMetrics({ version: '1' }).families, 'sello_worker_up']);
  for (const { name, expr } of dashboards.flatMap(queriesOf)) {
    for (const metric of metricsIn(expr)) {
      t.ok(
        exported.has(metric) || exported.has(metric.replace(/_(bucket|count|sum)$/, '')),
        `${name}: ${metric}`,
      );
    }
  }
});

t.test('every query parses', async (t) => {
  const programs = await needPrograms(t, 'promtool');
  if (programs === undefined) return;
  const queries = dashboards.flatMap(queriesOf);
  t.ok(queries.length > 40);
  const rules = queries.map(({ expr }, i) => ({ record: `query:${i}`, expr: expanded(expr) }));
  const file = path.join(t.testdir({}), 'queries.yaml');
  writeFileSync(file, JSON.stringify({ groups: [{ name: 'queries', rules }] }));
  const said = await run(programs.promtool, ['check', 'rules', file]).then(
    () => '',
    (error: { stdout: string; stderr: string }) => `${error.stdout}${error.stderr}`,
  );
  t.equal(said, '');
});

t.test("Alertmanager's examples are accepted", async (t) => {
  const files = filesOf('alertmanager', '.yaml');
  t.equal(files.length, 3);
  for (const file of files) {
    t.notMatch(
      readFileSync(file, 'utf8'),
      /^\s*(routing_key|service_key|credentials|password):/m,
      'no secret',
    );
  }
  const programs = await needPrograms(t, 'amtool');
  if (programs === undefined) return;
  for (const file of files) {
    const said = await run(programs.amtool, ['check-config', file]).then(
      () => '',
      (error: { stdout: string; stderr: string }) => `${error.stdout}${error.stderr}`,
    );
    t.equal(said, '', path.basename(file));
    // Who gets what, asked of Alertmanager's own routing.
    const goesTo = async (...labels: string[]): Promise<string> =>
      (
        await run(programs.amtool, ['config', 'routes', 'test', `--config.file=${file}`, ...labels])
      ).stdout.trim();
    const name = path.basename(file, '.yaml');
    t.equal(await goesTo('alertname=SelloDown', 'severity=critical'), name);
    t.equal(await goesTo('alertname=SelloKeystoreSlow', 'severity=warning'), name);
    t.equal(await goesTo('alertname=DiskFull', 'severity=critical'), 'nowhere', "others' alerts");
  }
});
