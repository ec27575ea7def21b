/** curl, Go's net/http and undici stream an object both ways. 5 GiB: test/long/object-clients.test.ts. */
import t from 'tap';
import { mebibyte, streamWithEveryClient } from './object-clients.ts';

t.test('96 MiB through each client', { timeout: 120_000 }, async (t) => {
  await streamWithEveryClient(t, 96 * mebibyte + 12_345);
});
