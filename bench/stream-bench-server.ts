/** A server to measure, in a process of its own: Sello with its object API, or a plain TLS echo, on request one that collects its buffers as Sello does. */
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import os from 'node:os';
import path from 'node:path';
import tls from 'node:tls';
import { certificateOf, generateApiKey, parseApiKey, serverCertificate } from '../src/access/index.ts';
import { countStreamed } from '../src/api/objects/collection.ts';
import { parseConfig } from '../src/config/index.ts';
import { startServer } from '../src/server/index.ts';

const folder = mkdtempSync(path.join(os.tmpdir(), 'sello-bench-'));
process.on('exit', () => rmSync(folder, { recursive: true, force: true }));
process.on('SIGTERM', () => process.exit(0));
process.on('disconnect', () => process.exit(0));
process.on('message', () => {
  const { user, system } = process.cpuUsage();
  process.send!((user + system) / 1e6);
});

const made = serverCertificate({ names: ['localhost'], ips: ['127.0.0.1'], days: 1 });
const apiKey = parseApiKey(generateApiKey().reveal());
const client = certificateOf(apiKey);
const ready = (port: number) =>
  process.send!({ port, cert: client.certificatePem, key: client.privateKeyPem });

const [, , kind] = process.argv;
if (kind === 'echo' || kind === 'collecting echo') {
  const server = tls.createServer(
    { cert: made.certificatePem, key: made.privateKeyPem, minVersion: 'TLSv1.3' },
    (socket) => {
      socket.on('error', () => socket.destroy());
      if (kind === 'collecting echo') socket.on('data', (chunk) => countStreamed(chunk.length));
      socket.pipe(socket);
    },
  );
  server.listen(0, '127.0.0.1', () => ready((server.address() as { port: number }).port));
} else {
  writeFileSync(path.join(folder, 'server.crt'), made.certificatePem);
  writeFileSync(path.join(folder, 'server.key'), made.privateKeyPem, { mode: 0o600 });
  const config = parseConfig(
    `version: sello/v1
probes: off
listeners: [{address: "127.0.0.1:0", tls: {cert: server.crt, key: server.key}}]
audit: {mode: off}
tenants:
  - name: bench
    admins: [${apiKey.identity}]
    clients: {auth: off}
    keystore: {memory: {}}
    keys: [bench-key]
    audit: {path: audit.jsonl}
    objects: {key: bench-key}
`,
    { file: path.join(folder, 'sello.yaml'), env: {} },
  );
  const server = await startServer({ ...config, log: { ...config.log, level: 'error' } });
  ready(server.ports[0]!);
}
