/**
 * The rival: what a Node server does at the least to answer generate and decrypt over mTLS. node:http2 core streams
 * on one port, node:https on another, JSON.parse and JSON.stringify, the same crypto as Sello's; no routing, names,
 * policy, audit, metrics, limits or log. Any key name stands for the one key that lives in memory.
 *
 * The crypto is a key per message by HMAC-SHA256, then AES-256-GCM, either with node:crypto as it comes (`plain`) or with
 * Sello's own code for it (`prepared`: derivation without Hmac objects, random bytes from a slab).
 *
 * node bench/bare-server.ts CERT KEY plain|prepared    prints {"h2":PORT,"h1":PORT}
 */
import { createCipheriv, createDecipheriv, createHmac, randomBytes } from 'node:crypto';
import { readFileSync } from 'node:fs';
import { createSecureServer, type ServerHttp2Stream } from 'node:http2';
import { createServer } from 'node:https';
import type { AddressInfo } from 'node:net';
import { instantFromDate, issueDataKey, MasterKey, open } from '../src/keys/index.ts';

const [certFile, keyFile, kind] = process.argv.slice(2);
if (certFile === undefined || keyFile === undefined || (kind !== 'plain' && kind !== 'prepared'))
  throw new Error('usage: bare-server.ts CERT KEY plain|prepared');

interface Crypto {
  issue(context: Buffer): { plaintext: Buffer; ciphertext: Buffer };
  open(ciphertext: Buffer, context: Buffer): Buffer;
}

const key = randomBytes(32);

/** KES's version 3 ciphertext: sealed data key (32) ‖ tag (16) ‖ salt (16) ‖ nonce (12). */
const plain: Crypto = {
  issue: (context) => {
    const plaintext = randomBytes(32);
    const [salt, nonce] = [randomBytes(16), randomBytes(12)];
    const cipher = createCipheriv('aes-256-gcm', createHmac('sha256', key).update(salt).digest(), nonce);
    cipher.setAAD(context);
    const sealed = cipher.update(plaintext);
    cipher.final();
    return { plaintext, ciphertext: Buffer.concat([sealed, cipher.getAuthTag(), salt, nonce]) };
  },
  open: (ciphertext, context) => {
    const [sealed, tag] = [ciphertext.subarray(0, -44), ciphertext.subarray(-44, -28)];
    const [salt, nonce] = [ciphertext.subarray(-28, -12), ciphertext.subarray(-12)];
    const decipher = createDecipheriv('aes-256-gcm', createHmac('sha256', key).update(salt).digest(), nonce);
    decipher.setAAD(context);
    decipher.setAuthTag(tag);
    const plaintext = decipher.update(sealed);
    decipher.final();
    return plaintext;
  },
};

const masterKey = new MasterKey(key, undefined, {
  algorithm: 'AES256',
  createdAt: instantFromDate(new Date()),
  createdBy: '',
});
const prepared: Crypto = {
  issue: (context) => issueDataKey(masterKey, context),
  open: (ciphertext, context) => open(masterKey, ciphertext, context),
};

const crypto = kind === 'plain' ? plain : prepared;

interface Body {
  readonly context?: string;
  readonly ciphertext?: string;
}

function answer(path: string, received: Buffer): Buffer | undefined {
  const body = JSON.parse(received.toString()) as Body;
  const context = Buffer.from(body.context ?? '', 'base64');
  if (path.startsWith('/v1/key/generate/')) {
    const { plaintext, ciphertext } = crypto.issue(context);
    return Buffer.from(
      JSON.stringify({ plaintext: plaintext.toString('base64'), ciphertext: ciphertext.toString('base64') }),
    );
  }
  if (path.startsWith('/v1/key/decrypt/')) {
    const plaintext = crypto.open(Buffer.from(body.ciphertext ?? '', 'base64'), context);
    return Buffer.from(JSON.stringify({ plaintext: plaintext.toString('base64') }));
  }
  return undefined;
}

const tls = {
  cert: readFileSync(certFile),
  key: readFileSync(keyFile),
  requestCert: true,
  rejectUnauthorized: false,
};

const h2 = createSecureServer(tls);
h2.on('stream', (stream: ServerHttp2Stream, headers) => {
  const chunks: Buffer[] = [];
  stream.on('data', (chunk: Buffer) => chunks.push(chunk));
  stream.on('error', () => undefined);
  stream.on('end', () => {
    const sent = answer(headers[':path'] ?? '', chunks.length === 1 ? chunks[0]! : Buffer.concat(chunks));
    if (sent === undefined) {
      stream.respond({ ':status': 404 }, { endStream: true });
      return;
    }
    stream.respond({ ':status': 200, 'content-type': 'application/json', 'content-length': sent.length });
    stream.end(sent);
  });
});

const h1 = createServer(tls, (request, response) => {
  const chunks: Buffer[] = [];
  request.on('data', (chunk: Buffer) => chunks.push(chunk));
  request.on('end', () => {
    const sent = answer(request.url ?? '', chunks.length === 1 ? chunks[0]! : Buffer.concat(chunks));
    response.writeHead(sent === undefined ? 404 : 200, {
      'content-type': 'application/json',
      'content-length': sent?.length ?? 0,
    });
    response.end(sent);
  });
});

h2.listen(0, '127.0.0.1', () => {
  h1.listen(0, '127.0.0.1', () => {
    const port = (server: { address(): AddressInfo | string | null }): number =>
      (server.address() as AddressInfo).port;
    console.log(JSON.stringify({ h2: port(h2), h1: port(h1) }));
  });
});

process.once('SIGTERM', () => process.exit(0));
