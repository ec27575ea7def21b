/**
 * `sello dev`: a server to try, from nothing: an encrypted keystore, a certificate and an admin API key are made in a folder and
 * found there again next time. Loopback only.
 */
import { X509Certificate, randomBytes } from 'node:crypto';
import { chmodSync, existsSync, mkdirSync, readFileSync, writeFileSync } from 'node:fs';
import path from 'node:path';
import { generateApiKey, parseApiKey, serverCertificate } from '../access/index.ts';
import { parseConfig } from '../config/index.ts';
import { startServer } from './server.ts';

export interface DevOptions {
  /** Where keys, certificate and audit log are kept. */
  readonly folder: string;
  readonly port: number;
  /** How a person calls this program: `npx sello` or `node src/main.ts`. */
  readonly command: string;
  readonly print: (line: string) => void;
}

/** Runs until a signal stops it; resolves to the exit status. */
export async function dev(options: DevOptions): Promise<number> {
  const { folder, port, command, print } = options;
  mkdirSync(path.join(folder, 'keys'), { recursive: true, mode: 0o700 });
  const file = (name: string): string => path.join(folder, name);
  const secret = (name: string, make: () => string): string => {
    if (!existsSync(file(name))) {
      writeFileSync(file(name), make(), { mode: 0o600, flag: 'wx' });
      chmodSync(file(name), 0o600);
    }
    return readFileSync(file(name), 'utf8').trim();
  };
  const apiKey = parseApiKey(secret('admin.key', () => generateApiKey().reveal()));
  secret('root.key', () => randomBytes(32).toString('base64'));
  if (!existsSync(file('server.crt')) || !existsSync(file('server.key'))) {
    const made = serverCertificate({ names: ['localhost'], ips: ['127.0.0.1', '::1'], days: 90 });
    writeFileSync(file('server.key'), made.privateKeyPem, { mode: 0o600 });
    writeFileSync(file('server.crt'), made.certificatePem);
  }
  const admin = apiKey.identity;
  const config = parseConfig(
    `version: sello/v1
probes: off
listeners: [{address: "127.0.0.1:${port}", tls: {cert: server.crt, key: server.key}}]
tenants:
  - name: dev
    admins: [${admin}]
    clients: {auth: off}
    keystore: {file: {path: keys, rootKey: {file: root.key}}}
    audit: {path: audit.jsonl}
`,
    { file: file('sello.yaml'), env: {} },
  );
  const server = await startServer({ ...config, file: undefined });
  const fingerprint = new X509Certificate(readFileSync(file('server.crt'))).fingerprint256;
  const at = `127.0.0.1:${server.ports[0]}`;
  print('');
  print(`Sello is listening on https://${at}`);
  print('');
  print(`  certificate   SHA-256 ${fingerprint}`);
  print(`  admin API key ${apiKey.reveal()}`);
  print(`  identity      ${admin}`);
  print(`  kept in       ${folder} (keys encrypted, root key beside them: for trying only)`);
  print('');
  print('Try it in another terminal:');
  print('');
  print(`  export MINIO_KES_SERVER=${at} MINIO_KES_API_KEY=${apiKey.reveal()}`);
  print(`  ${command} key create -k my-key        # make a master key`);
  print(`  ${command} key dek -k my-key           # issue a data key: plaintext and ciphertext`);
  print(`  ${command} key decrypt -k my-key CIPHERTEXT   # unwrap it again`);
  print('');
  print(`A MinIO server: MINIO_KMS_KES_ENDPOINT=https://${at} MINIO_KMS_KES_API_KEY=${apiKey.reveal()}`);
  print(
    `                MINIO_KMS_KES_KEY_NAME=my-key MINIO_KMS_KES_CAPATH=${file('server.crt')} minio server DATA`,
  );
  print('');
  print('Ctrl-C stops it.');
  return new Promise((resolve) => {
    const stop = (): void => {
      server.stop().then(
        () => resolve(0),
        () => resolve(1),
      );
    };
    process.once('SIGTERM', stop);
    process.once('SIGINT', stop);
  });
}
