/** The door of people: who they are, what they may do, and what takes two of them. */
export { Approvals, sameHuman } from './approvals.ts';
export type { Approval, ApprovalOptions, ApprovalSubject, CurrentRights, UsedApproval } from './approvals.ts';
export { Authenticator, cookieOf, csrfHeader, sessionCookie, statusOfLogin } from './authenticate.ts';
export type { Authenticated, Credentials } from './authenticate.ts';
export { Failures } from './failures.ts';
export { createFetcher } from './fetch.ts';
export { normalizeDn, parseLdapUrl } from './ldap-names.ts';
export { LdapDirectory } from './ldap.ts';
export type { LdapRules } from './ldap.ts';
export { CookieSeal, localPath, loginLifeMs, LoginFlow } from './login-flow.ts';
export { OidcVerifier } from './oidc.ts';
export type { OidcRules } from './oidc.ts';
export { lookUpEveryMs, People } from './people.ts';
export type { OidcSource, OtherRights } from './people.ts';
export { Provider } from './provider.ts';
export { LoginError } from './refusal.ts';
export {
  certificateIssuer,
  judgePerson,
  operationsOfRole,
  personId,
  personOfCertificate,
  roles,
} from './roles.ts';
export type { Person, PersonRef, Role, RoleGrant } from './roles.ts';
export { Sessions } from './sessions.ts';
export type { Session } from './sessions.ts';
export type { SessionTimes } from './sessions.ts';
export { isObject, parseStrictJson } from './strict-json.ts';
export { tokenAlgorithms } from './token-algorithms.ts';
export type { TokenAlgorithm } from './token-algorithms.ts';
