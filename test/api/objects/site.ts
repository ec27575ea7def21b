/** A server with the object API, and clients that seal and open through it. */
import { createHash } from 'node:crypto';
import http2 from 'node:http2';
import { issue, type Issued } from '../../attacks/pki.ts';
import { askHttp1, Session, type Answer, type Call } from '../../attacks/client.ts';
import { listenerYaml, serverAuditOff, Site, tenantsYaml, type TenantYaml } from '../../attacks/site.ts';

export interface Where {
  readonly bucket?: string;
  readonly object?: string;
  readonly [parameter: string]: string | undefined;
}

export function target(route: string, where: Where = {}): string {
  const query = Object.entries({ bucket: 'photos', object: 'cats/1.jpg', ...where })
    .filter(([, value]) => value !== undefined)
    .map(([name, value]) => `${name}=${encodeURIComponent(value!)}`)
    .join('&');
  return `/objects/v1/${route}?${query}`;
}

export const objectsYaml = {
  key: 'sse-key',
  buckets: {
    customer: { sseC: true },
    plain: { default: 'none' },
    kms: { default: 'sse-kms', key: 'kms-key' },
    forced: { forced: true, sseC: true },
    limited: { allowedKeys: ['app-*'] },
    shared: { bucketKey: true },
  },
};

export class ObjectSite extends Site {
  readonly node: Issued = issue('node');
  readonly reader: Issued = issue('reader');
  readonly other: Issued = issue('other');
  #session: Session | undefined;

  yaml(objects: object = objectsYaml, more: Partial<TenantYaml> = {}, limits = ''): string {
    const alpha: TenantYaml = {
      name: 'alpha',
      clients: { auth: 'off' },
      keys: ['sse-key', 'kms-key', 'app-1', 'app-2', 'secret-key'],
      objects,
      policies: {
        node: {
          allow: [{ operations: ['seal', 'open', 'issue', 'unwrap'] }],
          deny: [{ operations: ['seal', 'open', 'issue', 'unwrap'], keys: ['secret-key'] }],
          identities: [this.node.identity],
        },
        reader: { allow: [{ operations: ['open', 'unwrap'] }], identities: [this.reader.identity] },
      },
      audit: { path: this.file('audit/alpha.jsonl') },
      ...more,
    };
    const beta: TenantYaml = {
      name: 'beta',
      clients: { auth: 'off' },
      keys: ['sse-key'],
      objects,
      policies: { all: { allow: [{ operations: ['*'] }], identities: [this.other.identity] } },
    };
    return listenerYaml + limits + serverAuditOff + tenantsYaml(alpha, beta);
  }

  async begin(objects?: object, more?: Partial<TenantYaml>, limits?: string): Promise<this> {
    await this.start(this.yaml(objects, more, limits));
    return this;
  }

  async ask(call: Call, as: Issued = this.node): Promise<Answer> {
    if (as !== this.node) {
      const session = await Session.open(this.as(as));
      try {
        return await session.ask(call);
      } finally {
        session.close();
      }
    }
    this.#session ??= await Session.open(this.as(this.node));
    return this.#session.ask(call);
  }

  post(
    route: string,
    where: Where,
    headers: Call['headers'] = {},
    body: Buffer | string = '',
  ): Promise<Answer> {
    return this.ask({ method: 'POST', path: target(route, where), headers, body });
  }

  post1(
    route: string,
    where: Where,
    headers: Call['headers'] = {},
    body: Buffer | string = '',
  ): Promise<Answer> {
    return askHttp1(this.as(this.node), { method: 'POST', path: target(route, where), headers, body });
  }

  override async remove(): Promise<void> {
    this.#session?.close();
    await super.remove();
  }
}

export interface SealedAnswer {
  readonly envelope: string;
  readonly sealed: Buffer;
  readonly answer: Answer;
}

export async function sealAt(
  site: ObjectSite,
  message: Buffer,
  where: Where = {},
  headers: Call['headers'] = {},
): Promise<SealedAnswer> {
  const answer = await site.post('seal', where, headers, message);
  if (answer.status !== 200) throw new Error(`seal: ${answer.status} ${answer.body.toString()}`);
  return { envelope: String(answer.headers['x-sello-envelope']), sealed: answer.body, answer };
}

/** S3's three headers of a customer key. */
export function customerHeaders(
  key: Buffer,
  prefix = 'x-amz-server-side-encryption-customer-',
): Record<string, string> {
  return {
    [`${prefix}algorithm`]: 'AES256',
    [`${prefix}key`]: key.toString('base64'),
    [`${prefix}key-md5`]: createHash('md5').update(key).digest('base64'),
  };
}

export const copySource = 'x-amz-copy-source-server-side-encryption-customer-';

/** Code of an error answer. */
export function codeOf({ body }: Answer): string {
  return (JSON.parse(body.toString()) as { code: string }).code;
}

export { http2 };
