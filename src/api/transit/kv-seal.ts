/** What the KV engine keeps is sealed under a master key of the tenant's own, made when it is first needed. */
import { framed } from '../../crypto/index.ts';
import { hasCode } from '../../errors.ts';
import { parseKeyName, type TenantKeys } from '../../keys/index.ts';

/** No client of this face can name it; every other face treats it as any key. */
export const reservedKey = parseKeyName('sello_transit_kv');

const label = Buffer.from('sello transit kv v1');

/** A record belongs to its place. */
function contextOf(place: string): Buffer {
  return framed(label, Buffer.from(place));
}

export async function sealRecord(keys: TenantKeys, place: string, plaintext: Buffer): Promise<Buffer> {
  try {
    await keys.transitSettings(reservedKey, true);
  } catch (error) {
    if (!hasCode(error, 'SELLO_KEY_NOT_FOUND')) throw error;
    try {
      await keys.createForTransit(reservedKey, { algorithm: 'AES256', derived: true }, 'transit');
    } catch (made) {
      if (!hasCode(made, 'SELLO_KEY_EXISTS')) throw made; // another process made it
    }
  }
  return keys.encrypt(reservedKey, plaintext, contextOf(place), 'transit');
}

/** @throws SelloError SELLO_CIPHERTEXT_NOT_AUTHENTIC for what was not sealed for this place */
export async function openRecord(keys: TenantKeys, place: string, sealed: Buffer): Promise<Buffer> {
  return keys.unwrap(reservedKey, sealed, contextOf(place), 'transit');
}
