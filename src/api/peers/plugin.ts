/**
 * What replicas ask of each other: `tell` takes items, `pull` gives those since a place. Both are for peers alone; the listener has
 * made sure of that before a request comes here, and does so again for each.
 */
import type { FastifyInstance, FastifyRequest } from 'fastify';
import { parseCursor, parseItems, type Cursor, type Page, type TenantItem } from './messages.ts';

export const peersPrefix = '/peers/v1/';
export const replicaHeader = 'x-sello-replica';

export interface PeersPluginOptions {
  /** Of this server, so that one that asks itself knows. */
  readonly replica: string;
  /** @param teller names who tells, as his certificate does */
  readonly take: (items: readonly TenantItem[], teller: string) => Promise<void>;
  readonly tellerOf: (request: FastifyRequest) => string;
  /** @throws an error with `statusCode` 429 for who asks for too much */
  readonly page: (cursor: Cursor, asker: string) => Page;
}

export function peersPlugin(
  app: FastifyInstance,
  { page, replica, take, tellerOf }: PeersPluginOptions,
  done: () => void,
): void {
  app.addHook('onSend', async (_request, reply) => {
    reply.header(replicaHeader, replica);
  });
  app.post(`${peersPrefix}tell`, async (request, reply) => {
    const items = parseItems(request.body);
    if (items === undefined) return reply.code(400).send({ error: 'no items' });
    await take(items, tellerOf(request));
    return reply.code(204).send();
  });
  app.post(`${peersPrefix}pull`, async (request, reply) => {
    const cursor = parseCursor(request.body);
    return cursor === undefined
      ? reply.code(400).send({ error: 'no cursor' })
      : page(cursor, tellerOf(request));
  });
  done();
}
