/** Records by HTTP: one POST of JSON lines per batch; any 2xx acknowledges it. */
import { readFile } from 'node:fs/promises';
import http from 'node:http';
import https from 'node:https';
import type { ShipConfig } from '../../config/model.ts';
import { ocsfLine } from '../ocsf.ts';
import type { ShipBatch, ShipTarget } from './target.ts';

type WebhookConfig = Extract<ShipConfig, { kind: 'webhook' }>;

export class Webhook implements ShipTarget {
  readonly name: string;
  readonly batchRecords: number;
  readonly #config: WebhookConfig;
  #agent: http.Agent | undefined;

  constructor(config: WebhookConfig) {
    this.#config = config;
    this.name = config.url;
    this.batchRecords = config.batchRecords;
  }

  async send({ stream, first, lines }: ShipBatch, signal: AbortSignal): Promise<void> {
    const { url, format, timeoutMs, authorizationFile } = this.#config;
    const text = lines.map((line) => (format === 'ocsf' ? ocsfLine(line) : line.toString('latin1')));
    const body = Buffer.from(`${text.join('\n')}\n`);
    const headers: http.OutgoingHttpHeaders = {
      'content-type': 'application/x-ndjson',
      'content-length': body.length,
      // The same records have the same place: a receiver can drop what it has.
      'sello-stream': stream,
      'sello-first-sequence': first,
      'sello-records': lines.length,
    };
    // Read each time, so that a token can be renewed.
    if (authorizationFile !== undefined)
      headers['authorization'] = (await readFile(authorizationFile, 'utf8')).trim();
    const agent = (this.#agent ??= await this.#newAgent());
    const timeout = AbortSignal.timeout(timeoutMs);
    const send = url.startsWith('https:') ? https.request : http.request;
    await new Promise<void>((resolve, reject) => {
      const request = send(url, {
        method: 'POST',
        headers,
        agent,
        signal: AbortSignal.any([signal, timeout]),
      });
      request.on('error', (error) =>
        reject(timeout.aborted ? new Error(`no answer within ${timeoutMs} ms`) : error),
      );
      request.on('response', (response) => {
        response.resume();
        response.on('error', reject);
        response.on('end', () => {
          const status = response.statusCode ?? 0;
          if (status >= 200 && status < 300) resolve();
          else reject(new Error(`answered ${status}`));
        });
      });
      request.end(body);
    });
  }

  close(): void {
    this.#agent?.destroy();
    this.#agent = undefined;
  }

  async #newAgent(): Promise<http.Agent> {
    const { url, caFile } = this.#config;
    const options = { keepAlive: true, maxSockets: 1 };
    if (!url.startsWith('https:')) return new http.Agent(options);
    const ca = caFile === undefined ? undefined : await readFile(caFile);
    return new https.Agent({ ...options, minVersion: 'TLSv1.2', ...(ca === undefined ? {} : { ca }) });
  }
}
