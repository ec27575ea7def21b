/** Identity: lower-case hex SHA-256 of a client certificate's DER SubjectPublicKeyInfo, as KES. */
declare const identity: unique symbol;

export type Identity = string & { readonly [identity]: true };

const identityPattern = /^[0-9a-f]{64}$/;

/** Returns undefined for anything but 64 lower-case hex digits. */
export function parseIdentity(text: string): Identity | undefined {
  return identityPattern.test(text) ? (text as Identity) : undefined;
}
