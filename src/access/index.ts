/** The door of access/: who a caller is and what it may do. */
export { compileGlob } from './glob.ts';
export { parseIdentity } from './identity.ts';
export type { Identity } from './identity.ts';
export { kesRouteOf, kesRoutes, kesRoutesWithoutPolicy } from './kes-routes.ts';
export type { KesRoute } from './kes-routes.ts';
export { operations } from './operations.ts';
export type { Face, Operation } from './operations.ts';
export { judgePeer, peerFactsOfCertificates, peerFactsOfSocket, refuseByShape } from './peer.ts';
export type {
  AcceptedPeer,
  PeerFacts,
  PeerReason,
  PeerVerdict,
  RefusedPeer,
  TenantClientAuth,
} from './peer.ts';
export { compileAccess, explain } from './policy.ts';
export type { Access, AccessRequest, Decision, PolicyView, RuleExplanation } from './policy.ts';
export { forwardedAddress, parseClientCertificateHeader } from './proxy-header.ts';
export { buildTrust, loadTrust } from './trust.ts';
export type { TrustSnapshot } from './trust.ts';
export { ApiKey, certificateOf, generateApiKey, parseApiKey } from './api-key.ts';
export { identityOfCertificate } from './certificate.ts';
export { issueCertificate, serverCertificate } from './issue-certificate.ts';
