/** What the key routes do, once a caller is authorised: parse, call keys/, build the answer. */
import { SelloError } from '../../errors.ts';
import { isName, parseKeyName, type KeyName } from '../../keys/names.ts';
import { versionOfCiphertext } from '../../keys/index.ts';
import {
  ciphertextAnswer,
  dataKeyAnswer,
  empty,
  failure,
  hmacAnswer,
  jsonAnswer,
  plaintextAnswer,
  plaintextsAnswer,
  type Answer,
} from './answers.ts';
import { importOf } from './import-body.ts';
import { goString, parseObject, parseObjects } from './json.ts';
import { continueToken, listingProblem, pageLength, parseListing } from './listing.ts';
import { keyLines, parseOldListing } from './old-listing.ts';
import type { Handler, KesCall } from './plugin.ts';

const invalidBody = failure(400, 'invalid request body');
const invalidImport = failure(400, 'invalid import key request body');
const tooMany = failure(400, 'too many ciphertexts');

/** KES: items of one bulk request. */
const maxBulk = 1000;

const none = Buffer.alloc(0);

export function keyNameProblem(name: string): Answer | undefined {
  if (isName(name)) return undefined;
  return failure(
    400,
    `key name '${name}' is empty, too long or contains invalid characters`,
    'SELLO_KEY_NAME_INVALID',
  );
}

type NamedHandler = (call: KesCall, name: KeyName) => Answer | Promise<Answer>;

function withName(handler: NamedHandler): Handler {
  return (call) => keyNameProblem(call.name) ?? handler(call, parseKeyName(call.name));
}

/** Runs at once when the key is at hand, after the load otherwise: the hot path creates no promise. */
function then<T>(value: T | Promise<T>, next: (value: T) => Answer): Answer | Promise<Answer> {
  return value instanceof Promise ? value.then(next) : next(value);
}

const create: NamedHandler = (call, name) =>
  call.tenant.keys.create(name, call.identity ?? '').then(() => empty);

const importKey: NamedHandler = (call, name) => {
  let request;
  try {
    request = importOf(call.body.bytes);
  } catch (error) {
    if (!(error instanceof SelloError)) throw error;
    const { code, detail = '' } = error;
    return code === 'SELLO_KEY_ALGORITHM_UNSUPPORTED'
      ? failure(406, `algorithm '${detail}' is not supported`, code)
      : failure(406, `invalid key size for '${detail}'`, code);
  }
  if (request === undefined) return closing(call, invalidImport);
  const { material, algorithm } = request;
  return call.tenant.keys
    .importKey(name, material, algorithm, call.identity ?? '')
    .then(() => empty)
    .finally(() => {
      material.fill(0);
      call.body.bytes.fill(0);
    });
};

const describe: NamedHandler = (call, name) =>
  then(call.tenant.keys.describe(name), (key) => {
    const by = key.createdBy === '' ? '' : `,"created_by":${goString(key.createdBy)}`;
    return jsonAnswer(
      `{"name":"${name}","algorithm":"${key.algorithm}","created_at":"${key.createdAt}"${by}}`,
    );
  });

const remove: NamedHandler = (call, name) => {
  // KES ends a key at once, by one caller's word.
  if (call.tenant.config.lifecycle.dualControl) throw new SelloError('SELLO_APPROVAL_REQUIRED');
  return call.tenant.keys.delete(name, call.identity).then(() => empty);
};

const generate: NamedHandler = (call, name) => {
  const { bytes, declared } = call.body;
  const request =
    bytes.length === 0 && !declared ? {} : parseObject(bytes, { context: 'bytes', version: 'text' });
  if (request === undefined) return closing(call, invalidBody);
  call.context = request.context;
  return then(call.tenant.keys.issue(name, request.context ?? none), ({ plaintext, ciphertext, version }) => {
    call.keyVersion = version;
    return closing(call, dataKeyAnswer(plaintext, ciphertext));
  });
};

const encrypt: NamedHandler = (call, name) => {
  const request = parseObject(call.body.bytes, { plaintext: 'secret', context: 'bytes', version: 'text' });
  if (request === undefined) return closing(call, invalidBody);
  call.context = request.context;
  const plaintext = request.plaintext ?? none;
  return then(call.tenant.keys.encrypt(name, plaintext, request.context ?? none), (ciphertext) => {
    call.keyVersion = versionOfCiphertext(ciphertext);
    plaintext.fill(0);
    call.body.bytes.fill(0);
    return closing(call, ciphertextAnswer(ciphertext));
  });
};

const decrypt: NamedHandler = (call, name) => {
  const request = parseObject(call.body.bytes, { ciphertext: 'bytes', context: 'bytes', version: 'text' });
  if (request === undefined) return closing(call, invalidBody);
  call.context = request.context;
  const ciphertext = request.ciphertext ?? none;
  return then(call.tenant.keys.unwrap(name, ciphertext, request.context ?? none), (plaintext) => {
    call.keyVersion = versionOfCiphertext(ciphertext);
    return closing(call, plaintextAnswer(plaintext));
  });
};

/** KES until 2023-10: all or nothing, at most 1,000. */
const bulkDecrypt: NamedHandler = (call, name) => {
  const items = parseObjects(call.body.bytes, { ciphertext: 'bytes', context: 'bytes' }, maxBulk);
  if (items === undefined) return closing(call, invalidBody);
  if (items === 'too many') return closing(call, tooMany);
  const { keys } = call.tenant;
  return then(
    keys.unwrapAll(
      name,
      items.map((item) => [item.ciphertext ?? none, item.context ?? none] as const),
    ),
    (opened) => closing(call, plaintextsAnswer(opened)),
  );
};

const hmac: NamedHandler = (call, name) => {
  const request = parseObject(call.body.bytes, { message: 'secret', version: 'text' });
  if (request === undefined) return closing(call, invalidBody);
  return then(call.tenant.keys.mac(name, request.message ?? none), (digest) =>
    closing(call, hmacAnswer(digest)),
  );
};

const list: Handler = (call) => {
  if (call.tenant.config.kes.lists === 'ndjson') {
    const old = parseOldListing(call.name);
    return old === undefined
      ? listingProblem(call.name)
      : keyLines(old, (options) => call.tenant.keys.list(options));
  }
  const listing = parseListing(call.name);
  if (listing === undefined) return listingProblem(call.name);
  return call.tenant.keys.list({ ...listing, limit: pageLength }).then((page) => {
    const names = page.names.map((name) => `"${name}"`).join(',');
    const last = page.names.at(-1);
    const next =
      page.more && last !== undefined ? `,"continue_at":"${continueToken({ ...listing, after: last })}"` : '';
    return jsonAnswer(`{"names":[${names}]${next}}`);
  });
};

/** After an oversize body the connection cannot be used again: KES closes it, whatever the answer. */
function closing(call: KesCall, answer: Answer): Answer {
  return call.body.oversize ? { ...answer, close: true } : answer;
}

export const keyHandlers: Record<string, Handler> = {
  'key-create': withName(create),
  'key-import': withName(importKey),
  'key-describe': withName(describe),
  'key-delete': withName(remove),
  'key-generate': withName(generate),
  'key-encrypt': withName(encrypt),
  'key-decrypt': withName(decrypt),
  'key-bulk-decrypt': withName(bulkDecrypt),
  'key-hmac': withName(hmac),
  'key-list': list,
};
