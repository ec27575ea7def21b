/** What a search asks for, from the query of its address: what is not understood is refused. */
import type { SearchFilter, SearchTask } from '../../audit/index.ts';
import { AdminError } from '../admin/index.ts';

/** Newest records at most: a screen, and a thread's memory. Oldest first they are passed on as they are found. */
export const maxNewest = 1000;
export const maxOldest = 1_000_000;
const defaultNewest = 100;

const time = /^\d{4}-\d\d-\d\dT\d\d:\d\d(:\d\d(\.\d{1,9})?)?(Z|[+-]\d\d:\d\d)$/;

const known = new Set([
  'since',
  'until',
  'key',
  'object',
  'identity',
  'outcome',
  'order',
  'limit',
  'follow',
] as const);

/** @throws AdminError 400 */
export function searchOf(query: URLSearchParams): Omit<SearchTask, 'kind' | 'trail'> {
  for (const name of new Set(query.keys())) {
    if (!(known as ReadonlySet<string>).has(name)) throw refused(`there is no parameter '${shown(name)}'`);
    if (query.getAll(name).length > 1) throw refused(`'${name}' is there twice`);
  }
  const filter: SearchFilter = {
    sinceMs: timeOf(query, 'since'),
    untilMs: timeOf(query, 'until'),
    key: matching(query, 'key', /^[\w-]{1,80}$/),
    object: matching(query, 'object', /^.{1,1300}$/su),
    identity: matching(query, 'identity', /^[0-9a-f]{1,64}$/),
    outcome: matching(query, 'outcome', /^(success|failure|unknown)$/),
  };
  const order = matching(query, 'order', /^(newest|oldest)$/) === 'oldest' ? 'oldest' : 'newest';
  const follow = matching(query, 'follow', /^(true|false)$/) === 'true';
  if (follow && order === 'oldest') throw refused("'follow' goes with the newest records");
  if (follow && filter.untilMs !== undefined) throw refused("'follow' and 'until' exclude each other");
  const most = order === 'newest' ? maxNewest : maxOldest;
  const limit = Number(
    matching(query, 'limit', /^\d{1,7}$/) ?? (order === 'newest' ? defaultNewest : maxOldest),
  );
  if (limit < 1 || limit > most) throw refused(`'limit' is 1 to ${String(most)}`);
  return { filter, order, limit, follow };
}

function timeOf(query: URLSearchParams, name: string): number | undefined {
  const text = matching(query, name, time);
  if (text === undefined) return undefined;
  const timeMs = Date.parse(text);
  if (Number.isNaN(timeMs)) throw refused(`'${name}' is no time`);
  return timeMs;
}

function matching(query: URLSearchParams, name: string, form: RegExp): string | undefined {
  const text = query.get(name);
  if (text === null) return undefined;
  if (!form.test(text)) throw refused(`'${name}' does not have its form`);
  return text;
}

function shown(name: string): string {
  return name.replace(/[^\w-]/g, '?').slice(0, 40);
}

function refused(message: string): AdminError {
  return new AdminError(400, message);
}
