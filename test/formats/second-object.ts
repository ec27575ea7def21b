/**
 * Sello object 1 and its envelope a second time, from docs/formats and in the plainest way, with none of our code: what ours is held
 * against, and what an attacker would write.
 */
import { createCipheriv, createDecipheriv, createHmac, hkdfSync } from 'node:crypto';

export type Aead = 'aes-256-gcm' | 'chacha20-poly1305';

const names: Record<Aead, string> = {
  'aes-256-gcm': 'AEAD_AES_256_GCM',
  'chacha20-poly1305': 'AEAD_CHACHA20_POLY1305',
};

function prefixed(...texts: string[]): Buffer {
  return Buffer.concat(
    texts.flatMap((text) => {
      const length = Buffer.alloc(4);
      length.writeUInt32BE(Buffer.byteLength(text));
      return [length, Buffer.from(text)];
    }),
  );
}

export interface Derived {
  readonly key: Buffer;
  readonly nonce: Buffer;
  readonly commitment: Buffer;
}

function split(bytes: Buffer): Derived {
  return { key: bytes.subarray(0, 32), nonce: bytes.subarray(32, 44), commitment: bytes.subarray(44, 76) };
}

export interface StreamFacts {
  readonly aead: Aead;
  readonly segmentBytes: number;
  readonly part: number;
  readonly salt: Buffer;
  readonly tenant: string;
  readonly objectId: Buffer;
}

export function deriveStream(objectKey: Buffer, facts: StreamFacts): Derived {
  const numbers = Buffer.alloc(8);
  numbers.writeUInt32BE(facts.segmentBytes, 0);
  numbers.writeUInt32BE(facts.part, 4);
  const info = Buffer.concat([
    Buffer.from(`sello-object@v1+${names[facts.aead]}\0`),
    facts.salt,
    numbers,
    facts.objectId,
    prefixed(facts.tenant),
  ]);
  const first = createHmac('sha512', objectKey).update(info).update(Buffer.of(1)).digest();
  const second = createHmac('sha512', objectKey).update(first).update(info).update(Buffer.of(2)).digest();
  return split(Buffer.concat([first, second]));
}

export function headerOf(facts: StreamFacts, commitment: Buffer): Buffer {
  const numbers = Buffer.alloc(8);
  numbers[0] = facts.aead === 'aes-256-gcm' ? 1 : 2;
  numbers[1] = Math.log2(facts.segmentBytes);
  numbers.writeUInt32BE(facts.part, 4);
  return Buffer.concat([Buffer.from('SELLO-O1'), numbers, facts.salt, commitment]);
}

export function nonceOf(base: Buffer, index: number): Buffer {
  const value = BigInt(`0x${base.toString('hex')}`) ^ BigInt(index);
  return Buffer.from(value.toString(16).padStart(24, '0'), 'hex');
}

export function sealObject(objectKey: Buffer, facts: StreamFacts, message: Buffer): Buffer {
  const { key, nonce, commitment } = deriveStream(objectKey, facts);
  const out = [headerOf(facts, commitment)];
  for (let index = 0; index <= Math.floor(message.length / facts.segmentBytes); index++) {
    const cipher = createCipheriv(facts.aead as 'aes-256-gcm', key, nonceOf(nonce, index), {
      authTagLength: 16,
    });
    const segment = message.subarray(index * facts.segmentBytes, (index + 1) * facts.segmentBytes);
    out.push(cipher.update(segment), cipher.final(), cipher.getAuthTag());
  }
  return Buffer.concat(out);
}

/** What a reader without commitment would make of one segment; throws when its tag is wrong. */
export function openSegment({ key, nonce }: Derived, aead: Aead, index: number, sealed: Buffer): Buffer {
  const decipher = createDecipheriv(aead as 'aes-256-gcm', key, nonceOf(nonce, index), { authTagLength: 16 });
  decipher.setAuthTag(sealed.subarray(-16));
  return Buffer.concat([decipher.update(sealed.subarray(0, -16)), decipher.final()]);
}

export interface Place {
  readonly tenant: string;
  readonly bucket: string;
  readonly object: string;
  readonly versionId?: string;
}

export function deriveEnvelope(protectingKey: Buffer, salt: Buffer, mode: number, place: Place): Derived {
  const { tenant, bucket, object, versionId } = place;
  const names = prefixed(tenant, bucket, object, ...(versionId === undefined ? [] : [versionId]));
  const info = Buffer.concat([
    Buffer.from('sello-envelope@v1+AEAD_AES_256_GCM\0'),
    Buffer.of(mode, versionId === undefined ? 0 : 1),
    names,
  ]);
  return split(Buffer.from(hkdfSync('sha512', protectingKey, salt, info, 76)));
}

/** The object key of an envelope, or a throw. */
export function openEnvelope(envelope: Buffer, protectingKey: Buffer, place: Place): Buffer {
  const { key, nonce, commitment } = deriveEnvelope(
    protectingKey,
    envelope.subarray(32, 64),
    envelope[12]!,
    place,
  );
  if (!commitment.equals(envelope.subarray(64, 96))) throw new Error('commitment');
  const decipher = createDecipheriv('aes-256-gcm', key, nonce, { authTagLength: 16 });
  decipher.setAAD(Buffer.concat([envelope.subarray(0, 64), envelope.subarray(144)]));
  decipher.setAuthTag(envelope.subarray(128, 144));
  return Buffer.concat([decipher.update(envelope.subarray(96, 128)), decipher.final()]);
}
