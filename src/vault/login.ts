/** The ways to a token: what is sent where for each, and where the secrets for it come from. */
import { hash } from 'node:crypto';
import type { Environment } from '../config/environment.ts';
import type { AnySecret, VaultLoginConfig } from '../config/model.ts';
import { readSecret } from '../config/secret.ts';
import { secretCopy, wipe } from '../crypto/index.ts';
import { hasCode } from '../errors.ts';
import type { VaultAnswer } from './answer.ts';
import { VaultError } from './errors.ts';
import { pathOf, type VaultPath } from './path.ts';
import { secretJson, secretStringAt } from './secret-json.ts';
import type { Grant, TokenSource } from './token.ts';

/** One call on behalf of a login: without the held token, never tried again with another. */
export interface LoginCall {
  readonly method: 'GET' | 'POST';
  readonly path: VaultPath;
  readonly body: Buffer | undefined;
  readonly namespace: string;
  readonly token: string | undefined;
  readonly action: string;
}

export interface LoginContext {
  readonly send: (call: LoginCall) => Promise<VaultAnswer>;
  readonly env: Environment;
  /** Changes when the client certificate does. */
  readonly certificate: () => string;
}

type TokenLogin = Exclude<VaultLoginConfig, { method: 'none' }>;

export function tokenSource(config: TokenLogin, context: LoginContext): TokenSource {
  return new Login(config, context);
}

class Login implements TokenSource {
  readonly #config: TokenLogin;
  readonly #context: LoginContext;
  /** The client certificate of the last login: a token got with it can be renewed with it alone. */
  #certificate = '';
  /** A secret_id that was unwrapped, and from which wrapping token. */
  #unwrapped: { readonly from: string; readonly secretId: Buffer } | undefined;

  constructor(config: TokenLogin, context: LoginContext) {
    this.#config = config;
    this.#context = context;
  }

  readonly isOutdated = (): boolean =>
    this.#config.method === 'cert' && this.#certificate !== this.#context.certificate();

  async login(): Promise<Grant> {
    const config = this.#config;
    this.#certificate = this.#context.certificate();
    switch (config.method) {
      case 'token': {
        const token = this.#text(config.token);
        return { ...(await this.lookup(token)), token };
      }
      case 'approle': {
        const roleId = readSecret(config.roleId, this.#context.env);
        const secretId = await this.#secretId(config);
        const body = secretJson(
          '{"role_id":',
          { secret: roleId },
          ',"secret_id":',
          { secret: secretId },
          '}',
        );
        wipe(roleId, secretId);
        return this.#logIn(config, body);
      }
      case 'kubernetes':
      case 'jwt': {
        const jwt = readSecret(config.jwt, this.#context.env);
        const body = secretJson(`{"role":${JSON.stringify(config.role)},"jwt":`, { secret: jwt }, '}');
        wipe(jwt);
        return this.#logIn(config, body);
      }
      case 'cert':
        return this.#logIn(
          config,
          Buffer.from(JSON.stringify(config.role === undefined ? {} : { name: config.role })),
        );
    }
  }

  async renew(token: string): Promise<Grant> {
    return this.#granted(
      await this.#context.send({
        method: 'POST',
        path: pathOf('auth/token/renew-self'),
        body: Buffer.from('{}'),
        namespace: this.#config.namespace,
        token,
        action: 'renew the token',
      }),
      'renew the token',
    );
  }

  async lookup(token: string): Promise<Grant> {
    const action = 'look the token up';
    const answer = await this.#context.send({
      method: 'GET',
      path: pathOf('auth/token/lookup-self'),
      body: undefined,
      namespace: this.#config.namespace,
      token,
      action,
    });
    const { data } = answer.json(action) as { data?: { ttl?: unknown; renewable?: unknown } };
    answer.wipe();
    if (typeof data?.ttl !== 'number') throw new VaultError({ problem: 'malformed', action });
    return { token, ttlMs: data.ttl * 1000, renewable: data.renewable === true };
  }

  async #logIn(config: Exclude<TokenLogin, { method: 'token' }>, body: Buffer): Promise<Grant> {
    const action = `log in at auth/${config.mount}`;
    try {
      const answer = await this.#context.send({
        method: 'POST',
        path: pathOf('auth', config.mount, 'login'),
        body,
        namespace: config.namespace,
        token: undefined,
        action,
      });
      return this.#granted(answer, action);
    } finally {
      wipe(body);
    }
  }

  #granted(answer: VaultAnswer, action: string): Grant {
    const { auth } = answer.json(action) as {
      auth?: { client_token?: unknown; lease_duration?: unknown; renewable?: unknown };
    };
    answer.wipe();
    if (
      typeof auth?.client_token !== 'string' ||
      auth.client_token === '' ||
      typeof auth.lease_duration !== 'number'
    ) {
      throw new VaultError({ problem: 'malformed', action });
    }
    return {
      token: auth.client_token,
      ttlMs: auth.lease_duration * 1000,
      renewable: auth.renewable === true,
    };
  }

  /** A text for a header: it has to be a string there. */
  #text(source: AnySecret): string {
    const bytes = readSecret(source, this.#context.env);
    const text = bytes.toString('latin1').trim();
    wipe(bytes);
    // RFC 9110 5.5: nothing else may stand in a header; a file with something else in it holds no token.
    if (!/^[\x21-\x7e]{1,4096}$/.test(text)) {
      throw new VaultError({ problem: 'no-login', action: 'read the token', messages: ['it is no token'] });
    }
    return text;
  }

  async #secretId(config: Extract<TokenLogin, { method: 'approle' }>): Promise<Buffer> {
    if (config.wrappedFor === undefined) return readSecret(config.secretId, this.#context.env);
    let wrapping: string;
    try {
      wrapping = this.#text(config.secretId);
    } catch (error) {
      // The file may go once it was used.
      if (this.#unwrapped !== undefined && hasCode(error, 'SELLO_CONFIG_INVALID'))
        return secretCopy(this.#unwrapped.secretId);
      throw error;
    }
    const from = hash('sha256', wrapping);
    if (this.#unwrapped?.from !== from) {
      const secretId = await this.#unwrap(wrapping, config.mount, config.wrappedFor, config.namespace);
      wipe(this.#unwrapped?.secretId);
      this.#unwrapped = { from, secretId };
    }
    return secretCopy(this.#unwrapped.secretId);
  }

  /**
   * Opens a response-wrapped secret_id, once. That it was made where we expect shows that nobody put another wrapped secret in its
   * place; that it opens shows that nobody opened it before us.
   */
  async #unwrap(wrapping: string, mount: string, role: string, namespace: string): Promise<Buffer> {
    const action = 'unwrap the secret_id';
    const refuse = (what: string): VaultError =>
      new VaultError({
        problem: 'no-login',
        action,
        messages: [`SECURITY: ${what}; make a new secret_id and find out who has this one`],
      });
    const body = secretJson('{"token":', { secret: Buffer.from(wrapping) }, '}');
    let looked: VaultAnswer;
    try {
      looked = await this.#context.send({
        method: 'POST',
        path: pathOf('sys/wrapping/lookup'),
        body,
        namespace,
        token: undefined,
        action,
      });
    } catch (error) {
      if (error instanceof VaultError && (error.problem === 'refused' || error.problem === 'forbidden')) {
        throw refuse('the wrapping token was used already, or has expired');
      }
      throw error;
    } finally {
      wipe(body);
    }
    const { data } = looked.json(action) as { data?: { creation_path?: unknown } };
    const expected = `auth/${mount}/role/${role}/secret-id`;
    // Vault names the path below the namespace it was asked in.
    if (data?.creation_path !== expected) {
      throw refuse(`the wrapping token was not made at '${expected}'`);
    }
    const answer = await this.#context.send({
      method: 'POST',
      path: pathOf('sys/wrapping/unwrap'),
      body: undefined,
      namespace,
      token: wrapping,
      action,
    });
    const secretId = secretStringAt(answer.bytes, ['data', 'secret_id']);
    answer.wipe();
    if (secretId === undefined) throw new VaultError({ problem: 'malformed', action });
    return secretId;
  }
}
