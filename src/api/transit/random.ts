/** Random bytes of the Transit engine. */
import { takeRandom } from '../../crypto/index.ts';
import { goJson } from '../../go-json.ts';
import { fault, type Piece } from './answers.ts';
import type { EngineHandler } from './engine.ts';

/** Vault's bound. */
const maxRandomBytes = 131_072;
const defaultBytes = 32;
const sources: ReadonlySet<string> = new Set(['platform', 'seal', 'all']);
const noSeal = 'no seal/entropy augmentation available, using platform entropy source';

const randomFields = { bytes: 'int', format: 'string' } as const;

export const random: EngineHandler<typeof randomFields> = {
  fields: randomFields,
  inPath: ['source', 'urlbytes'],
  handle(call, parameters, { values }) {
    call.authorize('status', undefined);
    const { bytes = defaultBytes, format = 'base64' } = values();
    // One segment is a source or a number.
    const isSource = parameters['source'] === undefined && sources.has(parameters['bytes'] ?? '');
    const source = isSource ? parameters['bytes']! : (parameters['source'] ?? 'platform');
    const text = isSource ? '' : (parameters['bytes'] ?? '');
    if (text !== '' && !/^[+-]?\d{1,9}$/.test(text))
      throw fault(
        400,
        `error parsing url-set byte count: strconv.Atoi: parsing ${goJson(text)}: invalid syntax`,
      );
    const count = text === '' ? bytes : Number(text);
    if (count < 1) throw fault(400, '"bytes" cannot be less than 1');
    if (count > maxRandomBytes) throw fault(400, `"bytes" should be less than ${String(maxRandomBytes)}`);
    if (format !== 'hex' && format !== 'base64')
      throw fault(400, `unsupported encoding format ${goJson(format)}; must be "hex" or "base64"`);
    if (!sources.has(source))
      throw fault(
        400,
        `unsupported entropy source ${goJson(source)}; must be "platform" or "seal", or "all"`,
      );
    const made = takeRandom(count);
    const value: Piece = format === 'hex' ? made.toString('hex') : { secret: made };
    if (format === 'hex') made.fill(0);
    return {
      status: 200,
      pieces: ['{"random_bytes":"', value, '"}'],
      mountType: 'transit',
      ...(source === 'seal' ? { warnings: [noSeal] } : {}),
    };
  },
};
