/**
 * Every route × every kind of client, against a table that was read by a person (matrix.txt). A cell is the status of the
 * answer, or `tls` when the connection ends before a request can be made.
 *
 * `SELLO_WRITE_MATRIX=1` writes what the server does now: read the difference before you commit it.
 */
import { randomBytes } from 'node:crypto';
import { readFileSync, writeFileSync } from 'node:fs';
import path from 'node:path';
import t from 'tap';
import { kesRoutes, type KesRoute } from '../../src/api/kes/routes.ts';
import { Session, type Answer, type Call } from './client.ts';
import { buildCast, type Cast, type Verifying } from './matrix-cast.ts';
import { formatTable, parseTable, type Cells } from './matrix-table.ts';
import { listenerYaml, serverAuditOff, Site, tenantsYaml } from './site.ts';

const tableFile = path.join(import.meta.dirname, 'matrix.txt');
const isWriting = process.env['SELLO_WRITE_MATRIX'] === '1';

const variants: Readonly<Record<string, Verifying>> = {
  'both verify': { alpha: true, beta: true },
  'neither verifies': { alpha: false, beta: false },
  'beta alone verifies': { alpha: false, beta: true },
};

const b64 = (bytes: Buffer | string): string => Buffer.from(bytes).toString('base64');

/** What is asked of each route. Names that only alpha has; writes use a name of their own each time. */
class Requests {
  #count = 0;
  readonly #ciphertext: string;

  constructor(ciphertext: string) {
    this.#ciphertext = ciphertext;
  }

  of(route: KesRoute, alphaAdmin: string): Call {
    const name = `app-${route.name}-${this.#count++}`;
    const { method } = route;
    const to = (rest: string, body?: object): Call => ({
      method,
      path: route.path + rest,
      ...(body === undefined ? {} : { body: JSON.stringify(body) }),
    });
    switch (route.name) {
      case 'key-create':
      case 'key-delete':
        return to(name);
      case 'key-import':
        return to(name, { key: b64(randomBytes(32)), cipher: 'AES256' });
      case 'key-describe':
        return to('app-1');
      case 'key-generate':
        return to('app-1', {});
      case 'key-encrypt':
        return to('app-1', { plaintext: b64('a') });
      case 'key-decrypt':
        return to('app-1', { ciphertext: this.#ciphertext });
      case 'key-bulk-decrypt':
        return to('app-1', [{ ciphertext: this.#ciphertext }]);
      case 'key-hmac':
        return to('app-1', { message: b64('a') });
      case 'policy-describe':
      case 'policy-read':
        return to('op-issue');
      case 'identity-describe':
        return to(alphaAdmin);
      case 'key-list':
      case 'policy-list':
      case 'identity-list':
        return to('*');
      case 'log-error':
      case 'log-audit':
        return { ...to(''), headersOnly: true };
      case 'version':
      case 'ready':
      case 'status':
      case 'metrics':
      case 'api':
      case 'identity-self':
        return to('');
    }
  }
}

/** Targets that are no route, for every client too. */
const beside: Readonly<Record<string, Call>> = {
  unknown: { method: 'GET', path: '/v1/no/such/route' },
  root: { method: 'GET', path: '/' },
};

async function ask(session: Session, call: Call): Promise<Answer | undefined> {
  try {
    return await session.ask(call);
  } catch {
    return undefined;
  }
}

async function observe(site: Site, cast: Cast, leaks: string[]): Promise<Cells> {
  const own = await Session.open(site.as(cast.alphaAdmin));
  const issued = JSON.parse(
    (await own.ask({ method: 'POST', path: '/v1/key/generate/app-1', body: '{}' })).body.toString(),
  ) as {
    ciphertext: string;
  };
  const requests = new Requests(issued.ciphertext);
  const rows = new Map<string, Map<string, string>>();
  for (const [name, credentials] of cast.clients) {
    const cells = new Map<string, string>();
    rows.set(name, cells);
    const session = await Session.open({ port: site.port, credentials }).catch(() => undefined);
    const put = async (column: string, call: Call): Promise<void> => {
      const answer = session === undefined ? undefined : await ask(session, call);
      cells.set(column, answer === undefined ? 'tls' : String(answer.status));
      if (answer === undefined || !/^(none|unknown|beta|own)/.test(name)) return;
      const said = answer.body.toString('latin1') + JSON.stringify(answer.headers);
      for (const text of cast.alphaOnly)
        if (said.includes(text)) leaks.push(`${name} reads '${text}' at ${call.path}`);
    };
    for (const route of kesRoutes) {
      const call = requests.of(route, cast.alphaAdmin.identity);
      if (route.name === 'key-delete')
        await own.ask({ method: 'PUT', path: call.path.replace('delete', 'create') });
      await put(route.name, call);
    }
    for (const [column, call] of Object.entries(beside)) await put(column, call);
    session?.close();
  }
  own.close();
  return rows;
}

const observed = new Map<string, Cells>();

for (const [variant, verifying] of Object.entries(variants)) {
  t.test(`every cell is as expected where ${variant}`, async (t) => {
    const site = new Site();
    t.teardown(() => site.remove());
    const cast = buildCast(site, verifying);
    const server = await site.start(listenerYaml + serverAuditOff + tenantsYaml(cast.alpha, cast.beta));
    const leaks: string[] = [];
    const rows = await observe(site, cast, leaks);
    observed.set(variant, rows);
    t.same(leaks, [], 'nobody outside alpha reads anything of alpha');

    const known = new Set<string>(kesRoutes.map((route) => route.path));
    t.same(
      // Routes of the object and operators' APIs have tables of their own: test/api.
      server.routes.filter((route) => !known.has(route) && !/^\/(?:-|objects\/v1|admin\/v1)\//.test(route)),
      [],
      'every route that is registered is in the matrix',
    );
    if (isWriting) return;
    const expected = parseTable(readFileSync(tableFile, 'utf8')).get(variant);
    if (expected === undefined) throw new Error(`matrix.txt has no section for ${variant}`);
    t.same([...expected.keys()], [...rows.keys()], 'every client has its row');
    const differences: string[] = [];
    for (const [name, cells] of rows) {
      for (const [column, status] of cells) {
        const wanted = expected.get(name)?.get(column);
        if (wanted !== status)
          differences.push(`${name} × ${column}: expected ${wanted ?? 'no such cell'}, got ${status}`);
      }
    }
    t.same(differences, [], 'no cell differs');
  });
}

if (isWriting) {
  t.teardown(() => {
    const head = readFileSync(tableFile, { encoding: 'utf8', flag: 'a+' })
      .split('\n')
      .filter((line) => line.startsWith('#'));
    writeFileSync(tableFile, `${head.join('\n')}\n\n${formatTable(observed)}\n`);
  });
}
