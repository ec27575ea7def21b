/**
 * People in an LDAP directory or Active Directory: a name and a password prove who somebody is, groups say what they may do.
 *
 * With a service account: it finds the person, the person's own bind proves the password, and the service account reads the groups, at
 * login and whenever rights are asked for again. Without one the person's name becomes a DN or a UPN by a template, and the person reads
 * their own groups.
 */
import {
  AndFilter,
  EqualityFilter,
  FilterParser,
  InappropriateAuthError,
  InvalidCredentialsError,
  InvalidDNSyntaxError,
  NoSuchObjectError,
  ResultCodeError,
  SASL_MECHANISMS,
  UnwillingToPerformError,
  ConstraintViolationError,
  type Client,
  type Entry,
  type Filter,
} from 'ldapts';
import { SelloError } from '../../errors.ts';
import type { TenantName } from '../../tenants/name.ts';
import type { Clock } from '../../clock.ts';
import { printable } from './claims.ts';
import { withDirectory, type LdapTransport } from './ldap-connection.ts';
import { escapeDnValue, escapeFilterValue, normalizeDn } from './ldap-names.ts';
import { stableForm } from './oidc.ts';
import { LoginError, read, refuse, unavailable } from './refusal.ts';
import { rolesOf, type Evidence, type Person, type PersonRef, type Role, type RoleGrant } from './roles.ts';

export interface LdapRules extends LdapTransport {
  readonly name: string;
  readonly bind:
    | { readonly by: 'service'; readonly dn: string; readonly password: () => Buffer }
    /** `uid={name},ou=people,dc=example,dc=org` or `{name}@corp.example.org`. */
    | { readonly by: 'template'; readonly template: string };
  readonly userBase: string;
  /** With `{name}`, as typed, escaped. */
  readonly userFilter: string;
  /** Unique, and never given to another: `entryUUID`, or Active Directory's `objectGUID`. */
  readonly idAttribute: string;
  readonly nameAttribute: string;
  readonly stableAttribute: string | undefined;
  readonly groups:
    /** DNs in an attribute of the person's entry. */
    | { readonly by: 'attribute'; readonly attribute: string }
    /** `nested`: groups within groups, by Active Directory's matching rule. */
    | { readonly by: 'search'; readonly base: string; readonly attribute: string; readonly nested: boolean };
  /** `value` is the DN of a group. */
  readonly grants: readonly RoleGrant[];
  readonly timeoutMs: number;
  readonly revoked: readonly string[];
}

/** LDAP_MATCHING_RULE_IN_CHAIN, MS-ADTS §3.1.1.3.4.4.3. */
const inChain = '1.2.840.113556.1.4.1941';

const maxNameBytes = 256;
const maxPasswordBytes = 1024;

/** Groups of one person that are read. */
const maxGroups = 5000;

/** Logins under way; each holds a connection or two. */
const maxAtOnce = 16;

interface Found {
  readonly dn: string;
  readonly entry: Entry;
}

export class LdapDirectory {
  readonly rules: LdapRules;
  readonly #clock: Clock;
  readonly #tenants: readonly TenantName[];
  readonly #grants: readonly RoleGrant[];
  #atOnce = 0;

  /** @throws SelloError SELLO_CONFIG_INVALID */
  constructor({ rules, clock, tenants }: { rules: LdapRules; clock: Clock; tenants: readonly TenantName[] }) {
    const invalid = (detail: string) => new SelloError('SELLO_CONFIG_INVALID', { detail: `ldap: ${detail}` });
    if (!rules.userFilter.includes('{name}')) throw invalid('userFilter has no {name}');
    if (rules.bind.by === 'template' && !/\{name\}.|.\{name\}/s.test(rules.bind.template))
      throw invalid('the template of a bind needs {name} and something beside it');
    this.rules = rules;
    this.#clock = clock;
    this.#tenants = tenants;
    this.#grants = rules.grants.map((grant) => {
      const value = normalizeDn(grant.value);
      if (value === undefined) throw invalid(`group '${grant.value}' is no distinguished name`);
      return { ...grant, value };
    });
  }

  get issuer(): string {
    return `ldap:${this.rules.name}`;
  }

  /** True where {@link lookUp} can tell. */
  get canLookUp(): boolean {
    return this.rules.bind.by === 'service';
  }

  /** @throws LoginError */
  async login(name: string, password: string): Promise<Person> {
    checkName(name);
    // RFC 4513 §5.1.2: a bind without a password succeeds and proves nothing.
    if (password === '') throw refuse('password missing');
    if (Buffer.byteLength(password) > maxPasswordBytes || password.includes('\0'))
      throw refuse('name or password wrong');
    return this.#bounded(() => {
      const { bind } = this.rules;
      return bind.by === 'service'
        ? this.#loginByService(bind, name, password)
        : this.#loginByTemplate(bind.template, name, password);
    });
  }

  /** A person who logged in before, as the directory has them now; undefined when they are gone. @throws LoginError */
  async lookUp(subject: string): Promise<Person | undefined> {
    const { bind, idAttribute } = this.rules;
    if (bind.by !== 'service') return undefined;
    const value = isGuid(idAttribute) ? Buffer.from(subject, 'hex') : subject;
    const itself = new EqualityFilter({ attribute: idAttribute, value });
    return this.#bounded(() =>
      this.#withService(bind, async (client) => {
        // Whom the filter leaves out by now, such as a disabled account, is gone too.
        const anybody = FilterParser.parseString(this.#userFilter('*'));
        const found = await this.#find(client, new AndFilter({ filters: [itself, anybody] }));
        return found === undefined ? undefined : this.#personOf(client, found, undefined);
      }),
    );
  }

  async #loginByService(
    bind: Extract<LdapRules['bind'], { by: 'service' }>,
    name: string,
    password: string,
  ): Promise<Person> {
    return this.#withService(bind, async (client) => {
      const found = await this.#find(client, this.#userFilter(escapeFilterValue(name)));
      // A name that does not exist takes a bind as well, so that the time tells less.
      const dn = found?.dn ?? `cn=${escapeDnValue(name)},${this.rules.userBase}`;
      await withDirectory(this.rules, this.rules.timeoutMs, (own) => bindAs(own, dn, password));
      if (found === undefined) throw refuse('name or password wrong');
      return this.#personOf(client, found, this.#clock.now());
    });
  }

  async #loginByTemplate(template: string, name: string, password: string): Promise<Person> {
    const isDn = template.includes('=');
    // In a UPN nothing can be escaped.
    if (!isDn && !/^[\p{L}\p{N}._ '-]+$/u.test(name)) throw refuse('name not acceptable');
    const who = template.replaceAll('{name}', () => (isDn ? escapeDnValue(name) : name));
    return this.#withClient(async (client) => {
      await bindAs(client, who, password);
      const found = await this.#find(client, this.#userFilter(escapeFilterValue(name)));
      // The bind proved one entry, the search may find another: they have to be the same one.
      if (found === undefined || (isDn && normalizeDn(found.dn) !== normalizeDn(who)))
        throw refuse('name or password wrong', 'the entry that was found is not the one that was bound');
      return this.#personOf(client, found, this.#clock.now());
    });
  }

  #withService<T>(
    { dn, password }: Extract<LdapRules['bind'], { by: 'service' }>,
    work: (client: Client) => Promise<T>,
  ): Promise<T> {
    return this.#withClient(async (client) => {
      const secret = read('password for the directory', password);
      try {
        if (secret.length === 0) throw unavailable('directory refuses the service account', 'no password');
        await client.bind(dn, secret.toString('utf8'));
      } catch (error) {
        if (error instanceof LoginError) throw error;
        throw unavailable('directory refuses the service account', messageOf(error), error);
      } finally {
        secret.fill(0);
      }
      return work(client);
    });
  }

  async #withClient<T>(work: (client: Client) => Promise<T>): Promise<T> {
    try {
      // Two connections at most, one within the other.
      return await withDirectory(this.rules, this.rules.timeoutMs * 2, work);
    } catch (error) {
      if (error instanceof SelloError) throw error;
      throw unavailable('directory failed', messageOf(error), error);
    }
  }

  async #bounded<T>(work: () => Promise<T>): Promise<T> {
    if (this.#atOnce >= maxAtOnce) throw new LoginError('SELLO_RATE_LIMITED', 'too many logins at once');
    this.#atOnce++;
    try {
      return await work();
    } finally {
      this.#atOnce--;
    }
  }

  /** `name` is escaped already, or `*` for any. */
  #userFilter(name: string): string {
    return this.rules.userFilter.replaceAll('{name}', () => name);
  }

  /** @throws LoginError when the name is not unique */
  async #find(client: Client, filter: string | Filter): Promise<Found | undefined> {
    const { userBase, idAttribute, nameAttribute, stableAttribute, groups } = this.rules;
    const { searchEntries } = await client.search(userBase, {
      scope: 'sub',
      filter,
      sizeLimit: 2,
      attributes: [
        idAttribute,
        nameAttribute,
        ...(stableAttribute === undefined ? [] : [stableAttribute]),
        ...(groups.by === 'attribute' ? [groups.attribute] : []),
      ],
      explicitBufferAttributes: isGuid(idAttribute) ? [idAttribute] : [],
    });
    if (searchEntries.length > 1) throw refuse('name not unique');
    const entry = searchEntries[0];
    return entry === undefined ? undefined : { dn: entry.dn, entry };
  }

  async #personOf(client: Client, { dn, entry }: Found, authTimeMs: number | undefined): Promise<Person> {
    const { idAttribute, nameAttribute, stableAttribute, revoked } = this.rules;
    const ids = valuesOf(entry, idAttribute);
    const [id] = ids;
    if (ids.length !== 1 || id === undefined || id.length === 0)
      throw unavailable('directory failed', `'${dn}' has no ${idAttribute}, or several`);
    const subject = Buffer.isBuffer(id) ? id.toString('hex') : id;
    if (revoked.includes(subject)) throw refuse('person is revoked');
    const shown = printable(String(valuesOf(entry, nameAttribute)[0] ?? ''));
    const evidence = await this.#evidenceOf(client, dn, entry);
    const stable = stableAttribute === undefined ? undefined : valuesOf(entry, stableAttribute)[0];
    return {
      issuer: this.issuer,
      subject,
      displayName: shown === '' ? printable(dn) : shown,
      stableId: typeof stable === 'string' && stable !== '' ? stableForm(stable) : undefined,
      evidence,
      roles: this.#rolesBy(evidence),
      authTimeMs,
    };
  }

  /** The roles of somebody as the directory and the mapping have them now; by the groups of their login where nobody can ask. */
  async rolesNow({
    subject,
    evidence,
  }: Pick<PersonRef, 'subject' | 'evidence'>): Promise<ReadonlyMap<TenantName, Role>> {
    if (this.rules.revoked.includes(subject)) return new Map();
    if (!this.canLookUp) return this.#rolesBy(evidence);
    return (await this.lookUp(subject))?.roles ?? new Map<TenantName, Role>();
  }

  #rolesBy(evidence: readonly Evidence[]): ReadonlyMap<TenantName, Role> {
    const values = evidence.filter(({ claim }) => claim.length === 0).flatMap((one) => one.values);
    return rolesOf(values, this.#grants, this.#tenants);
  }

  async #evidenceOf(client: Client, dn: string, entry: Entry): Promise<Evidence[]> {
    const { groups } = this.rules;
    const names =
      groups.by === 'attribute'
        ? valuesOf(entry, groups.attribute).map(String)
        : await this.#groupsByAsking(client, dn, groups);
    const normal = names.map(normalizeDn).filter((name) => name !== undefined);
    const named = new Set(this.#grants.map(({ value }) => value));
    const values = [...new Set(normal)].filter((name) => named.has(name));
    return values.length === 0 ? [] : [{ claim: [], values }];
  }

  async #groupsByAsking(
    client: Client,
    dn: string,
    { base, attribute, nested }: Extract<LdapRules['groups'], { by: 'search' }>,
  ): Promise<string[]> {
    const name = nested ? `${attribute}:${inChain}:` : attribute;
    const { searchEntries } = await client.search(base, {
      scope: 'sub',
      filter: `(${name}=${escapeFilterValue(dn)})`,
      attributes: ['1.1'],
      paged: { pageSize: 500 },
    });
    if (searchEntries.length > maxGroups)
      throw unavailable('directory failed', `'${dn}' is in too many groups`);
    return searchEntries.map((group) => group.dn);
  }
}

/** A name that a person typed. @throws LoginError */
function checkName(name: string): void {
  const isTooLong = name.length > maxNameBytes || Buffer.byteLength(name) > maxNameBytes;
  if (name.trim() === '' || isTooLong || /[\p{Cc}\p{Cs}]/u.test(name)) throw refuse('name not acceptable');
}

async function bindAs(client: Client, who: string, password: string): Promise<void> {
  // ldapts takes these for a way to log in, not for somebody.
  if (who === '' || (SASL_MECHANISMS as readonly string[]).includes(who)) throw refuse('name not acceptable');
  try {
    await client.bind(who, password);
  } catch (error) {
    const isTheirs = [
      InvalidCredentialsError,
      InappropriateAuthError,
      InvalidDNSyntaxError,
      NoSuchObjectError,
      UnwillingToPerformError,
      ConstraintViolationError,
    ].some((kind) => error instanceof kind);
    if (isTheirs) throw refuse('name or password wrong', messageOf(error), error);
    throw unavailable('directory failed', messageOf(error), error);
  }
}

/** Attribute names come back in the directory's spelling. */
function valuesOf(entry: Entry, attribute: string): (string | Buffer)[] {
  // Active Directory cuts attributes of more than 1,500 values (MS-ADTS §3.1.1.3.1.3.3): half a list of groups is none.
  if (Object.keys(entry).some((key) => key.toLowerCase().startsWith(`${attribute.toLowerCase()};range=`)))
    throw unavailable('directory failed', `it cut '${attribute}': let groups be searched for`);
  const name = Object.keys(entry).find((key) => key.toLowerCase() === attribute.toLowerCase());
  const value = name === undefined ? [] : entry[name]!;
  return Array.isArray(value) ? value : [value];
}

function isGuid(attribute: string): boolean {
  return attribute.toLowerCase() === 'objectguid';
}

/** The result code's own words. What the directory adds may repeat what was sent. */
function messageOf(error: unknown): string {
  if (error instanceof ResultCodeError) return `${error.name} (${String(error.code)})`;
  return error instanceof Error ? error.message.slice(0, 200) : 'unknown error';
}
