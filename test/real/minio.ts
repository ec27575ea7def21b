/** A MinIO server on one folder or several, S3 over plain HTTP or TLS, its key server as configured. */
import { copyFile, mkdir, readFile } from 'node:fs/promises';
import { join } from 'node:path';
import type { TestAuthority } from './certificates.ts';
import { freePort, RunningProcess } from './process.ts';
import { S3 } from './s3.ts';

export interface MinioOptions {
  /** Path of the program. */
  readonly program: string;
  readonly folder: string;
  /** `MINIO_KMS_…` variables. */
  readonly kms: Readonly<Record<string, string>>;
  /** Objects are spread over so many folders `data1`, `data2`, …; in the one folder `data` unless said otherwise. */
  readonly drives?: number;
  /** Serves TLS with a certificate of this CA; SSE-C needs it. */
  readonly tls?: TestAuthority;
}

const rootUser = 'minio-test';
const rootPassword = 'minio-test-secret';

export class Minio {
  readonly s3: S3;
  readonly endpoint: string;
  readonly #options: MinioOptions;
  readonly #port: number;
  #process: RunningProcess | undefined;

  private constructor(options: MinioOptions, port: number, ca?: Buffer) {
    this.#options = options;
    this.#port = port;
    this.endpoint = `${ca === undefined ? 'http' : 'https'}://127.0.0.1:${String(port)}`;
    this.s3 = new S3({ endpoint: this.endpoint, accessKey: rootUser, secretKey: rootPassword, ca });
  }

  static async start(options: MinioOptions): Promise<Minio> {
    const { folder, tls } = options;
    const ca = tls === undefined ? undefined : await readFile(tls.ca);
    const minio = new Minio(options, await freePort(), ca);
    for (const drive of minio.drives) await mkdir(drive, { recursive: true });
    if (tls !== undefined) {
      const { cert, key } = await tls.issue('minio', 'server');
      await mkdir(join(folder, 'certs/CAs'), { recursive: true });
      await copyFile(cert, join(folder, 'certs/public.crt'));
      await copyFile(key, join(folder, 'certs/private.key'));
      await copyFile(tls.ca, join(folder, 'certs/CAs/ca.crt'));
    }
    await minio.#run();
    return minio;
  }

  /** Folders in which objects lie: `DRIVE/BUCKET/OBJECT`. */
  get drives(): readonly string[] {
    const { folder, drives } = this.#options;
    if (drives === undefined) return [join(folder, 'data')];
    return Array.from({ length: drives }, (_, i) => join(folder, `data${i + 1}`));
  }

  async #run(): Promise<void> {
    const { program, folder, kms } = this.#options;
    this.#process = await RunningProcess.start({
      command: program,
      args: [
        'server',
        ...this.drives,
        `--address=127.0.0.1:${String(this.#port)}`,
        `--certs-dir=${join(folder, 'certs')}`,
        '--anonymous',
      ],
      env: {
        HOME: folder,
        MINIO_ROOT_USER: rootUser,
        MINIO_ROOT_PASSWORD: rootPassword,
        MINIO_BROWSER: 'off',
        MINIO_UPDATE: 'off',
        MINIO_CI_CD: '1',
        ...kms,
      },
      log: join(folder, 'minio.log'),
      readyWithinMs: 30_000,
      // The liveness page answers before the object layer and the key server are there; a listing does not.
      isReady: async () => (await this.s3.call('GET', '/')).status === 200,
    });
  }

  async restart(): Promise<void> {
    await this.stop();
    await this.#run();
  }

  async stop(): Promise<void> {
    await this.#process?.stop();
  }

  async output(): Promise<string> {
    return (await this.#process?.output()) ?? '';
  }

  async close(): Promise<void> {
    await this.stop();
    await this.s3.close();
  }
}
