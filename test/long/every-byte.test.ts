import t from 'tap';
import { changeBytes } from '../sse/changed-bytes.ts';

for (const aead of ['aes-256-gcm', 'chacha20-poly1305'] as const) {
  t.test(`every byte of a three-segment object changed: ${aead}`, async (t) => {
    t.equal(await changeBytes(t, aead, 1), 80 + 2 * 65_552 + 116);
  });
}
