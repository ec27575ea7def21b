/** The one vocabulary of operations (docs/policies.md). Every face maps its routes to these. */
export const operations = [
  'create', 'import', 'describe', 'list', 'delete', 'issue', 'encrypt', 'unwrap', 'mac', 'rewrap', 'rotate',
  'state', 'seal', 'open', 'metrics', 'status', 'read-audit', 'admin',
] as const; // prettier-ignore

export type Operation = (typeof operations)[number];

export function isOperation(value: unknown): value is Operation {
  return (operations as readonly unknown[]).includes(value);
}

/** The wire face a request came in by. KES patterns grant routes of the `kes` face alone; denies hold on every face. */
export type Face = 'kes' | 'transit' | 'objects' | 'admin';
