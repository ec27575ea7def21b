/** OpenLDAP's server (Debian's `slapd`), in a folder of its own, with a small company in it. It speaks with TLS or refuses. */
import { accessSync, constants, readFileSync } from 'node:fs';
import { mkdir, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { Client } from 'ldapts';
import type { Test } from 'tap';
import { createAuthority } from './certificates.ts';
import { freePort, RunningProcess } from './process.ts';

export const suffix = 'dc=example,dc=org';
export const service = { dn: `cn=sello,${suffix}`, password: 'service-password' };
export const passwords = { ann: 'ann-password', bob: 'bob-password' } as const;

export interface Slapd {
  readonly ldap: string;
  readonly ldaps: string;
  readonly ca: string;
  readonly folder: string;
  /** The administrator of the directory. */
  change(work: (client: Client) => Promise<unknown>): Promise<void>;
  stop(): Promise<void>;
}

/** A running server, or undefined: then the test is skipped with its reason, and with `CI=true` it fails. */
export async function needSlapd(t: Test): Promise<Slapd | undefined> {
  const program = '/usr/sbin/slapd';
  try {
    accessSync(program, constants.X_OK);
  } catch {
    const reason = `${program} is not here: install Debian's slapd`;
    if (process.env['CI'] === 'true') t.fail(reason);
    else t.pass('needs slapd', { skip: reason });
    return undefined;
  }
  const slapd = await start(program, t.testdir());
  t.teardown(() => slapd.stop());
  return slapd;
}

async function start(program: string, folder: string): Promise<Slapd> {
  const authority = await createAuthority(join(folder, 'pki'));
  const { cert, key } = await authority.issue('slapd', 'server');
  await mkdir(join(folder, 'data'));
  const schemas = ['core', 'cosine', 'inetorgperson'].map(
    (name) => `include /etc/ldap/schema/${name}.schema`,
  );
  const config = join(folder, 'slapd.conf');
  await writeFile(
    config,
    [
      ...schemas,
      // As Active Directory has it: sixteen bytes.
      "attributetype ( 1.3.6.1.4.1.4203.666.1.1 NAME 'objectGUID' EQUALITY octetStringMatch SYNTAX 1.3.6.1.4.1.1466.115.121.1.40 SINGLE-VALUE )",
      "objectclass ( 1.3.6.1.4.1.4203.666.3.1 NAME 'guidBearer' SUP top AUXILIARY MAY objectGUID )",
      'modulepath /usr/lib/ldap',
      'moduleload back_mdb',
      'moduleload memberof',
      `pidfile ${join(folder, 'slapd.pid')}`,
      `TLSCACertificateFile ${authority.ca}`,
      `TLSCertificateFile ${cert}`,
      `TLSCertificateKeyFile ${key}`,
      'security simple_bind=128',
      'database mdb',
      'maxsize 10485760',
      `suffix "${suffix}"`,
      `rootdn "cn=root,${suffix}"`,
      'rootpw root-password',
      `directory ${join(folder, 'data')}`,
      'overlay memberof',
      'access to attrs=userPassword by anonymous auth by * none',
      'access to * by users read by * none',
      '',
    ].join('\n'),
  );
  const [port, tlsPort] = [await freePort(), await freePort()];
  const ldap = `ldap://127.0.0.1:${String(port)}`;
  const ldaps = `ldaps://127.0.0.1:${String(tlsPort)}`;
  const ca = readFileSync(authority.ca);
  const root = async (work: (client: Client) => Promise<unknown>): Promise<void> => {
    const client = new Client({ url: ldaps, tlsOptions: { ca }, timeout: 10_000, connectTimeout: 10_000 });
    try {
      await client.bind(`cn=root,${suffix}`, 'root-password');
      await work(client);
    } finally {
      await client.unbind();
    }
  };
  const running = await RunningProcess.start({
    command: program,
    // 127.0.0.2 is not in the certificate.
    args: [
      '-f',
      config,
      '-h',
      [ldap, ldaps].flatMap((url) => [url, url.replace('.1:', '.2:')]).join(' '),
      '-d',
      '0',
    ],
    log: join(folder, 'slapd.log'),
    isReady: () => root(async () => undefined).then(() => true),
  });
  await root(fill);
  return {
    ldap,
    ldaps,
    ca: authority.ca,
    folder,
    change: root,
    stop: async () => void (await running.stop()),
  };
}

async function fill(client: Client): Promise<void> {
  await client.add(suffix, { objectClass: ['dcObject', 'organization'], o: 'Example', dc: 'example' });
  await client.add(service.dn, {
    objectClass: ['applicationProcess', 'simpleSecurityObject'],
    cn: 'sello',
    userPassword: service.password,
  });
  for (const unit of ['people', 'groups', 'elsewhere'])
    await client.add(`ou=${unit},${suffix}`, { objectClass: 'organizationalUnit', ou: unit });
  const person = (uid: string, more: Record<string, string>): Promise<void> =>
    client.add(`uid=${uid},ou=people,${suffix}`, {
      objectClass: ['inetOrgPerson', 'guidBearer'],
      uid,
      sn: uid,
      ...more,
    });
  await person('ann', {
    cn: 'Ann Möller',
    displayName: 'Ann Möller',
    mail: 'Ann@Example.org',
    userPassword: passwords.ann,
  });
  await person('bob', {
    cn: 'Bob',
    displayName: 'Bob',
    mail: 'bob@example.org',
    userPassword: passwords.bob,
  });
  // A name with everything that filters and DNs treat specially.
  await client.add(`uid=o\\,(x)*\\\\y,ou=people,${suffix}`, {
    objectClass: 'inetOrgPerson',
    uid: 'o,(x)*\\y',
    cn: 'Odd',
    sn: 'Odd',
    userPassword: 'odd-password',
  });
  await client.add(`uid=bob,ou=elsewhere,${suffix}`, {
    objectClass: 'inetOrgPerson',
    uid: 'bob',
    cn: 'Another Bob',
    sn: 'Bob',
    userPassword: 'another-password',
  });
  const group = (cn: string, member: string[]): Promise<void> =>
    client.add(`cn=${cn},ou=groups,${suffix}`, {
      objectClass: 'groupOfNames',
      cn,
      member: member.map((uid) => `uid=${uid},ou=people,${suffix}`),
    });
  await group('Key Admins', ['ann']);
  await group('Key Watchers', ['ann', 'bob', 'o\\,(x)*\\\\y']);
}
