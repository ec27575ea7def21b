/**
 * AppRole: a role id, which is no secret, and a secret id, which administrators make through the API. The keystore has a secret id's
 * hash alone, with its end, the logins left and the networks it may come from.
 */
import { hash } from 'node:crypto';
import { parseCidr } from '../../access/cidr.ts';
import { equalSecrets, framed, takeRandom } from '../../crypto/index.ts';
import { hasCode, SelloError } from '../../errors.ts';
import type { ApproleRole } from '../../config/model.ts';
import { recordNames, removeRecord, type RecordStore } from '../../keystores/index.ts';
import { fault, noContent, notFound, type VaultAnswer } from './answers.ts';
import { numberField, secondsField, textField } from './fields.ts';
import type { TransitCall } from './call.ts';
import { checkSource, grant, identityOfRole, isFrom, refused, uuidForm } from './logins.ts';
import type { Handler, Parameters, TransitRoute } from './routes.ts';

interface SecretId {
  readonly accessor: string;
  readonly role: string;
  /** Seconds since the epoch; 0: no end. */
  readonly expiresAt: number;
  /** 0: any number. */
  readonly usesLeft: number;
  readonly sources: readonly string[];
  readonly metadata: Readonly<Record<string, string>>;
  readonly createdAt: number;
}

const format = 1;
const folder = 'secret-ids';
const mostAttempts = 10;
const maxSources = 64;

const wrongLogin = 'invalid role or secret ID';

export function roleIdOf(call: TransitCall, name: string, role: ApproleRole): string {
  if (role.roleId !== undefined) return role.roleId;
  const parts = ['sello approle role id v1', call.tenant.name, name].map((part) => Buffer.from(part));
  return uuidForm(hash('sha256', framed(...parts), 'hex'));
}

function roleOf(call: TransitCall, { role: name = '' }: Parameters): ApproleRole {
  const roles = call.config.approle;
  if (!Object.hasOwn(roles, name)) throw notFound();
  return roles[name]!;
}

function pathOf(call: TransitCall, secretId: string): string {
  return `${folder}/${hash('sha256', `sello approle secret id v1\0${call.tenant.name}\0${secretId}`)}`;
}

const login: Handler = async (call, _parameters, body) => {
  const fields = body.fields();
  const roleId = textField(fields, 'role_id') ?? '';
  const secretId = textField(fields, 'secret_id') ?? '';
  if (roleId === '')
    throw refused(call, 'no role id', 'failed to determine alias name from login request', 500);
  const given = Buffer.from(roleId);
  const found = Object.entries(call.config.approle).find(([name, role]) => {
    const known = Buffer.from(roleIdOf(call, name, role));
    return known.length === given.length && equalSecrets(known, given);
  });
  if (found === undefined) throw refused(call, 'role id is not known', wrongLogin);
  const [name, role] = found;
  checkSource(call, role);
  if (secretId === '') throw refused(call, 'no secret id', 'missing secret_id');
  const secret = await used(call, name, secretId);
  return grant(call, {
    method: 'approle',
    mount: call.config.mounts.approle,
    role: name,
    identity: identityOfRole(call.tenant.name, 'approle', name),
    policy: role.policy,
    metadata: { ...secret.metadata, role_name: name },
    ttlMs: role.ttlMs,
    maxTtlMs: role.maxTtlMs,
  });
};

/** Takes one use of a secret id; of two logins with the last one, one wins. @throws VaultFault */
async function used(call: TransitCall, role: string, secretId: string): Promise<SecretId> {
  const records = call.records;
  const path = pathOf(call, secretId);
  for (let attempt = 0; attempt < mostAttempts; attempt++) {
    const found = await records.read(path);
    const secret = found === undefined ? undefined : parseSecretId(found.value);
    if (secret?.role !== role || found === undefined)
      throw refused(call, 'secret id is not known', wrongLogin);
    if (secret.expiresAt !== 0 && secret.expiresAt * 1000 <= Date.now()) {
      await removeRecord(records, path);
      throw refused(call, 'secret id has expired', wrongLogin);
    }
    if (!isFrom(call, secret.sources))
      throw refused(call, 'secret id from a network it does not name', wrongLogin);
    if (secret.usesLeft === 0) return secret;
    try {
      if (secret.usesLeft === 1) await records.delete(path, found.revision);
      else
        await records.write(
          path,
          formatSecretId({ ...secret, usesLeft: secret.usesLeft - 1 }),
          found.revision,
        );
      return secret;
    } catch (error) {
      if (!hasCode(error, 'SELLO_RECORD_CONFLICT')) throw error;
    }
  }
  throw new SelloError('SELLO_STORE_FAILED', { detail: 'too many logins with one secret id at once' });
}

const readRoleId: Handler = (call, parameters) => {
  call.authorize('admin', undefined);
  const role = roleOf(call, parameters);
  return ok({ role_id: roleIdOf(call, parameters['role']!, role) });
};

const makeSecretId: Handler = async (call, parameters, body) => {
  call.authorize('admin', undefined);
  const role = roleOf(call, parameters);
  const fields = body.fields();
  const ttl = secondsField(fields, 'ttl') ?? Math.ceil(role.secretIdTtlMs / 1000);
  const uses = numberField(fields, 'num_uses') ?? role.secretIdUses;
  if (ttl < 0 || uses < 0) throw fault(400, 'ttl and num_uses cannot be negative');
  const most = Math.ceil(role.secretIdTtlMs / 1000);
  if (most !== 0 && (ttl === 0 || ttl > most)) throw fault(400, 'ttl cannot be longer than that of the role');
  if (role.secretIdUses !== 0 && (uses === 0 || uses > role.secretIdUses))
    throw fault(400, 'num_uses cannot be more than that of the role');
  const sources = sourcesOf(fields['cidr_list']);
  const secretId = uuidForm(takeRandom(16).toString('hex'));
  const accessor = takeRandom(16).toString('hex');
  const now = Math.floor(Date.now() / 1000);
  const secret: SecretId = {
    accessor,
    role: parameters['role']!,
    expiresAt: ttl === 0 ? 0 : now + ttl,
    usesLeft: uses,
    sources,
    metadata: {},
    createdAt: now,
  };
  await call.release(102, {}, 'begun');
  await call.records.write(pathOf(call, secretId), formatSecretId(secret), 0);
  return ok({
    secret_id: secretId,
    secret_id_accessor: accessor,
    secret_id_num_uses: uses,
    secret_id_ttl: ttl,
  });
};

/** @throws VaultFault */
function sourcesOf(value: unknown): string[] {
  if (value === undefined || value === null || value === '') return [];
  const sources = typeof value === 'string' ? value.split(',').map((each) => each.trim()) : value;
  if (!Array.isArray(sources) || sources.length > maxSources)
    throw fault(400, 'cidr_list is no list of networks');
  return sources.map((source: unknown) => {
    if (typeof source !== 'string' || parseCidr(source) === undefined)
      throw fault(400, 'cidr_list is no list of networks');
    return source;
  });
}

/** Ends a secret id, by itself or by its accessor. */
const destroySecretId: Handler = async (call, parameters, body) => {
  call.authorize('admin', undefined);
  roleOf(call, parameters);
  const fields = body.fields();
  const secretId = textField(fields, 'secret_id') ?? '';
  const accessor = textField(fields, 'secret_id_accessor') ?? '';
  await call.release(102, {}, 'begun');
  if (secretId !== '') await removeRecord(call.records, pathOf(call, secretId));
  else if (accessor !== '') await removeByAccessor(call.records, accessor);
  else throw fault(400, 'missing secret_id or secret_id_accessor');
  return noContent;
};

async function removeByAccessor(records: RecordStore, accessor: string): Promise<void> {
  for await (const name of recordNames(records, folder)) {
    const path = `${folder}/${name}`;
    const found = await records.read(path);
    if (found === undefined || parseSecretId(found.value).accessor !== accessor) continue;
    await removeRecord(records, path);
    return;
  }
  throw fault(404, 'secret id is not there');
}

function ok(data: unknown): VaultAnswer {
  return { status: 200, data, mountType: 'approle' };
}

function formatSecretId(secret: SecretId): Buffer {
  return Buffer.from(JSON.stringify({ format, ...secret }));
}

function parseSecretId(value: Buffer): SecretId {
  let parsed: Partial<SecretId & { format: number }> | null;
  try {
    parsed = JSON.parse(value.toString()) as Partial<SecretId & { format: number }> | null;
  } catch {
    parsed = null;
  }
  if (
    parsed?.format !== format ||
    typeof parsed.role !== 'string' ||
    !Number.isSafeInteger(parsed.expiresAt) ||
    !Number.isSafeInteger(parsed.usesLeft) ||
    !Array.isArray(parsed.sources)
  )
    throw new SelloError('SELLO_STORED_KEY_UNREADABLE', { detail: 'secret id record' });
  return parsed as SecretId;
}

export const approleRoutes: readonly TransitRoute[] = [
  { path: 'login', operation: 'status', methods: { POST: login }, isOpen: true },
  { path: 'role/{role}/role-id', operation: 'admin', methods: { GET: readRoleId } },
  { path: 'role/{role}/secret-id', operation: 'admin', methods: { POST: makeSecretId } },
  { path: 'role/{role}/secret-id/destroy', operation: 'admin', methods: { POST: destroySecretId } },
  { path: 'role/{role}/secret-id-accessor/destroy', operation: 'admin', methods: { POST: destroySecretId } },
];
