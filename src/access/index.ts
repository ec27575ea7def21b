/** Who may do what: identities, certificates, policies, API keys. */
export { ApiKey, certificateOf, generateApiKey, parseApiKey } from './api-key.ts';
export { identityOfCertificate } from './certificate.ts';
export { kesRouteOf, kesRoutes } from './kes-routes.ts';
export { parseIdentity, type Identity } from './identity.ts';
export { issueCertificate, serverCertificate, type IssuedCertificate } from './issue-certificate.ts';
export { operations, type Face, type Operation } from './operations.ts';
export { judgePeer, peerFactsOfSocket, refuseByShape, type PeerFacts, type RefusedPeer } from './peer.ts';
export { compileAccess, explain, type Access, type AccessRequest, type Decision, type PolicyView } from './policy.ts';
