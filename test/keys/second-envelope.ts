/** The key envelope written again from docs/formats/key-envelope.md alone, with node:crypto, so that two hands agree on its bytes. */
import { createCipheriv, createHash, createHmac } from 'node:crypto';

export interface EnvelopeCase {
  readonly algorithm: 'AES256' | 'ChaCha20';
  readonly face: 'kes' | 'transit' | 'objects';
  readonly tenant: string;
  readonly version: number;
  /** Hexadecimal, as all below. */
  readonly key: string;
  readonly keyId: string;
  readonly salt: string;
  readonly context: string;
  readonly plaintext: string;
  /** Source 1 and 2: what stands at offset 96. */
  readonly source: { readonly kind: 0 | 1 | 2; readonly bytes: string };
  /** Format 2: the message's number in its series. */
  readonly number?: number;
}

export interface EnvelopeVector extends EnvelopeCase {
  readonly messageKey: string;
  readonly commitment: string;
  readonly innerContext: string;
  readonly envelope: string;
}

function u32(value: number): Buffer {
  const bytes = Buffer.alloc(4);
  bytes.writeUInt32BE(value);
  return bytes;
}

export function secondEnvelope(made: EnvelopeCase): EnvelopeVector {
  const faces = { kes: 1, transit: 2, objects: 3 } as const;
  const keyId = Buffer.from(made.keyId, 'hex');
  const seed = Buffer.concat([
    Buffer.from('SELLOWRP'),
    Buffer.from([
      made.number === undefined ? 1 : 2,
      made.algorithm === 'AES256' ? 1 : 2,
      faces[made.face],
      made.source.kind,
    ]),
    keyId,
    u32(made.version),
    Buffer.from(made.salt, 'hex'),
  ]);
  const block = (i: number): Buffer =>
    createHmac('sha256', Buffer.from(made.key, 'hex'))
      .update(Buffer.concat([u32(i), Buffer.from('sello key envelope v1\0'), seed, u32(512)]))
      .digest();
  const messageKey = block(1);
  const commitment = block(2);
  const own = Buffer.from(made.source.bytes, 'hex');
  const length = Buffer.alloc(2);
  length.writeUInt16BE(own.length);
  const header = Buffer.concat([seed, commitment, ...(made.source.kind === 1 ? [length] : []), own]);
  const hash = createHash('sha256');
  for (const part of [
    Buffer.from('sello key envelope context v1'),
    Buffer.from(made.tenant),
    keyId,
    Buffer.from(made.face),
    Buffer.from(made.context, 'hex'),
  ])
    hash.update(u32(part.length)).update(part);
  const innerContext = hash.digest();
  const number = u32(made.number ?? 0);
  const cipher = createCipheriv(
    (made.algorithm === 'AES256' ? 'aes-256-gcm' : 'chacha20-poly1305') as 'aes-256-gcm',
    messageKey,
    Buffer.concat([Buffer.alloc(8), number]),
    { authTagLength: 16 },
  );
  cipher.setAAD(Buffer.concat([header, innerContext]));
  const sealed = Buffer.concat([
    cipher.update(Buffer.from(made.plaintext, 'hex')),
    cipher.final(),
    cipher.getAuthTag(),
  ]);
  return {
    ...made,
    messageKey: messageKey.toString('hex'),
    commitment: commitment.toString('hex'),
    innerContext: innerContext.toString('hex'),
    envelope: Buffer.concat([header, ...(made.number === undefined ? [] : [number]), sealed]).toString('hex'),
  };
}
