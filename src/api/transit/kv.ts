/**
 * KV 2 for the small records that storage nodes keep beside their keys. It is no secret manager: a record holds at most 60 KiB with all
 * its versions, and every identity that may use it sees all of it (docs/transit.md).
 */
import { SelloError } from '../../errors.ts';
import { fault, noContent, notFound, type VaultAnswer } from './answers.ts';
import { keepNumbers } from './body.ts';
import { booleanField, numberField, secondsField, textField, type Fields } from './fields.ts';
import type { TransitCall } from './call.ts';
import { KvStore, type KvActor, type KvRecord, type KvVersion } from './kv-store.ts';
import type { Handler, TransitRoute } from './routes.ts';

/** Vault's own, where a secret sets none. */
const defaultMaxVersions = 10;
const maxPathLength = 1024;
const maxVersionsSetting = 1000;
const maxCustomMetadata = 64;

function ok(data: unknown): VaultAnswer {
  return { status: 200, data, mountType: 'kv' };
}

function storeOf(call: TransitCall): KvStore {
  return new KvStore(call.tenant.keys, call.tenant.name);
}

/** @throws VaultFault */
function pathOf({ path = '' }: Readonly<Record<string, string>>): string {
  if (path === '' || path.endsWith('/')) throw fault(400, "cannot write to a path ending in '/'");
  if (path.length > maxPathLength || !path.isWellFormed() || /\p{Cc}/u.test(path) || path.includes('..'))
    throw fault(400, 'path is not allowed');
  return path;
}

/** What policies take for the key: a record of RustFS is named after the key it describes. */
function nameOf(path: string): string {
  return path.slice(path.lastIndexOf('/') + 1);
}

function now(): string {
  return new Date().toISOString().replace(/Z$/, '000000Z');
}

function actorOf(call: TransitCall, operation: KvActor['operation']): KvActor {
  return { actor: 'token', operation, clientId: call.identity ?? '' };
}

function shownActor(actor: KvActor | null): unknown {
  return actor === null
    ? null
    : { actor: actor.actor, operation: actor.operation, client_id: actor.clientId };
}

function versionView(record: KvRecord, number: number, version: KvVersion): Record<string, unknown> {
  return {
    created_time: version.created,
    custom_metadata: record.customMetadata,
    deletion_time: version.deletion,
    destroyed: version.destroyed,
    version: number,
  };
}

/** A deletion may lie in the future (`delete_version_after`). */
function isGone({ deletion, destroyed }: KvVersion): boolean {
  return destroyed || (deletion !== '' && Date.parse(deletion) <= Date.now());
}

const readData: Handler = async (call, parameters) => {
  const path = pathOf(parameters);
  call.authorize('describe', nameOf(path));
  const wanted = queryVersion(call);
  const found = await storeOf(call).read(path);
  if (found === undefined) throw notFound();
  const { record } = found;
  const number = wanted === 0 ? record.current : wanted;
  const version = record.versions[String(number)];
  if (version === undefined) throw notFound();
  const metadata = versionView(record, number, version);
  // Vault answers 404 with what it knows, and forgets the mount's type.
  if (isGone(version) || version.data === undefined)
    return { status: 404, data: { data: null, metadata }, mountType: '' };
  return ok({ data: sorted(JSON.parse(version.data, keepNumbers)), metadata });
};

/** Go's maps are written with their names in order. */
function sorted(value: unknown): unknown {
  if (Array.isArray(value)) return value.map(sorted);
  if (typeof value !== 'object' || value === null || JSON.isRawJSON(value)) return value;
  const entries = Object.entries(value).sort(([a], [b]) => (a < b ? -1 : 1));
  return Object.fromEntries(entries.map(([name, entry]) => [name, sorted(entry)]));
}

function queryVersion(call: TransitCall): number {
  const text = call.target.query.get('version') ?? '';
  if (text === '') return 0;
  if (!/^-?\d{1,9}$/.test(text))
    throw fault(
      400,
      `Field validation failed: error converting input for field "version": cannot parse '' as int: strconv.ParseInt: parsing ${JSON.stringify(text)}: invalid syntax`,
    );
  return Number(text);
}

const writeData: Handler = async (call, parameters, body) => {
  const fields = body.fields();
  const path = pathOf(parameters);
  call.authorize('create', nameOf(path));
  if (!('data' in fields)) throw fault(400, 'no data provided');
  const { data } = fields;
  if (data !== null && (typeof data !== 'object' || Array.isArray(data)))
    throw fault(400, 'Field validation failed: error converting input for field "data": expected a map');
  const cas = casOf(fields);
  await call.release(102, {}, 'begun');
  const text = JSON.stringify(sorted(data));
  const record = await written(call, path, (before) => {
    const current = before?.current ?? 0;
    if (cas === undefined && before?.casRequired === true)
      throw fault(400, 'check-and-set parameter required for this call', 'SELLO_RECORD_CONFLICT');
    if (cas !== undefined && cas !== current)
      throw fault(400, 'check-and-set parameter did not match the current version', 'SELLO_RECORD_CONFLICT');
    return withVersion(call, path, before, text);
  });
  return ok(versionView(record!, record!.current, record!.versions[String(record!.current)]!));
};

/** @throws VaultFault */
function casOf(fields: Fields): number | undefined {
  const { options } = fields;
  if (options === undefined || options === null) return undefined;
  if (typeof options !== 'object') throw fault(400, 'error parsing check-and-set parameter');
  try {
    return numberField(options as Fields, 'cas');
  } catch {
    throw fault(400, 'error parsing check-and-set parameter');
  }
}

async function written(
  call: TransitCall,
  path: string,
  make: (before: KvRecord | undefined) => KvRecord | undefined,
): Promise<KvRecord | undefined> {
  try {
    return await storeOf(call).change(path, make);
  } catch (error) {
    if (error instanceof SelloError && error.code === 'SELLO_OBJECT_TOO_LARGE')
      throw fault(413, 'a secret with all its versions has at most 60 KiB here', error.code);
    throw error;
  }
}

function withVersion(call: TransitCall, path: string, before: KvRecord | undefined, data: string): KvRecord {
  const created = now();
  const current = (before?.current ?? 0) + 1;
  const by = actorOf(call, before === undefined || before.current === 0 ? 'create' : 'update');
  const maxVersions = before?.maxVersions ?? 0;
  const afterMs = secondsOf(before?.deleteVersionAfter ?? '0s') * 1000;
  const version: KvVersion = {
    created,
    deletion: afterMs > 0 ? new Date(Date.parse(created) + afterMs).toISOString() : '',
    destroyed: false,
    data,
    createdBy: by,
    deletedBy: null,
  };
  const kept = maxVersions === 0 ? defaultMaxVersions : maxVersions;
  const all = { ...before?.versions, [String(current)]: version };
  const isFull = Object.keys(all).length > kept;
  const oldest = isFull ? current - kept + 1 : (before?.oldest ?? 0);
  const versions = isFull
    ? Object.fromEntries(Object.entries(all).filter(([number]) => Number(number) >= oldest))
    : all;
  return {
    path,
    created: before?.created ?? created,
    updated: created,
    updatedBy: by,
    current,
    oldest,
    maxVersions,
    casRequired: before?.casRequired ?? false,
    customMetadata: before?.customMetadata ?? null,
    deleteVersionAfter: before?.deleteVersionAfter ?? '0s',
    versions,
  };
}

/** Deletes the newest version; its data can come back. */
const deleteData: Handler = async (call, parameters) => {
  const path = pathOf(parameters);
  call.authorize('delete', nameOf(path));
  await call.release(102, {}, 'begun');
  await written(call, path, (before) =>
    before === undefined ? undefined : withMarked(call, before, [before.current], 'delete'),
  );
  return noContent;
};

function marking(kind: 'delete' | 'undelete' | 'destroy'): Handler {
  return async (call, parameters, body) => {
    const path = pathOf(parameters);
    call.authorize('delete', nameOf(path));
    const { versions } = body.fields();
    const numbers = Array.isArray(versions) ? versions.map(Number) : [];
    if (numbers.length === 0 || numbers.some((number) => !Number.isSafeInteger(number)))
      throw fault(400, 'no version number provided');
    await call.release(102, {}, 'begun');
    await written(call, path, (before) =>
      before === undefined ? undefined : withMarked(call, before, numbers, kind),
    );
    return noContent;
  };
}

function withMarked(
  call: TransitCall,
  before: KvRecord,
  numbers: readonly number[],
  kind: 'delete' | 'undelete' | 'destroy',
): KvRecord {
  const versions = { ...before.versions };
  for (const number of numbers) {
    const version = versions[String(number)];
    if (version === undefined || version.destroyed) continue;
    if (kind === 'delete' && isGone(version)) continue;
    versions[String(number)] =
      kind === 'delete'
        ? { ...version, deletion: now(), deletedBy: actorOf(call, 'update') }
        : kind === 'undelete'
          ? { ...version, deletion: '', deletedBy: null }
          : { ...version, destroyed: true, data: undefined };
  }
  return { ...before, versions };
}

const readMetadata: Handler = async (call, parameters) => {
  const path = pathOf(parameters);
  call.authorize('describe', nameOf(path));
  const found = await storeOf(call).read(path);
  if (found === undefined) throw notFound();
  const { record } = found;
  return ok({
    cas_required: record.casRequired,
    created_time: record.created,
    current_version: record.current,
    custom_metadata: record.customMetadata,
    delete_version_after: record.deleteVersionAfter,
    last_updated_by: shownActor(record.updatedBy),
    max_versions: record.maxVersions,
    oldest_version: record.oldest,
    updated_time: record.updated,
    versions: Object.fromEntries(
      Object.entries(record.versions).map(([number, version]) => [
        number,
        {
          created_by: shownActor(version.createdBy),
          created_time: version.created,
          deleted_by: shownActor(version.deletedBy),
          deletion_time: version.deletion,
          destroyed: version.destroyed,
        },
      ]),
    ),
  });
};

const writeMetadata: Handler = async (call, parameters, body) => {
  const fields = body.fields();
  const path = pathOf(parameters);
  call.authorize('state', nameOf(path));
  const maxVersions = numberField(fields, 'max_versions');
  const casRequired = booleanField(fields, 'cas_required');
  const after = secondsField(fields, 'delete_version_after');
  const custom = customOf(fields);
  if (maxVersions !== undefined && (maxVersions < 0 || maxVersions > maxVersionsSetting))
    throw fault(400, `max_versions is at most ${String(maxVersionsSetting)}`);
  await call.release(102, {}, 'begun');
  await written(call, path, (before) => {
    const time = now();
    const base: KvRecord = before ?? {
      path,
      created: time,
      updated: time,
      updatedBy: null,
      current: 0,
      oldest: 0,
      maxVersions: 0,
      casRequired: false,
      customMetadata: null,
      deleteVersionAfter: '0s',
      versions: {},
    };
    return {
      ...base,
      maxVersions: maxVersions ?? base.maxVersions,
      casRequired: casRequired ?? base.casRequired,
      customMetadata: custom ?? base.customMetadata,
      deleteVersionAfter: after === undefined ? base.deleteVersionAfter : durationText(after),
    };
  });
  return noContent;
};

/** @throws VaultFault */
function customOf(fields: Fields): Readonly<Record<string, string>> | undefined {
  const value = fields['custom_metadata'];
  if (value === undefined || value === null) return undefined;
  if (typeof value !== 'object' || Array.isArray(value)) throw fault(400, 'custom_metadata is no map');
  const entries = Object.keys(value).map((name) => [name, textField(value as Fields, name) ?? ''] as const);
  if (entries.length > maxCustomMetadata)
    throw fault(400, `custom_metadata has at most ${String(maxCustomMetadata)} entries`);
  return Object.fromEntries(entries);
}

/** As Go writes a duration. */
function durationText(seconds: number): string {
  const [hours, minutes, rest] = [Math.floor(seconds / 3600), Math.floor(seconds / 60) % 60, seconds % 60];
  return `${hours > 0 ? `${String(hours)}h` : ''}${hours > 0 || minutes > 0 ? `${String(minutes)}m` : ''}${String(rest)}s`;
}

function secondsOf(text: string): number {
  return secondsField({ text }, 'text') ?? 0;
}

const removeMetadata: Handler = async (call, parameters) => {
  const path = pathOf(parameters);
  call.authorize('delete', nameOf(path));
  await call.release(102, {}, 'begun');
  await storeOf(call).remove(path);
  return noContent;
};

const listMetadata: Handler = async (call, { path = '' }) => {
  call.authorize('list', undefined);
  const folder = path === '' || path.endsWith('/') ? path : `${path}/`;
  const keys = await storeOf(call).list(folder);
  if (keys.length === 0) throw notFound();
  return ok({ keys });
};

const config: Handler = (call) => {
  call.authorize('describe', undefined);
  return ok({ cas_required: false, delete_version_after: '0s', max_versions: 0 });
};

const elsewhere: Handler = () => {
  throw notFound();
};

export const kvRoutes: readonly TransitRoute[] = [
  {
    path: 'data/{path*}',
    operation: undefined,
    methods: { GET: readData, POST: writeData, DELETE: deleteData },
  },
  { path: 'delete/{path*}', operation: 'delete', methods: { POST: marking('delete') } },
  { path: 'undelete/{path*}', operation: 'delete', methods: { POST: marking('undelete') } },
  { path: 'destroy/{path*}', operation: 'delete', methods: { POST: marking('destroy') } },
  { path: 'metadata', operation: 'list', methods: { LIST: listMetadata } },
  {
    path: 'metadata/{path*}',
    operation: undefined,
    methods: { GET: readMetadata, POST: writeMetadata, DELETE: removeMetadata, LIST: listMetadata },
  },
  { path: 'config', operation: 'describe', methods: { GET: config } },
  { path: '{path*}', operation: undefined, methods: { GET: elsewhere, POST: elsewhere, DELETE: elsewhere } },
];
