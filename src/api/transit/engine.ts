/** What is below the Transit engine's mount. */
import { dataKey, decrypt, encrypt, rewrap } from './crypt.ts';
import { configure, create, list, mac, random, read, remove, rotate, verify } from './keys.ts';
import type { TransitRoute } from './routes.ts';

export const engineRoutes: readonly TransitRoute[] = [
  { path: 'keys', operation: 'list', methods: { LIST: list } },
  { path: 'keys/', operation: 'list', methods: { LIST: list } },
  { path: 'keys/{name}', operation: 'describe', methods: { GET: read, POST: create, DELETE: remove } },
  { path: 'keys/{name}/config', operation: 'state', methods: { POST: configure } },
  { path: 'keys/{name}/rotate', operation: 'rotate', methods: { POST: rotate } },
  { path: 'encrypt/{name}', operation: 'encrypt', methods: { POST: encrypt } },
  { path: 'decrypt/{name}', operation: 'unwrap', methods: { POST: decrypt } },
  { path: 'rewrap/{name}', operation: 'rewrap', methods: { POST: rewrap } },
  { path: 'datakey/{kind}/{name}', operation: 'issue', methods: { POST: dataKey } },
  { path: 'hmac/{name}', operation: 'mac', methods: { POST: mac } },
  { path: 'hmac/{name}/{algorithm}', operation: 'mac', methods: { POST: mac } },
  { path: 'verify/{name}', operation: 'mac', methods: { POST: verify } },
  { path: 'verify/{name}/{algorithm}', operation: 'mac', methods: { POST: verify } },
  { path: 'random', operation: 'status', methods: { POST: random } },
  { path: 'random/{bytes}', operation: 'status', methods: { POST: random } },
  { path: 'random/{source}/{bytes}', operation: 'status', methods: { POST: random } },
];
