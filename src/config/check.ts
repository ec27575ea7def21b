/**
 * What the text of a configuration cannot tell: whether its files are there, can be parsed, fit together and are
 * in date. `sello config check` prints these notices next to the file's own warnings.
 */
import { createPrivateKey } from 'node:crypto';
import type { KeyObject, X509Certificate } from 'node:crypto';
import { constants } from 'node:fs';
import { access, readFile, stat } from 'node:fs/promises';
import { dirname } from 'node:path';
import { SelloError } from '../errors.ts';
import { authorityFiles, parseCertificates } from './authorities.ts';
import { crlDates } from './crl-dates.ts';
import type { Environment } from './environment.ts';
import type {
  AuditConfig,
  Config,
  ConfigNotice,
  ListenerConfig,
  OperatorsConfig,
  PeersConfig,
  AnySecret,
  TenantConfig,
  VaultConfig,
} from './model.ts';
import { describeSecret, readSecret, secretFile } from './secret.ts';

export interface CheckOptions {
  readonly nowMs?: number;
  readonly env?: Environment;
}

/** A certificate with less life than this is worth a word. */
const expiresSoonMs = 30 * 24 * 3_600_000;

/** Of a short life only the last third is soon: that is when certificate tools renew. */
const soonPartOfLife = 1 / 3;

/** Notices with `failsCheck` are faults that keep the server from starting or from doing what the file says. */
export async function checkConfig(config: Config, options: CheckOptions = {}): Promise<ConfigNotice[]> {
  const check = new Check(options.nowMs ?? Date.now(), options.env ?? process.env);
  for (const listener of config.listeners) await check.listener(listener);
  for (const tenant of config.tenants) await check.tenant(tenant);
  if (config.operators !== undefined) await check.operators(config.operators);
  if (config.peers !== undefined) await check.peers(config.peers);
  await check.audit('the server', config.serverAudit);
  return check.notices;
}

class Check {
  readonly notices: ConfigNotice[] = [];
  readonly #nowMs: number;
  readonly #env: Environment;

  constructor(nowMs: number, env: Environment) {
    this.#nowMs = nowMs;
    this.#env = env;
  }

  async listener({ host, port, tls, serverNames }: ListenerConfig): Promise<void> {
    const chain = await this.#certificates(`listener ${host}:${port}: certificate`, tls.certFile);
    const key = await this.#privateKey(tls.keyFile, tls.keyPassword);
    const leaf = chain[0];
    if (leaf === undefined) return;
    const certificate = `certificate '${tls.certFile}'`;
    if (key !== undefined && !leaf.checkPrivateKey(key)) {
      this.#fault(`private key '${tls.keyFile}' does not belong to ${certificate}`);
    }
    if (leaf.subjectAltName === undefined) {
      this.#fault(`${certificate} has no subject alternative name: clients refuse it`);
    }
    if (leaf.ca) this.#word(`${certificate} is a CA certificate: clients may refuse it as a server's`);
    for (const name of serverNames) {
      if (leaf.checkHost(name) === undefined)
        this.#fault(`${certificate} is not valid for server name '${name}'`);
    }
    chain.forEach((one, i) => this.#dates(i === 0 ? certificate : `${certificate}, entry ${i + 1}`, one));
  }

  async tenant(tenant: TenantConfig): Promise<void> {
    const whose = `tenant '${tenant.name}'`;
    const { auth, caFile, crlFiles } = tenant.clients;
    if (auth === 'on' && caFile !== undefined) await this.#authorities(whose, caFile);
    if (auth === 'on') for (const file of crlFiles) await this.#crl(whose, file);
    await this.#keystore(whose, tenant.keystore);
    await this.audit(whose, tenant.audit);
    if (tenant.admins.length === 0 && tenant.policies.every(({ identities }) => identities.length === 0)) {
      this.#word(`${whose} has no admin and no identity in a policy: nobody can use it`);
    }
  }

  async operators({ host, port, tls, oidc, ldap }: OperatorsConfig): Promise<void> {
    await this.listener({ host, port, tls, serverNames: [], ownProcess: false });
    for (const { name, caFile, client } of oidc) {
      const whose = `OpenID provider '${name}'`;
      if (caFile !== undefined) await this.#authorityFile(whose, caFile);
      if (client?.secret !== undefined) await this.#secret(`client secret of ${whose}`, client.secret);
    }
    for (const { name, caFile, bind } of ldap) {
      const whose = `directory '${name}'`;
      if (caFile !== undefined) await this.#authorityFile(whose, caFile);
      if (bind.by === 'service') await this.#secret(`password for ${whose}`, bind.password);
    }
  }

  async peers({ host, port, tls, caFile, name }: PeersConfig): Promise<void> {
    const serverNames = name === undefined ? [] : [name];
    await this.listener({ host, port, tls, serverNames, ownProcess: false });
    await this.#authorities('the peers', caFile);
  }

  async audit(whose: string, { mode, path, trail }: AuditConfig): Promise<void> {
    if (mode === 'off') {
      this.#word(`${whose} writes no audit records`);
      return;
    }
    if (path === '-') return;
    // Without a record no key is released, so a file that cannot be written stops all service.
    const existing = await stat(path).catch(() => undefined);
    if (trail !== undefined && existing !== undefined) {
      await this.#folder(path, `audit trail '${path}' of ${whose}`, undefined);
      return;
    }
    if (existing?.isDirectory())
      this.#fault(`audit file '${path}' of ${whose} is a folder: for a trail write '${path}/'`);
    else if (existing !== undefined)
      await this.#may(path, constants.W_OK, `audit file '${path}' of ${whose}`, 'written');
    else
      await this.#folder(
        dirname(path),
        `folder '${dirname(path)}' for the audit file of ${whose}`,
        'made at start',
      );
  }

  async #keystore(whose: string, keystore: TenantConfig['keystore']): Promise<void> {
    if (keystore.kind === 'memory') return;
    if (keystore.kind === 'vault-kv') return this.#vault(whose, keystore.vault);
    const what = `keystore folder '${keystore.path}' of ${whose}`;
    // Keys that KES wrote are expected to be there; our own store makes its folder when it is first used.
    await this.#folder(keystore.path, what, keystore.kind === 'file' ? 'made at first start' : undefined);
    if (keystore.kind === 'file') await this.#secret(`root key of ${whose}`, keystore.rootKey);
  }

  async #vault(whose: string, { addresses, tls, login }: VaultConfig): Promise<void> {
    for (const address of addresses) {
      if (address.startsWith('http:') && !isLoopback(address)) {
        this.#fault(`${whose} speaks to Vault without TLS: '${address}'`);
      }
    }
    if (tls.caFile !== undefined) await this.#authorities(`the Vault of ${whose}`, tls.caFile);
    if (tls.certFile !== undefined && tls.keyFile !== undefined) {
      const [leaf] = await this.#certificates(`client certificate for the Vault of ${whose}`, tls.certFile);
      const key = await this.#privateKey(tls.keyFile, undefined);
      if (leaf !== undefined && key !== undefined && !leaf.checkPrivateKey(key)) {
        this.#fault(`private key '${tls.keyFile}' does not belong to certificate '${tls.certFile}'`);
      }
      if (leaf !== undefined) this.#dates(`certificate '${tls.certFile}'`, leaf);
    }
    if (login.method === 'token') {
      await this.#secret(`token for the Vault of ${whose}`, login.token);
    } else if (login.method === 'approle') {
      await this.#secret(`role_id for the Vault of ${whose}`, login.roleId);
      await this.#secret(`secret_id for the Vault of ${whose}`, login.secretId);
    } else if (login.method === 'kubernetes' || login.method === 'jwt') {
      await this.#secret(`JWT for the Vault of ${whose}`, login.jwt);
    } else if (login.method === 'none') {
      this.#word(`${whose} sends Vault no token: an agent in front has to add one`);
    }
  }

  async #folder(path: string, what: string, whenAbsent: string | undefined): Promise<void> {
    const found = await stat(path).catch(() => undefined);
    if (found === undefined && whenAbsent !== undefined)
      this.#word(`${what} does not exist: it is ${whenAbsent}`);
    else if (found === undefined) this.#fault(`${what} does not exist`);
    else if (!found.isDirectory()) this.#fault(`${what} is not a folder`);
    else await this.#may(path, constants.R_OK | constants.W_OK | constants.X_OK, what, 'read and written');
  }

  async #may(path: string, mode: number, what: string, verb: string): Promise<void> {
    await access(path, mode).catch(() => this.#fault(`${what} cannot be ${verb} by this user`));
  }

  async #secret(what: string, source: AnySecret): Promise<void> {
    try {
      readSecret(source, this.#env).fill(0);
      if (source.from === 'file') await this.#keptFromOthers(what, secretFile(source, this.#env));
    } catch (error) {
      const why = error instanceof SelloError ? error.detail : undefined;
      this.#fault(`${what}: ${why ?? `${describeSecret(source)} cannot be read`}`);
    }
  }

  async #keptFromOthers(what: string, path: string): Promise<void> {
    const { mode } = await stat(path);
    if ((mode & 0o007) !== 0) this.#word(`${what}: file '${path}' is open to every user of this machine`);
  }

  async #privateKey(path: string, password: string | undefined): Promise<KeyObject | undefined> {
    const pem = await this.#bytes('private key', path);
    if (pem === undefined) return undefined;
    try {
      return createPrivateKey({ key: pem, ...(password === undefined ? {} : { passphrase: password }) });
    } catch {
      this.#fault(`private key '${path}' cannot be parsed, or its password is missing or wrong`);
      return undefined;
    } finally {
      pem.fill(0);
      await this.#keptFromOthers('private key', path).catch(() => undefined);
    }
  }

  /** Where a folder is not taken. */
  async #authorityFile(whose: string, path: string): Promise<void> {
    const isFolder = await stat(path).then(
      (status) => status.isDirectory(),
      () => false,
    );
    if (isFolder) this.#fault(`CA '${path}' of ${whose} is a folder: one file is needed`);
    else await this.#authorities(whose, path);
  }

  async #authorities(whose: string, path: string): Promise<void> {
    let files: string[];
    try {
      files = await authorityFiles(path);
    } catch {
      this.#fault(`CA '${path}' of ${whose} does not exist or cannot be read`);
      return;
    }
    if (files.length === 0) this.#fault(`CA folder '${path}' of ${whose} is empty`);
    for (const file of files) {
      const certificates = await this.#certificates(`CA of ${whose}`, file);
      for (const certificate of certificates) {
        if (!certificate.ca)
          this.#fault(`CA file '${file}' of ${whose} holds a certificate that is not a CA`);
        this.#dates(`CA '${file}' of ${whose}`, certificate);
      }
    }
  }

  async #crl(whose: string, path: string): Promise<void> {
    const bytes = await this.#bytes(`CRL of ${whose}`, path);
    if (bytes === undefined) return;
    try {
      const { nextUpdate } = crlDates(bytes);
      if (nextUpdate !== undefined && nextUpdate.getTime() < this.#nowMs) {
        this.#fault(`CRL '${path}' of ${whose} is stale since ${nextUpdate.toISOString()}`);
      }
    } catch {
      this.#fault(`CRL '${path}' of ${whose} cannot be parsed`);
    }
  }

  async #certificates(what: string, path: string): Promise<X509Certificate[]> {
    const pem = await this.#bytes(what, path);
    if (pem === undefined) return [];
    try {
      return parseCertificates(pem.toString('latin1'));
    } catch {
      this.#fault(`${what} '${path}' holds no certificate that can be parsed`);
      return [];
    }
  }

  async #bytes(what: string, path: string): Promise<Buffer | undefined> {
    try {
      return await readFile(path);
    } catch (error) {
      const code = error instanceof Error && 'code' in error ? error.code : undefined;
      this.#fault(
        `${what} '${path}' ${code === 'ENOENT' ? 'does not exist' : `cannot be read (${String(code)})`}`,
      );
      return undefined;
    }
  }

  #dates(what: string, { validFromDate, validToDate }: X509Certificate): void {
    const until = validToDate.getTime();
    if (until <= this.#nowMs) this.#fault(`${what} expired on ${validToDate.toISOString()}`);
    else if (validFromDate.getTime() > this.#nowMs) {
      this.#fault(`${what} is not valid before ${validFromDate.toISOString()}`);
    } else if (
      until - this.#nowMs <
      Math.min(expiresSoonMs, (until - validFromDate.getTime()) * soonPartOfLife)
    ) {
      this.#word(`${what} expires soon, on ${validToDate.toISOString()}`);
    }
  }

  #fault(message: string): void {
    this.notices.push({ message, line: undefined, failsCheck: true });
  }

  #word(message: string): void {
    this.notices.push({ message, line: undefined, failsCheck: false });
  }
}

function isLoopback(address: string): boolean {
  const { hostname } = new URL(address);
  return hostname === 'localhost' || hostname === '[::1]' || hostname.startsWith('127.');
}
