/** The dashboards as they ship, for the tests that try them. */
import { readFileSync } from 'node:fs';
import { filesOf } from './rules.ts';

export interface Panel {
  readonly id: number;
  readonly type: string;
  readonly title: string;
  readonly gridPos: { readonly x: number; readonly y: number; readonly w: number; readonly h: number };
  readonly datasource?: { readonly uid: string };
  readonly fieldConfig?: { readonly defaults: { readonly unit?: string } };
  readonly targets?: readonly { readonly expr: string; readonly refId: string }[];
}

export interface Dashboard {
  readonly uid: string;
  readonly title: string;
  readonly schemaVersion: number;
  readonly templating: { readonly list: readonly { readonly name: string; readonly definition?: string }[] };
  readonly panels: readonly Panel[];
}

export const dashboards = filesOf('dashboards', '.json').map(
  (file) => JSON.parse(readFileSync(file, 'utf8')) as Dashboard,
);

export function queriesOf(board: Dashboard): { name: string; expr: string }[] {
  return board.panels.flatMap(({ title, targets = [] }) =>
    targets.map(({ expr, refId }) => ({ name: `${board.uid}: ${title} ${refId}`, expr })),
  );
}

/** What Grafana sends when everything is chosen. */
export function expanded(expr: string, rateInterval = '5m'): string {
  return expr
    .replaceAll('$__rate_interval', rateInterval)
    .replaceAll('$job', 'sello')
    .replaceAll(/\$(instance|tenant)/g, '.*');
}
