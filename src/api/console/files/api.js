/** Calls of the operators' API, with the session's proof that this page made them. */

const prefix = '/v1/operators';

let csrf = '';

/** What went wrong, in words for a person, with what a colleague needs to find it in the log. */
export class ApiError extends Error {
  /**
   * @param {number} status
   * @param {{ code?: string, message?: string, error?: string, requestId?: string }} body
   */
  constructor(status, body) {
    super(body.message ?? body.error ?? `the server answered ${String(status)}`);
    this.name = 'ApiError';
    this.status = status;
    this.code = body.code;
    this.requestId = body.requestId;
  }
}

/** Sent when there is no session any more. */
export const signedOut = 'sello-signed-out';

/**
 * @param {'GET' | 'POST'} method
 * @param {string} path below `/v1/operators/`
 * @param {{ body?: object, headers?: Record<string, string>, signal?: AbortSignal }} [options]
 * @returns {Promise<Response>}
 */
async function send(method, path, { body, headers = {}, signal } = {}) {
  let response;
  try {
    response = await fetch(`${prefix}/${path}`, {
      method,
      credentials: 'same-origin',
      redirect: 'error',
      cache: 'no-store',
      headers: {
        ...(body === undefined ? {} : { 'content-type': 'application/json' }),
        ...(method === 'POST' ? { 'x-sello-csrf': csrf } : {}),
        ...headers,
      },
      ...(body === undefined ? {} : { body: JSON.stringify(body) }),
      ...(signal === undefined ? {} : { signal }),
    });
  } catch (error) {
    if (signal?.aborted === true) throw error;
    throw new ApiError(0, { message: 'the server cannot be reached' });
  }
  if (response.ok) return response;
  const said = await response.json().catch(() => ({}));
  if (response.status === 401 && path !== 'login') dispatchEvent(new Event(signedOut));
  throw new ApiError(response.status, said);
}

/**
 * @param {string} path
 * @param {AbortSignal} [signal]
 * @returns {Promise<any>}
 */
export async function get(path, signal) {
  return (await send('GET', path, signal === undefined ? {} : { signal })).json();
}

/**
 * @param {string} path
 * @param {object} [body]
 * @param {Record<string, string>} [headers]
 * @returns {Promise<any>}
 */
export async function post(path, body, headers = {}) {
  const response = await send('POST', path, { ...(body === undefined ? {} : { body }), headers });
  return response.status === 204 ? undefined : response.json();
}

/**
 * JSON lines as they come.
 * @param {string} path
 * @param {AbortSignal} signal
 * @returns {AsyncGenerator<any>}
 */
export async function* lines(path, signal) {
  const response = await send('GET', path, { signal });
  const reader = /** @type {ReadableStream<Uint8Array>} */ (response.body)
    .pipeThrough(/** @type {any} */ (new TextDecoderStream()))
    .getReader();
  let rest = '';
  for (;;) {
    const { value, done } = await reader.read();
    if (done) return;
    const pieces = (rest + String(value)).split('\n');
    rest = pieces.pop() ?? '';
    for (const piece of pieces) if (piece !== '') yield JSON.parse(piece);
  }
}

/** Below a tenant. @param {string} tenant @param {string} [path] */
export function ofTenant(tenant, path = '') {
  return `tenants/${encodeURIComponent(tenant)}${path === '' ? '' : `/${path}`}`;
}

/** An address for a link. @param {string} path */
export function addressOf(path) {
  return `${prefix}/${path}`;
}

/**
 * Who is in front of the screen; undefined when nobody is known.
 * @returns {Promise<{ person?: any, ways: { name: string, kind: string }[] }>}
 */
export async function start() {
  const { ways, isKnown } = await get('ways');
  if (!isKnown) return { ways };
  const person = await get('whoami').catch((error) => {
    if (error.status === 401) return undefined;
    throw error;
  });
  csrf = person?.csrf ?? '';
  return { person, ways };
}

/** @param {{ directory: string, name: string, password: string }} login */
export async function signIn(login) {
  const person = await post('login', login);
  csrf = person.csrf;
  return person;
}

export async function signOut() {
  await post('logout');
  csrf = '';
}
