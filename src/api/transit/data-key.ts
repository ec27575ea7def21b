/** Data keys of the Transit engine: random bytes and their ciphertext, or the ciphertext alone. */
import { takeRandom } from '../../crypto/index.ts';
import { fault, oneError } from './answers.ts';
import { admit, singleItem } from './batch.ts';
import { bindingOf, nonceRefused, sealedAs, versionToSeal } from './crypt.ts';
import type { EngineHandler } from './engine.ts';
import { keyNamed } from './key-name.ts';

const bitLengths = new Set([128, 256, 512]);
const defaultBits = 256;

const dataKeyFields = {
  context: 'string', nonce: 'string', associated_data: 'string', bits: 'int', key_version: 'int', padding_scheme: 'string',
} as const; // prettier-ignore

export const dataKey: EngineHandler<typeof dataKeyFields> = {
  fields: dataKeyFields,
  inPath: ['plaintext', 'name'],
  async handle(call, { kind = '', name = '' }, input) {
    const key = keyNamed(name);
    call.subject = { key };
    const { items } = admit(call, 'issue', key, () => ({
      items: [singleItem('', input.values())],
      isBatch: false,
      partialStatus: undefined,
    }));
    const read = items[0]!;
    if (kind !== 'plaintext' && kind !== 'wrapped')
      throw fault(400, "Invalid path, must be 'plaintext' or 'wrapped'");
    if (typeof read.context === 'string') throw fault(400, 'failed to base64-decode context');
    if (typeof read.nonce === 'string') throw fault(400, 'failed to base64-decode nonce');
    const { bits = defaultBits } = input.values();
    if (!bitLengths.has(bits)) throw fault(400, 'invalid bit length');
    const { keys } = call.tenant;
    const settings = await keys.transitSettings(key, true);
    if (read.nonce.length > 0) throw fault(500, oneError(nonceRefused));
    const version = await versionToSeal(call, key, read.version);
    const { binding, told } = bindingOf(call, key, settings, read);
    const plaintext = takeRandom(bits / 8);
    try {
      const sealed = sealedAs(key, told, await keys.encrypt(key, plaintext, binding, 'transit', version));
      call.subject = sealed.subject;
      await call.release(200);
      const rest = `"ciphertext":"${sealed.ciphertext}","key_version":${String(sealed.version)}`;
      if (kind === 'plaintext')
        return {
          status: 200,
          pieces: [`{${rest},"plaintext":"`, { secret: plaintext }, '"}'],
          mountType: 'transit',
        };
      plaintext.fill(0);
      return { status: 200, pieces: [`{${rest}}`], mountType: 'transit' };
    } catch (error) {
      plaintext.fill(0);
      throw error;
    }
  },
};
