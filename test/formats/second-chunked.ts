/**
 * c2sp.org/chunked-encryption a second time, from its text and in the plainest way: whole messages, no streaming, none of our
 * code. Ours is held against it.
 */
import { createCipheriv, createDecipheriv, createHmac } from 'node:crypto';

const chunk = 16_384;

function expand(key: Buffer, info: Buffer): { key: Buffer; nonce: Buffer; commitment: Buffer } {
  const first = createHmac('sha512', key).update(info).update(Buffer.of(1)).digest();
  const second = createHmac('sha512', key).update(first).update(info).update(Buffer.of(2)).digest();
  const all = Buffer.concat([first, second]);
  return { key: all.subarray(0, 32), nonce: all.subarray(32, 44), commitment: all.subarray(44, 76) };
}

function info(salt: Buffer, context: Buffer): Buffer {
  return Buffer.concat([
    Buffer.from('c2sp.org/chunked-encryption@v1+AEAD_AES_256_GCM'),
    Buffer.of(0),
    salt,
    context,
  ]);
}

function nonceOf(base: Buffer, index: number): Buffer {
  const value = BigInt(`0x${base.toString('hex')}`) ^ BigInt(index);
  return Buffer.from(value.toString(16).padStart(24, '0'), 'hex');
}

export function sealChunked(key: Buffer, context: Buffer, salt: Buffer, message: Buffer): Buffer {
  const derived = expand(key, info(salt, context));
  const out = [salt, derived.commitment];
  for (let index = 0; index <= Math.floor(message.length / chunk); index++) {
    const cipher = createCipheriv('aes-256-gcm', derived.key, nonceOf(derived.nonce, index), {
      authTagLength: 16,
    });
    out.push(
      cipher.update(message.subarray(index * chunk, (index + 1) * chunk)),
      cipher.final(),
      cipher.getAuthTag(),
    );
  }
  return Buffer.concat(out);
}

/** Throws when the message is not authentic. */
export function openChunked(key: Buffer, context: Buffer, sealed: Buffer): Buffer {
  const derived = expand(key, info(sealed.subarray(0, 24), context));
  if (!derived.commitment.equals(sealed.subarray(24, 56))) throw new Error('commitment');
  const out: Buffer[] = [];
  let at = 56;
  for (let index = 0; ; index++) {
    const end = Math.min(sealed.length, at + chunk + 16);
    if (end - at < 16) throw new Error('truncated');
    const decipher = createDecipheriv('aes-256-gcm', derived.key, nonceOf(derived.nonce, index), {
      authTagLength: 16,
    });
    decipher.setAuthTag(sealed.subarray(end - 16, end));
    out.push(decipher.update(sealed.subarray(at, end - 16)), decipher.final());
    if (end - at < chunk + 16) {
      if (end !== sealed.length) throw new Error('trailing');
      return Buffer.concat(out);
    }
    at = end;
  }
}
