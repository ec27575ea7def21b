/** A MinIO server on one folder, plain HTTP for S3, its key server as configured. */
import { mkdir } from 'node:fs/promises';
import { join } from 'node:path';
import { freePort, RunningProcess } from './process.ts';
import { S3 } from './s3.ts';

export interface MinioOptions {
  /** Path of the program. */
  readonly program: string;
  readonly folder: string;
  /** `MINIO_KMS_…` variables. */
  readonly kms: Readonly<Record<string, string>>;
}

const rootUser = 'minio-test';
const rootPassword = 'minio-test-secret';

export class Minio {
  readonly s3: S3;
  readonly endpoint: string;
  readonly #options: MinioOptions;
  readonly #port: number;
  #process: RunningProcess | undefined;

  private constructor(options: MinioOptions, port: number) {
    this.#options = options;
    this.#port = port;
    this.endpoint = `http://127.0.0.1:${String(port)}`;
    this.s3 = new S3({ endpoint: this.endpoint, accessKey: rootUser, secretKey: rootPassword });
  }

  static async start(options: MinioOptions): Promise<Minio> {
    const minio = new Minio(options, await freePort());
    await mkdir(join(options.folder, 'data'), { recursive: true });
    await minio.#run();
    return minio;
  }

  async #run(): Promise<void> {
    const { program, folder, kms } = this.#options;
    this.#process = await RunningProcess.start({
      command: program,
      args: [
        'server',
        join(folder, 'data'),
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
