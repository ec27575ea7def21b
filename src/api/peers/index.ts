/** What replicas tell each other of keys (docs/resilience.md, Peers). */
export {
  maxMessageBytes,
  maxMessageItems,
  parsePage,
  type Cursor,
  type Page,
  type TenantItem,
} from './messages.ts';
export { peersPlugin, peersPrefix, replicaHeader, type PeersPluginOptions } from './plugin.ts';
