/** Asymmetric, with SHA-2. With a symmetric one in the list, the provider's public key would do as its secret. */
export const tokenAlgorithms = [
  'RS256', 'RS384', 'RS512', 'PS256', 'PS384', 'PS512', 'ES256', 'ES384', 'ES512', 'EdDSA', 'Ed25519',
] as const; // prettier-ignore

export type TokenAlgorithm = (typeof tokenAlgorithms)[number];

export const defaultTokenAlgorithms: readonly TokenAlgorithm[] = ['RS256', 'PS256', 'ES256', 'EdDSA'];
