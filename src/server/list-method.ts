/**
 * Vault's clients list with the method LIST, which Node's HTTP/1.1 parser does not know and refuses with the connection. A request line
 * that begins so is given to the parser as LINK, which it does know and nobody uses here, and gets its name back when it arrives as a
 * request. HTTP/2 takes any method.
 */
import type { IncomingMessage } from 'node:http';
import type { TLSSocket } from 'node:tls';

const listLine = Buffer.from('LIST /');
const linkLine = Buffer.from('LINK /');

const renamed = Symbol('a LIST request is on its way');
type ListingSocket = TLSSocket & { [renamed]?: boolean };

/**
 * @param isBetweenRequests whether what arrives next is a request line: bytes of a body are never touched. A request that is pipelined
 *   into the same piece as the end of another one is not looked at, and refused as before.
 */
export function acceptListMethod(socket: TLSSocket, isBetweenRequests: () => boolean): void {
  // A listener makes the parser read from JavaScript, where the same bytes can be changed before it sees them.
  socket.prependListener('data', (chunk: Buffer) => {
    if (chunk[0] !== listLine[0] || !chunk.subarray(0, listLine.length).equals(listLine)) return;
    if (!isBetweenRequests()) return;
    linkLine.copy(chunk);
    (socket as ListingSocket)[renamed] = true;
  });
}

/** Gives a request its method back. */
export function listMethodOf(
  request: Pick<IncomingMessage, 'method' | 'socket'> & { method?: string | undefined },
): void {
  const socket = request.socket as ListingSocket;
  if (socket[renamed] !== true) return;
  socket[renamed] = false;
  if (request.method === 'LINK') request.method = 'LIST';
}
