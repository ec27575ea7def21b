/** Vault's Transit and KV 2, for clients of Vault. */
export { rewriteTransitUrl, transitPlugin } from './plugin.ts';
