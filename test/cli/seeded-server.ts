/** A Sello server as the recorded KES server was: its configuration, its four keys, its certificates; and a folder to work in. */
import { cpSync, mkdirSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import net from 'node:net';
import os from 'node:os';
import path from 'node:path';
import { loadConfig } from '../../src/config/index.ts';
import { startServer } from '../../src/server/index.ts';

const pki = path.join(import.meta.dirname, '../fixtures/pki');
const recording = path.join(import.meta.dirname, '../wire/kes/routes.json');

export interface SeededServer {
  /** `127.0.0.1:port`. */
  readonly address: string;
  /** `127.0.0.1:port` where nothing listens. */
  readonly closedAddress: string;
  /** Holds the certificates and keys of clients and whatever commands write. */
  readonly folder: string;
  close(): Promise<void>;
}

export async function startSeededServer(): Promise<SeededServer> {
  const folder = mkdtempSync(path.join(os.tmpdir(), 'sello-cli-'));
  cpSync(pki, folder, { recursive: true });
  const { server_config: yaml, fixture_keys: keys } = JSON.parse(readFileSync(recording, 'utf8')) as {
    server_config: string;
    fixture_keys: Record<string, string>;
  };
  const keystore = path.join(folder, 'keys');
  mkdirSync(keystore);
  for (const [name, value] of Object.entries(keys)) writeFileSync(path.join(keystore, name), value);
  const file = path.join(folder, 'server.yml');
  // The recorder's folder was the working directory; ours is not.
  const text = yaml.replace(/^address: .*$/m, 'address: 127.0.0.1:0').replaceAll(/(: )\.\//g, `$1${folder}/`);
  writeFileSync(file, text);
  const config = await loadConfig(file, { env: {} });
  const server = await startServer({ ...config, log: { ...config.log, level: 'silent' } });
  return {
    address: `127.0.0.1:${String(server.ports[0]!)}`,
    closedAddress: `127.0.0.1:${String(await closedPort())}`,
    folder,
    async close() {
      await server.stop();
      rmSync(folder, { recursive: true, force: true });
    },
  };
}

/** A port that was free a moment ago. */
export async function closedPort(): Promise<number> {
  const listener = net.createServer().listen(0, '127.0.0.1');
  await new Promise((resolve) => listener.once('listening', resolve));
  const { port } = listener.address() as net.AddressInfo;
  await new Promise((resolve) => listener.close(resolve));
  return port;
}

/** Environment of a command that speaks for one of the recorded clients. */
export function clientEnv(server: SeededServer, client = 'admin'): Record<string, string> {
  return {
    MINIO_KES_SERVER: server.address,
    MINIO_KES_KEY_FILE: `${client}.key`,
    MINIO_KES_CERT_FILE: `${client}.crt`,
  };
}
