/** Values out of a token's claims, in the shapes that providers give them. */
import { refuse } from './refusal.ts';
import { isObject } from './strict-json.ts';

export type Claims = Readonly<Record<string, unknown>>;

/**
 * Where a claim is: each name exactly, from the outside in. A list and not a dotted text, because names hold dots and slashes
 * (`https://sello.example.org/roles` at Auth0 and Okta, `resource_access.my.client.roles` at Keycloak).
 */
export type ClaimPath = readonly string[];

/** A token of 16 KiB holds fewer. */
const maxValues = 4096;

/**
 * The texts at a path: a text, or a list of texts. Absent: none.
 * @throws LoginError when the claim has another shape, or the provider left it out because it was too long
 */
export function claimValues(claims: Claims, path: ClaimPath): string[] {
  let at: unknown = claims;
  for (const name of path) {
    if (!isObject(at) || !Object.hasOwn(at, name)) {
      refuseOverage(claims, path[0]!);
      return [];
    }
    at = at[name];
  }
  if (typeof at === 'string') return at === '' ? [] : [at];
  if (Array.isArray(at) && at.length <= maxValues && at.every((value) => typeof value === 'string')) {
    return at as string[];
  }
  throw refuse(
    'token claim missing or wrong',
    `'${path.join("' in '")}' is neither a text nor a list of texts`,
  );
}

/**
 * Entra puts no more than 200 groups into a token (6 into one of the implicit flow) and a pointer in their place, or a flag. Taking that
 * for "no groups" would refuse people for a reason nobody finds. (OpenID Connect Core §5.6.2, aggregated and distributed claims.)
 */
function refuseOverage(claims: Claims, name: string): void {
  const names = claims['_claim_names'];
  const isElsewhere = isObject(names) && Object.hasOwn(names, name);
  const isFlagged = name === 'groups' && (claims['hasgroups'] === true || claims['hasgroups'] === 'true');
  if (isElsewhere || isFlagged) {
    throw refuse(
      'token names no groups: too many',
      `'${name}' is kept outside the token; let the provider send app roles, or only groups assigned to the application`,
    );
  }
}

/** A text at a path; undefined when it is absent. A number counts, as some providers number their users. */
export function claimText(claims: Claims, path: ClaimPath): string | undefined {
  let at: unknown = claims;
  for (const name of path) {
    if (!isObject(at) || !Object.hasOwn(at, name)) return undefined;
    at = at[name];
  }
  if (typeof at === 'number' && Number.isSafeInteger(at)) return String(at);
  return typeof at === 'string' && at !== '' ? at : undefined;
}

/** Seconds since the epoch, or the ISO 8601 text of AD FS. */
export function claimTimeMs(claims: Claims, name: string): number | undefined {
  const value = claims[name];
  if (typeof value === 'number' && Number.isFinite(value)) return value * 1000;
  if (typeof value !== 'string') return undefined;
  const parsed = /^\d{1,12}$/.test(value) ? Number(value) * 1000 : Date.parse(value);
  return Number.isNaN(parsed) ? undefined : parsed;
}

/** Names that people chose: no controls, no marks that turn the direction of text, bounded. */
export function printable(text: string, maxCharacters = 100): string {
  return text
    .normalize('NFC')
    .replace(/[\p{Cc}\p{Cf}\p{Cs}\p{Zl}\p{Zp}]/gu, '')
    .slice(0, maxCharacters)
    .trim();
}
