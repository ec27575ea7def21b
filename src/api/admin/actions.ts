/** What the routes do, once the caller is authorised: check the body, call keys/, show the outcome. */
import { decodeBase64, wipe } from '../../crypto/index.ts';
import { SelloError } from '../../errors.ts';
import {
  parseKeyName,
  sealingVersion,
  type Hold,
  type KeyChange,
  type KeyName,
  type KeyringRecord,
  type RewrapItem,
} from '../../keys/index.ts';
import type { Tenant } from '../../tenants/tenant.ts';
import { importOf } from '../kes/import-body.ts';
import { AdminError, json, type Answer } from './answers.ts';
import type { AdminRouteName, AdminTarget } from './routes.ts';
import { checkBody, emptyBody, rewrapBody, settingsBody, tokenBody, waitBody } from './schemas.ts';

export interface AdminCall {
  readonly tenant: Tenant;
  readonly target: AdminTarget;
  readonly body: Buffer;
  /** Who asks: an identity, or a person. */
  readonly by: string;
}

export type Action = (call: AdminCall) => Promise<Answer>;

/** Everything but the document, which belongs to the plugin. */
export const actions: Readonly<Record<Exclude<AdminRouteName, 'document'>, Action>> = {
  keyring: async ({ tenant, target }) =>
    json(keyringView(target.key, await tenant.keys.keyring(nameOf(target)))),
  use: async ({ tenant, target }) => {
    const use = await tenant.keys.use(nameOf(target));
    const versions = [...use]
      .sort(([a], [b]) => a - b)
      .map(([version, { sealedAt, openedAt, opened }]) => ({
        version,
        lastSealed: dateOf(sealedAt),
        lastOpened: dateOf(openedAt),
        opened,
      }));
    return json({ key: target.key, versions });
  },
  create: async (call) => {
    checkBody(emptyBody, call.body);
    const { tenant, target, by } = call;
    await tenant.keys.create(nameOf(target), by);
    return shown(call, await tenant.keys.keyring(nameOf(target)));
  },
  import: async (call) => {
    const { tenant, target, body, by } = call;
    let material: Buffer | undefined;
    try {
      const request = importOf(body);
      if (request === undefined)
        throw new AdminError(400, 'the body does not have the form that this request takes');
      ({ material } = request);
      await tenant.keys.importKey(nameOf(target), material, request.algorithm, by);
    } finally {
      wipe(body);
      if (material !== undefined) wipe(material);
    }
    return shown(call, await tenant.keys.keyring(nameOf(target)));
  },
  delete: (call) => ended(call, (name) => call.tenant.keys.delete(name, call.by)),
  rotate: async (call) => {
    checkBody(emptyBody, call.body);
    return shown(call, await call.tenant.keys.rotate(nameOf(call.target), call.by));
  },
  holds: async ({ tenant, target }) =>
    json({
      key: target.key,
      holds: tenant.keys.restraints.of(nameOf(target)).map((hold) => ({
        ...holdView(hold),
        isOurs: tenant.keys.restraints.isOurs(hold),
      })),
    }),
  enable: (call) => takenBack(call, { kind: 'enable' }),
  disable: (call) => changed(call, { kind: 'disable' }),
  'enable-version': (call) =>
    takenBack(call, { kind: 'set-version', version: call.target.version, state: 'enabled' }),
  'disable-version': (call) =>
    changed(call, { kind: 'set-version', version: call.target.version, state: 'disabled' }),
  'compromise-version': (call) =>
    changed(call, { kind: 'set-version', version: call.target.version, state: 'compromised' }),
  'cancel-deletion': (call) => takenBack(call, { kind: 'cancel-deletion' }),
  'cancel-destruction': (call) => changed(call, { kind: 'cancel-destruction', version: call.target.version }),
  'schedule-deletion': (call) => applied(call, { kind: 'schedule-deletion', wait: waitOf(call) }),
  'schedule-destruction': (call) =>
    applied(call, { kind: 'schedule-destruction', version: call.target.version, wait: waitOf(call) }),
  settings: async (call) => {
    const settings = checkBody(settingsBody, call.body);
    const changes: KeyChange[] = [];
    if (settings.minDecryptionVersion !== undefined)
      changes.push({ kind: 'set-min-decryption-version', version: settings.minDecryptionVersion });
    if (settings.rewrapOnly !== undefined) changes.push({ kind: 'set-rewrap-only', on: settings.rewrapOnly });
    if (settings.crossFace !== undefined) changes.push({ kind: 'set-cross-face', on: settings.crossFace });
    if (settings.rotateEverySeconds !== undefined)
      changes.push({ kind: 'set-rotation', every: settings.rotateEverySeconds });
    return shown(call, await call.tenant.keys.changeAll(nameOf(call.target), changes, call.by));
  },
  'destroy-version': async (call) => {
    checkBody(emptyBody, call.body);
    const { tenant, target, by } = call;
    const quietSeconds = Math.ceil(tenant.config.lifecycle.quietMs / 1000);
    const before = await tenant.keys.keyring(nameOf(target));
    const record = await tenant.keys.destroyVersion(nameOf(target), target.version, by, quietSeconds);
    return json({
      receipt: receiptOf(tenant, target.key, before, [target.version], by),
      ...keyringView(target.key, record),
    });
  },
  destroy: (call) => ended(call, (name) => call.tenant.keys.completeDeletion(name, call.by)),
  rewrap: async ({ tenant, target, body }) => {
    const { items } = checkBody(rewrapBody, body);
    const parsed = items.map(({ ciphertext, context, face }): RewrapItem => ({
      ciphertext: bytesOf(ciphertext),
      context: bytesOf(context ?? ''),
      face: face as RewrapItem['face'],
    }));
    const outcomes = await tenant.keys.rewrap(nameOf(target), parsed);
    return json({
      items: outcomes.map((outcome) =>
        'error' in outcome
          ? { error: outcome.error.code, message: outcome.error.message }
          : {
              ciphertext: outcome.ciphertext.toString('base64'),
              from: outcome.from,
              version: outcome.version,
            },
      ),
    });
  },
  'accept-restore': async ({ tenant, body, by }) => {
    checkBody(emptyBody, body);
    await tenant.keys.acceptRestore(by);
    return json({ accepted: true });
  },
};

/** The end of a whole key, with the receipt of what is gone. */
async function ended(
  { tenant, target, body, by }: AdminCall,
  end: (name: KeyName) => Promise<void>,
): Promise<Answer> {
  checkBody(emptyBody, body);
  const name = nameOf(target);
  const before = await tenant.keys.keyring(name);
  await end(name);
  const versions = before.versions.map(({ version }) => version);
  return json({ receipt: receiptOf(tenant, target.key, before, versions, by) });
}

function changed(call: AdminCall, change: KeyChange): Promise<Answer> {
  checkBody(emptyBody, call.body);
  return applied(call, change);
}

/** The opposite of what may have been held: the token of a hold that another replica was asked for takes that one back too. */
function takenBack(call: AdminCall, change: KeyChange): Promise<Answer> {
  return applied(call, change, checkBody(tokenBody, call.body).token);
}

async function applied(call: AdminCall, change: KeyChange, token?: string): Promise<Answer> {
  const { keys } = call.tenant;
  const outcome = await keys.changeOrHold(nameOf(call.target), change, call.by, token);
  if ('record' in outcome) return shown(call, outcome.record);
  const { key } = call.target;
  if ('withdrawn' in outcome)
    return json({ key, withdrawn: outcome.withdrawn.map(holdView), peers: await keys.spread() }, 202);
  return json(
    {
      key,
      held: {
        ...holdView(outcome.hold),
        token: outcome.token,
        keptOn: outcome.isOnDisk ? 'disk' : 'memory',
        isKeyKnown: outcome.isKnown,
      },
      peers: await keys.spread(),
    },
    202,
  );
}

/** A hold as people and programs see it. */
function holdView({ at, by, change, id }: Hold): Record<string, unknown> {
  return {
    id,
    change: change.kind === 'set-version' ? `${change.state}-version` : change.kind,
    version: change.kind === 'set-version' ? change.version : null,
    at: dateOf(at),
    by,
  };
}

function shown({ target }: AdminCall, record: KeyringRecord): Answer {
  return json(keyringView(target.key, record));
}

/** @throws SelloError SELLO_KEY_CHANGE_REFUSED for less than the tenant's waiting period */
function waitOf({ tenant, body }: AdminCall): number {
  const least = Math.ceil(tenant.config.lifecycle.deletionWaitMs / 1000);
  const { waitSeconds = least } = checkBody(waitBody, body);
  if (waitSeconds < least)
    throw new SelloError('SELLO_KEY_CHANGE_REFUSED', {
      detail: `this tenant waits at least ${String(least)} s`,
    });
  return waitSeconds;
}

function nameOf({ key }: AdminTarget): ReturnType<typeof parseKeyName> {
  return parseKeyName(key);
}

function bytesOf(text: string): Buffer {
  const bytes = decodeBase64(Buffer.from(text, 'latin1'));
  if (bytes === undefined) throw new AdminError(400, 'an item is not base64');
  return bytes;
}

/** A keyring as people and programs see it: no place of any bytes, dates in RFC 3339. */
export function keyringView(
  key: string,
  record: KeyringRecord & { readonly isImplicit?: boolean },
): Record<string, unknown> {
  const { deletion, versions } = record;
  return {
    key,
    id: record.isImplicit === true ? null : record.id,
    state: record.state,
    generation: record.isImplicit === true ? 0 : record.generation,
    sealingVersion: sealingVersion(record)?.version ?? null,
    minDecryptionVersion: record.minDecryptionVersion,
    rewrapOnly: record.rewrapOnly,
    crossFace: record.crossFace,
    rotateEverySeconds: record.rotateEvery,
    nextRotation: dateOf(record.rotateAt),
    changedAt: dateOf(record.changedAt),
    changedBy: record.changedBy,
    deletion:
      deletion === undefined
        ? null
        : { requestedAt: dateOf(deletion.requestedAt), after: dateOf(deletion.after), by: deletion.by },
    versions: versions.map(({ version, state, algorithm, createdAt, changedAt, destroyAfter, custody }) => ({
      version,
      state,
      algorithm,
      custody,
      createdAt: dateOf(createdAt),
      changedAt: dateOf(changedAt),
      destroyAfter: dateOf(destroyAfter ?? 0),
    })),
  };
}

/** What is proof to an auditor that bytes are gone: which they were, by their fingerprints, and who ended them. */
function receiptOf(
  tenant: Tenant,
  key: string,
  { id, versions, isImplicit }: KeyringRecord & { readonly isImplicit?: boolean },
  destroyed: readonly number[],
  by: string,
): Record<string, unknown> {
  return {
    tenant: tenant.name,
    key,
    id: isImplicit === true ? null : id,
    destroyedAt: new Date().toISOString(),
    destroyedBy: by,
    versions: versions
      .filter(({ version }) => destroyed.includes(version))
      .map(({ version, fingerprint = null, createdAt }) => ({
        version,
        fingerprint,
        createdAt: dateOf(createdAt),
      })),
  };
}

function dateOf(seconds: number): string | null {
  return seconds === 0 ? null : new Date(seconds * 1000).toISOString();
}
