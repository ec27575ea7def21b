/**
 * OpenTelemetry traces: spans from a request to the calls made for it, sent by OTLP over HTTP. The packages are optional and are
 * loaded here, when the configuration asks for traces: without that there is no code of theirs in the process.
 */
import { readFileSync } from 'node:fs';
import { hostname } from 'node:os';
import { readFile } from 'node:fs/promises';
import type * as Api from '@opentelemetry/api';
import type { Span, Tracer } from '@opentelemetry/api';
import type * as Otlp from '@opentelemetry/exporter-trace-otlp-http';
import type * as Resources from '@opentelemetry/resources';
import type * as Sdk from '@opentelemetry/sdk-trace';
import type { SpanExporter, TracerProvider } from '@opentelemetry/sdk-trace';
import type { TracesConfig } from '../config/model.ts';
import type { SpanAttributes, WorkSpan } from '../correlation.ts';
import { SelloError } from '../errors.ts';
import type { TraceParent } from './traceparent.ts';

export interface Tracing {
  /**
   * Begins the span of a request; undefined when this one is not traced. A caller that records its own part decides for its
   * request, else chance does.
   * @param startMs `performance.now()` at its arrival
   */
  begin(name: string, startMs: number, parent: TraceParent | undefined): WorkSpan | undefined;
  /** Sends what waits, for at most the exporter's timeout. */
  close(): Promise<void>;
}

export type SpanOutcome = 'made' | 'exported' | 'failed';

export interface TracingOptions {
  readonly version: string;
  /** Told when spans can no longer be sent, and when they can again. */
  readonly onTrouble: (trouble: string | undefined) => void;
  readonly count: (outcome: SpanOutcome, spans: number) => void;
}

/** Longer values are cut: names of keys and paths are far shorter. */
const maxValueCharacters = 256;

/** Some megabytes. What finds no room is dropped: a trace never holds up a key. */
const maxQueuedSpans = 8_192;
const maxBatchSpans = 512;
const batchDelayMs = 1_000;

interface Packages {
  readonly api: typeof Api;
  readonly sdk: typeof Sdk;
  readonly otlp: typeof Otlp;
  readonly resources: typeof Resources;
}

/** @throws SelloError SELLO_CONFIG_INVALID when the packages are not installed or a file cannot be read */
export async function openTracing(config: TracesConfig, options: TracingOptions): Promise<Tracing> {
  return new OtelTracing(config, await loadPackages(), options);
}

async function loadPackages(): Promise<Packages> {
  try {
    return {
      api: await import('@opentelemetry/api'),
      sdk: await import('@opentelemetry/sdk-trace'),
      otlp: await import('@opentelemetry/exporter-trace-otlp-http'),
      resources: await import('@opentelemetry/resources'),
    };
  } catch (cause) {
    throw new SelloError('SELLO_CONFIG_INVALID', {
      detail: `'traces' needs the packages ${tracePackages.join(', ')} beside Sello: ${codeOf(cause)}`,
      cause,
    });
  }
}

export const tracePackages = [
  '@opentelemetry/api',
  '@opentelemetry/sdk-trace',
  '@opentelemetry/resources',
  '@opentelemetry/exporter-trace-otlp-http',
] as const;

class OtelTracing implements Tracing {
  readonly #api: Packages['api'];
  readonly #provider: TracerProvider;
  readonly #tracer: Tracer;
  readonly #share: number;
  readonly #count: TracingOptions['count'];

  constructor(config: TracesConfig, { api, sdk, otlp, resources }: Packages, options: TracingOptions) {
    const { version, count } = options;
    this.#api = api;
    this.#count = count;
    this.#share = 1 / config.oneIn;
    const exporter = new otlp.OTLPTraceExporter({
      url: config.url,
      timeoutMillis: config.timeoutMs,
      httpAgentOptions: { keepAlive: true, ...certificateAuthorities(config) },
      // Read each time, so that a token can be renewed.
      headers: () => authorizationOf(config),
      concurrencyLimit: 2,
    });
    this.#provider = new sdk.TracerProvider({
      resource: resources.resourceFromAttributes({
        'service.name': config.service,
        'service.version': version,
        'service.instance.id': `${hostname()}:${String(process.pid)}`,
        'host.name': hostname(),
      }),
      // Which requests are traced has been decided before there is a span.
      sampler: new sdk.AlwaysOnSampler(),
      spanLimits: { attributeValueLengthLimit: maxValueCharacters },
      spanProcessors: [
        new sdk.BatchSpanProcessor({
          exporter: watched(exporter, options),
          maxQueueSize: maxQueuedSpans,
          maxExportBatchSize: maxBatchSpans,
          scheduledDelayMillis: batchDelayMs,
          exportTimeoutMillis: config.timeoutMs,
        }),
      ],
    });
    this.#tracer = this.#provider.getTracer('sello', version);
  }

  begin(name: string, startMs: number, parent: TraceParent | undefined): WorkSpan | undefined {
    const isTraced = parent === undefined ? Math.random() < this.#share : parent.isSampled;
    if (!isTraced) return undefined;
    const { ROOT_CONTEXT, SpanKind, TraceFlags, trace } = this.#api;
    const context =
      parent === undefined
        ? ROOT_CONTEXT
        : trace.setSpanContext(ROOT_CONTEXT, {
            traceId: parent.traceId,
            spanId: parent.spanId,
            traceFlags: TraceFlags.SAMPLED,
            isRemote: true,
          });
    const span = this.#tracer.startSpan(name, { kind: SpanKind.SERVER, startTime: startMs }, context);
    return new OtelSpan(span, { api: this.#api, tracer: this.#tracer, count: this.#count, isOver: false });
  }

  async close(): Promise<void> {
    // A collector that is away has said so already.
    await this.#provider.shutdown().catch(() => undefined);
  }
}

/** What all spans of one request share. */
interface RequestTrace {
  readonly api: Packages['api'];
  readonly tracer: Tracer;
  readonly count: TracingOptions['count'];
  isOver: boolean;
}

class OtelSpan implements WorkSpan {
  readonly #span: Span;
  readonly #request: RequestTrace;
  readonly #isRequest: boolean;

  constructor(span: Span, request: RequestTrace, isRequest = true) {
    this.#span = span;
    this.#request = request;
    this.#isRequest = isRequest;
  }

  get traceId(): string {
    return this.#span.spanContext().traceId;
  }

  get traceparent(): string {
    const { traceId, spanId } = this.#span.spanContext();
    return `00-${traceId}-${spanId}-01`;
  }

  child(name: string, kind: 'internal' | 'client', attributes: SpanAttributes): WorkSpan | undefined {
    const { api, isOver, tracer } = this.#request;
    if (isOver) return undefined;
    const { ROOT_CONTEXT, SpanKind, trace } = api;
    const span = tracer.startSpan(
      name,
      { kind: kind === 'client' ? SpanKind.CLIENT : SpanKind.INTERNAL, attributes },
      trace.setSpan(ROOT_CONTEXT, this.#span),
    );
    return new OtelSpan(span, this.#request, false);
  }

  set(attributes: SpanAttributes): void {
    this.#span.setAttributes(attributes);
  }

  end(failure?: string): void {
    if (failure !== undefined) {
      this.#span.setAttribute('error.type', failure);
      this.#span.setStatus({ code: this.#request.api.SpanStatusCode.ERROR });
    }
    if (this.#isRequest) this.#request.isOver = true;
    this.#span.end();
    this.#request.count('made', 1);
  }
}

/** The exporter, with its failures told and its spans counted. */
function watched(exporter: SpanExporter, { onTrouble, count }: TracingOptions): SpanExporter {
  let trouble: string | undefined;
  return {
    export(spans, done) {
      exporter.export(spans, (result) => {
        // ExportResultCode.SUCCESS
        const isDone = result.code === 0;
        count(isDone ? 'exported' : 'failed', spans.length);
        const now = isDone ? undefined : codeOf(result.error);
        if ((now === undefined) !== (trouble === undefined)) onTrouble(now);
        trouble = now;
        done(result);
      });
    },
    shutdown: () => exporter.shutdown(),
    forceFlush: async () => exporter.forceFlush?.(),
  };
}

async function authorizationOf({ authorizationFile }: TracesConfig): Promise<Record<string, string>> {
  if (authorizationFile === undefined) return {};
  try {
    return { authorization: (await readFile(authorizationFile, 'utf8')).trim() };
  } catch {
    // The collector refuses what comes without it, and that is told.
    return {};
  }
}

/** @throws SelloError SELLO_CONFIG_INVALID */
function certificateAuthorities({ caFile }: TracesConfig): { ca?: Buffer } {
  if (caFile === undefined) return {};
  try {
    return { ca: readFileSync(caFile) };
  } catch (cause) {
    throw new SelloError('SELLO_CONFIG_INVALID', {
      detail: `CA file of the trace collector '${caFile}' cannot be read (${codeOf(cause)})`,
      cause,
    });
  }
}

/** A stable word; messages may quote what was sent. */
function codeOf(error: unknown): string {
  const { code, name } = (error ?? {}) as { code?: unknown; name?: unknown };
  return typeof code === 'string' || typeof code === 'number' ? String(code) : String(name ?? 'failed');
}
