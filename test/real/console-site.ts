/** A server with a console, two tenants, people at an OpenID provider, and some work done: for tests in a browser and for pictures. */
import { setTimeout as sleep } from 'node:timers/promises';
import { IdentityProvider, clientSecret, type Account } from '../api/people/identity-provider.ts';
import { askHttp2 } from '../attacks/client.ts';
import { authority, issue, serverCertificate, type Issued } from '../attacks/pki.ts';
import { listenerYaml, serverAuditOff, Site, tenantsYaml } from '../attacks/site.ts';
import { freePort } from './process.ts';

export const ann: Account = { sub: 'ann-1', name: 'Ann Ortega', roles: ['root'] };
export const bob: Account = { sub: 'bob-2', name: 'Bob Lindqvist', roles: ['root'] };
export const ed: Account = { sub: 'ed-3', name: 'Ed Marsh', roles: ['watch-acme'] };

/** Markup that would do something wherever it is taken for markup. */
export const markup = '<img src=x onerror="console.error(1)"><script>console.error(2)</script>{{7*7}}';

export class ConsoleSite {
  readonly site = new Site();
  readonly #clients = authority('Acme storage clients', inDays(1460));
  readonly #nodes: readonly Issued[];
  readonly origin: string;
  readonly idp: IdentityProvider;
  #asked = 0;

  private constructor(origin: string, idp: IdentityProvider) {
    this.origin = origin;
    this.idp = idp;
    this.#nodes = [12, 190].map((days, i) =>
      issue(`storage-node-${String(i + 1)}`, { issuer: this.#clients, notAfter: inDays(days) }),
    );
  }

  /** @param ldap directories of the configuration, which may name `ldap-password` */
  static async start(ldap: Readonly<Record<string, unknown>> = {}): Promise<ConsoleSite> {
    const origin = `https://127.0.0.1:${String(await freePort())}`;
    // Another site than 127.0.0.1 to a browser, as a provider is.
    const idp = await IdentityProvider.start(`${origin}/v1/operators/callback`, 'localhost');
    const made = new ConsoleSite(origin, idp);
    await made.#start(ldap);
    return made;
  }

  async #start(ldap: Readonly<Record<string, unknown>>): Promise<void> {
    const { site, origin, idp } = this;
    site.write('client-secret', clientSecret);
    site.installServerCertificate(serverCertificate(inDays(74)));
    site.write('clients-ca.crt', this.#clients.certificatePem);
    const operators = {
      address: origin.slice('https://'.length),
      tls: { cert: 'server.crt', key: 'server.key' },
      url: origin,
      ldap,
      oidc: {
        corporate: {
          issuer: idp.issuer,
          client: { id: 'console', secret: { file: 'client-secret' }, scopes: ['profile', 'sello'] },
          rolesClaim: ['roles'],
          roles: [
            { value: 'root', tenant: '*', role: 'administrator' },
            { value: 'watch-acme', tenant: 'acme', role: 'auditor' },
          ],
        },
      },
    };
    const tenant = (
      name: string,
      keys: readonly string[],
      identities: readonly string[],
      clients: object,
    ) => ({
      name,
      admins: [(name === 'acme' ? '1' : '2').repeat(64)],
      clients: { ...clients },
      keys,
      // Of the second one keys end at once.
      ...(name === 'acme' ? {} : { lifecycle: { deletionWait: '0s', quiet: '0s' } }),
      audit: { path: `audit/${name}/`, checkpoint: { records: 50, interval: '50ms' } },
      policies: identities.length === 0 ? {} : { storage: { allow: [{ kes: '/v1/*' }], identities } },
    });
    const tenants = tenantsYaml(
      tenant(
        'acme',
        ['backups', 'logs', 'media', 'photos-2026', 'warehouse'],
        this.#nodes.map(({ identity }) => identity),
        { ca: 'clients-ca.crt' },
      ),
      tenant('globex', ['archive'], [], { auth: 'off' }),
    );
    await site.start(`${listenerYaml}${serverAuditOff}operators: ${JSON.stringify(operators)}\n${tenants}`);
  }

  /** Data keys for objects, as a storage node asks for them; and each unwrapped again. */
  async store(key: string, bucket: string, ...objects: readonly string[]): Promise<void> {
    for (const object of objects) {
      const context = Buffer.from(JSON.stringify({ [bucket]: `${bucket}/${object}` })).toString('base64');
      const made = await this.#ask(`/v1/key/generate/${key}`, { context });
      const { ciphertext } = JSON.parse(made) as { ciphertext: string };
      await this.#ask(`/v1/key/decrypt/${key}`, { ciphertext, context });
    }
  }

  /** Something that is refused. */
  async refused(key: string): Promise<void> {
    await this.#ask(`/v1/key/decrypt/${key}`, { ciphertext: Buffer.alloc(80).toString('base64') });
  }

  async #ask(path: string, body: object): Promise<string> {
    const node = this.#nodes[this.#asked++ % this.#nodes.length];
    const answer = await askHttp2(this.site.as(node), {
      method: 'POST',
      path,
      body: JSON.stringify(body),
    });
    return answer.body.toString();
  }

  /** Until the checkpoint over what there is has been anchored. */
  async anchored(tenant: string): Promise<void> {
    const { audit } = this.site.server.runtime.tenants.get(tenant)!;
    for (let tries = 0; tries < 400; tries++) {
      const { records, checkpointed } = audit.chain!;
      if (records === checkpointed) return;
      await sleep(25);
    }
    throw new Error('no checkpoint came');
  }

  async remove(): Promise<void> {
    await this.site.remove();
    await this.idp.stop();
  }
}

function inDays(days: number): Date {
  return new Date(Date.now() + days * 86_400_000);
}
