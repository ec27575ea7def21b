/** All the ways people have to say who they are, and what each may do at this moment. */
import type { TenantName } from '../../tenants/name.ts';
import type { Operation } from '../operations.ts';
import type { CurrentRights } from './approvals.ts';
import type { LdapDirectory } from './ldap.ts';
import type { LoginFlow } from './login-flow.ts';
import { issuerOfToken, type OidcVerifier } from './oidc.ts';
import { maxTokenBytes } from './oidc.ts';
import { refuse } from './refusal.ts';
import { judgePerson, type Person, type PersonRef, type Role } from './roles.ts';

export interface OidcSource {
  readonly verifier: OidcVerifier;
  /** undefined: bearer tokens alone. */
  readonly flow: LoginFlow | undefined;
}

export type OtherRights = (
  person: PersonRef,
  tenant: TenantName,
  operation: Operation,
  key: string,
) => boolean | undefined;

export interface PeopleOptions {
  readonly oidc: readonly OidcSource[];
  readonly ldap: readonly LdapDirectory[];
  /**
   * Rights of those who are no people of these sources, such as administrators by certificate, whose references the caller makes with an
   * issuer of its own. undefined as an answer: not known here either.
   */
  readonly others?: OtherRights;
}

/** A way to log in, for a page that offers them. */
export interface LoginWay {
  readonly name: string;
  readonly kind: 'oidc' | 'ldap';
}

/** A directory is asked about one person at most this often; a token's rights are in the token. */
export const lookUpEveryMs = 10_000;

export class People implements CurrentRights {
  readonly #options: PeopleOptions;

  constructor(options: PeopleOptions) {
    this.#options = options;
  }

  /** What a login page can offer. */
  get ways(): LoginWay[] {
    const { oidc, ldap } = this.#options;
    return [
      ...oidc
        .filter(({ flow }) => flow !== undefined)
        .map(({ verifier }) => ({ name: verifier.rules.name, kind: 'oidc' as const })),
      ...ldap.map(({ rules }) => ({ name: rules.name, kind: 'ldap' as const })),
    ];
  }

  /** The person of an access or ID token. @throws LoginError */
  async byToken(token: string): Promise<Person> {
    if (token.length > maxTokenBytes) throw refuse('token too large');
    const issuer = issuerOfToken(token);
    if (issuer === undefined) throw refuse('token malformed');
    const source = this.#options.oidc.find(({ verifier }) => verifier.claimsToIssue(issuer));
    if (source === undefined) throw refuse('token from another issuer');
    return withRole((await source.verifier.verifyBearer(token)).person);
  }

  /** The person of a name and a password. `directory` may be left out where there is one. @throws LoginError */
  async byPassword(directory: string | undefined, name: string, password: string): Promise<Person> {
    const { ldap } = this.#options;
    const asked =
      directory === undefined && ldap.length === 1
        ? ldap[0]
        : ldap.find(({ rules }) => rules.name === directory);
    if (asked === undefined) throw refuse('provider unknown');
    return withRole(await asked.login(name, password));
  }

  /** A login by browser; undefined when there is no such provider. */
  flow(provider: string): LoginFlow | undefined {
    return this.#options.oidc.find(({ verifier }) => verifier.rules.name === provider)?.flow;
  }

  /**
   * Roles by the mapping, the revocations and, where a directory can be asked, the groups of this moment.
   * @throws LoginError SELLO_LOGIN_UNAVAILABLE
   */
  async rolesNow(person: PersonRef): Promise<ReadonlyMap<TenantName, Role>> {
    const { oidc, ldap } = this.#options;
    const provider = oidc.find(({ verifier }) => verifier.rules.issuer === person.issuer);
    if (provider !== undefined) return provider.verifier.rolesNow(person);
    const directory = ldap.find(({ issuer }) => issuer === person.issuer);
    return directory === undefined ? new Map() : directory.rolesNow(person);
  }

  async may(person: PersonRef, tenant: TenantName, operation: Operation, key: string): Promise<boolean> {
    const known = this.#options.others?.(person, tenant, operation, key);
    if (known !== undefined) return known;
    return judgePerson({ roles: await this.rolesNow(person) }, tenant, operation).allowed;
  }
}

/** Somebody who is known and may do nothing anywhere is told so at the door. */
function withRole(person: Person): Person {
  if (person.roles.size === 0) throw refuse('person has no role', `${person.issuer} ${person.subject}`);
  return person;
}
