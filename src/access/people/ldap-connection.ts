/**
 * One connection to a directory, always under TLS: `ldaps:` at once, `ldap:` by StartTLS (RFC 4511 §4.14) before anything else is said.
 *
 * TLS is made here and ldapts gets the finished socket. Its own StartTLS keeps bytes that arrived in clear, which could complete to an answer
 * under TLS ("NO STARTTLS", USENIX Security 2021), and it connects anew in clear when a connection breaks, the password next. The
 * socket is handed out once, so a broken connection stays broken.
 */
import { readFileSync } from 'node:fs';
import net from 'node:net';
import tls, { type TLSSocket } from 'node:tls';
import { Client } from 'ldapts';
import type { LdapAddress } from './ldap-names.ts';
import { read, unavailable } from './refusal.ts';

export interface LdapTransport {
  readonly address: LdapAddress;
  /** PEM; undefined: the system's. */
  readonly caFile: string | undefined;
}

/** The entry of one person and their groups: far below. A directory that sends more is cut off. */
const maxReceivedBytes = 8 * 1024 * 1024;

/** LDAPMessage { 1, [APPLICATION 23] { [0] 1.3.6.1.4.1.1466.20037 } } */
const startTlsRequest = Buffer.concat([
  Buffer.from([0x30, 0x1d, 0x02, 0x01, 0x01, 0x77, 0x18, 0x80, 0x16]),
  Buffer.from('1.3.6.1.4.1.1466.20037', 'latin1'),
]);

const maxStartTlsAnswerBytes = 4096;

/**
 * Runs `work` with a fresh connection and closes it, whatever happens, at the latest after `timeoutMs`.
 * @throws LoginError SELLO_LOGIN_UNAVAILABLE when there is no connection; what `work` throws
 */
export async function withDirectory<T>(
  { address, caFile }: LdapTransport,
  timeoutMs: number,
  work: (client: Client) => Promise<T>,
): Promise<T> {
  const held: { socket?: net.Socket } = {};
  let isLate = false;
  const end = (): void => void held.socket?.destroy();
  const timer = setTimeout(() => {
    isLate = true;
    end();
  }, timeoutMs);
  try {
    const ca = caFile === undefined ? undefined : read('CA of the directory', () => readFileSync(caFile));
    const secure = await connect(address, ca, held);
    let received = 0;
    secure.on('data', (chunk: Buffer) => {
      received += chunk.length;
      if (received > maxReceivedBytes) secure.destroy();
    });
    let isTaken = false;
    const client = new Client({
      url: 'ldap://directory',
      timeout: timeoutMs,
      createConnection: (() => {
        if (isTaken) throw new Error('connection lost');
        isTaken = true;
        return secure;
      }) as unknown as typeof net.connect,
    });
    return await work(client);
  } catch (error) {
    if (isLate) throw unavailable('directory too slow', `${address.host}:${String(address.port)}`, error);
    throw error;
  } finally {
    clearTimeout(timer);
    end();
  }
}

/** `held` has the outermost socket: to end the one below under a TLS socket that lives ends the process in Node 26. */
async function connect(
  { host, port, startTls }: LdapAddress,
  ca: Buffer | undefined,
  held: { socket?: net.Socket },
): Promise<TLSSocket> {
  const options: tls.ConnectionOptions = {
    host,
    ...(net.isIP(host) === 0 ? { servername: host } : {}),
    ...(ca === undefined ? {} : { ca }),
    minVersion: 'TLSv1.2',
    rejectUnauthorized: true,
  };
  try {
    if (startTls) {
      const plain = net.connect({ host, port });
      held.socket = plain;
      await happened(plain, 'connect');
      await askForTls(plain);
      const secure = tls.connect({ ...options, socket: plain });
      held.socket = secure;
      await happened(secure, 'secureConnect');
      return secure;
    }
    const secure = tls.connect({ ...options, port });
    held.socket = secure;
    await happened(secure, 'secureConnect');
    return secure;
  } catch (error) {
    const why = error instanceof Error ? error.message : 'unknown error';
    throw unavailable('directory not reachable under TLS', `${host}:${String(port)}: ${why}`, error);
  }
}

/** Resolves with the event; rejects when the socket fails or ends before. */
function happened(socket: net.Socket, event: 'connect' | 'secureConnect'): Promise<void> {
  return new Promise((resolve, reject) => {
    socket.once(event, () => resolve());
    socket.on('error', reject);
    socket.once('close', () => reject(new Error('connection closed')));
  });
}

/** One request, one answer of success, and not a byte behind it. */
function askForTls(socket: net.Socket): Promise<void> {
  return new Promise((resolve, reject) => {
    let answer = Buffer.alloc(0);
    const settle = (error?: Error): void => {
      socket.off('data', onData);
      socket.pause();
      if (error === undefined) resolve();
      else reject(error);
    };
    const onData = (chunk: Buffer): void => {
      answer = Buffer.concat([answer, chunk]);
      const verdict = judgeStartTlsAnswer(answer);
      if (verdict === 'more' && answer.length <= maxStartTlsAnswerBytes) return;
      if (verdict === 'ok') settle();
      else
        settle(
          new Error(verdict === 'refused' ? 'StartTLS refused' : 'StartTLS answered with something else'),
        );
    };
    socket.on('data', onData);
    socket.once('close', () => settle(new Error('connection closed before StartTLS')));
    socket.on('error', settle);
    socket.write(startTlsRequest);
  });
}

/** LDAPMessage { 1, [APPLICATION 24] { ENUMERATED 0, … } }, exactly that long. */
export function judgeStartTlsAnswer(answer: Buffer): 'ok' | 'more' | 'refused' | 'malformed' {
  const message = header(answer, 0);
  if (message === 'more') return 'more';
  if (message === undefined || message.tag !== 0x30) return 'malformed';
  if (answer.length < message.end) return 'more';
  if (answer.length > message.end) return 'malformed';
  const id = header(answer, message.start);
  if (id === undefined || id === 'more' || id.tag !== 0x02 || id.end > message.end) return 'malformed';
  if (answer.subarray(id.start, id.end).toString('hex') !== '01') return 'malformed';
  const response = header(answer, id.end);
  if (response === undefined || response === 'more' || response.tag !== 0x78 || response.end > message.end)
    return 'malformed';
  const code = header(answer, response.start);
  if (code === undefined || code === 'more' || code.tag !== 0x0a || code.end > response.end)
    return 'malformed';
  return answer.subarray(code.start, code.end).toString('hex') === '00' ? 'ok' : 'refused';
}

/** Tag and bounds of a BER element with a length of at most two bytes. */
function header(bytes: Buffer, at: number): { tag: number; start: number; end: number } | 'more' | undefined {
  const tag = bytes[at];
  const first = bytes[at + 1];
  if (tag === undefined || first === undefined) return 'more';
  if (first < 0x80) return { tag, start: at + 2, end: at + 2 + first };
  const count = first & 0x7f;
  if (count === 0 || count > 4) return undefined;
  if (bytes.length < at + 2 + count) return 'more';
  const start = at + 2 + count;
  const length = bytes.readUIntBE(at + 2, count);
  return length > maxStartTlsAnswerBytes ? undefined : { tag, start, end: start + length };
}
