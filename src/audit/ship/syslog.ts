/**
 * Records by syslog over TLS: RFC 5424 messages, octet-counted (RFC 5425). The protocol has no acknowledgements: a batch counts once
 * TCP has taken it, and after a connection was lost the batch before is sent again.
 */
import { readFile } from 'node:fs/promises';
import os from 'node:os';
import tls from 'node:tls';
import type { ShipConfig } from '../../config/model.ts';
import { timeOf } from '../clock-watch.ts';
import type { ShipBatch, ShipTarget } from './target.ts';

type SyslogConfig = Extract<ShipConfig, { kind: 'syslog' }>;

/** Facility 13, log audit; severity 6 and 4, informational and warning. */
const priority = { success: 13 * 8 + 6, other: 13 * 8 + 4 } as const;

export class Syslog implements ShipTarget {
  readonly name: string;
  readonly batchRecords = 500;
  readonly #config: SyslogConfig;
  #socket: tls.TLSSocket | undefined;
  /** What the connection before may have lost. */
  #last: Buffer | undefined;
  #unsure = false;

  constructor(config: SyslogConfig) {
    this.#config = config;
    this.name = `syslog ${config.host}:${config.port}`;
  }

  async send(batch: ShipBatch, signal: AbortSignal): Promise<void> {
    const frames = Buffer.concat(batch.lines.map((line) => frameOf(line)));
    const abort = AbortSignal.any([signal, AbortSignal.timeout(this.#config.timeoutMs)]);
    const socket = (this.#socket ??= await this.#connect(abort));
    const again = this.#unsure && this.#last !== undefined ? [this.#last] : [];
    await new Promise<void>((resolve, reject) => {
      const fail = (error?: Error): void => {
        this.#drop();
        reject(error ?? new Error('connection closed'));
      };
      const late = (): void => fail(new Error(`not taken within ${this.#config.timeoutMs} ms`));
      socket.once('error', fail).once('close', fail);
      abort.addEventListener('abort', late, { once: true });
      socket.write(Buffer.concat([...again, frames]), (error) => {
        socket.off('error', fail).off('close', fail);
        abort.removeEventListener('abort', late);
        if (error) fail(error);
        else resolve();
      });
    });
    this.#unsure = false;
    this.#last = frames;
  }

  close(): void {
    this.#socket?.end();
    this.#socket = undefined;
  }

  #drop(): void {
    this.#socket?.destroy();
    this.#socket = undefined;
    this.#unsure = true;
  }

  async #connect(signal: AbortSignal): Promise<tls.TLSSocket> {
    const { host, port, caFile, certFile, keyFile } = this.#config;
    const read = async (file: string | undefined) => (file === undefined ? undefined : readFile(file));
    const [ca, cert, key] = [await read(caFile), await read(certFile), await read(keyFile)];
    const socket = tls.connect({
      host,
      port,
      minVersion: 'TLSv1.2',
      ...(/^[\d.]+$|:/.test(host) ? {} : { servername: host }),
      ...(ca === undefined ? {} : { ca }),
      ...(cert === undefined ? {} : { cert }),
      ...(key === undefined ? {} : { key }),
    });
    await new Promise<void>((resolve, reject) => {
      const give = (): void => {
        socket.destroy();
        reject(new Error('no connection in time'));
      };
      signal.addEventListener('abort', give, { once: true });
      socket.once('error', reject);
      socket.once('secureConnect', () => {
        signal.removeEventListener('abort', give);
        socket.off('error', reject);
        resolve();
      });
    });
    // Receivers say nothing; reading notices that they close.
    socket.resume();
    socket.on('error', () => undefined);
    socket.on('close', () => {
      if (this.#socket === socket) this.#drop();
    });
    socket.unref();
    return socket;
  }
}

function frameOf(line: Buffer): Buffer {
  const level = line.includes('"outcome":"success"') ? priority.success : priority.other;
  const header = `<${level}>1 ${timeOf(line) ?? '-'} ${os.hostname()} sello ${process.pid} audit - `;
  return Buffer.concat([Buffer.from(`${header.length + line.length} ${header}`), line]);
}
