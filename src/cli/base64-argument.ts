/** Base64 given by a person: the fault is named by its place, as KES's CLI does. */
import { decodeBase64Into } from '../crypto/index.ts';
import type { CliCommand } from './command.ts';

/**
 * @param what names the argument in the message, such as `context`
 * @throws Failure
 */
export function base64Argument(command: CliCommand, what: string, text: string | Uint8Array): Buffer {
  const source = typeof text === 'string' ? Buffer.from(text) : text;
  const target = Buffer.allocUnsafeSlow(Math.ceil(source.length / 4) * 3);
  const length = decodeBase64Into(target, source, 0, source.length);
  if (length < 0) {
    target.fill(0);
    throw command.misuse(`invalid ${what}: illegal base64 data at input byte ${String(-1 - length)}`);
  }
  return target.subarray(0, length);
}
