import t from 'tap';
import { mebibyte, streamWithEveryClient } from '../real/object-clients.ts';

t.test('5 GiB through each client', { timeout: 3_000_000 }, async (t) => {
  await streamWithEveryClient(t, 5120 * mebibyte);
});
