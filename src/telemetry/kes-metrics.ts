/**
 * The families of KES's /v1/metrics by their names, types and buckets, so that its dashboards and clients go on working
 * (wire/routes.json). As there, a counter without samples is absent: today's client refuses an empty family.
 * Text only: a client that asks for protobuf by Accept gets text too, which Prometheus' decoders tell by Content-Type.
 */
import fs from 'node:fs';
import os from 'node:os';
import { Distribution } from './families.ts';

export const kesMetricsContentType = 'text/plain; version=0.0.4; charset=utf-8; escaping=underscores';

const responseTimeBucketsSeconds = [0.01, 0.05, 0.1, 0.25, 0.5, 1, 1.5, 3, 5, 10];

const maxStatus = 599;

export class KesMetrics {
  active = 0;
  auditEvents = 0;
  errorEvents = 0;
  /** Answers by status. */
  readonly #answers = new Float64Array(maxStatus + 1);
  readonly #responseTime = new Distribution(responseTimeBucketsSeconds);

  answered(status: number, seconds: number): void {
    this.active--;
    this.#answers[status]! += 1;
    this.#responseTime.observe(seconds);
  }

  add(other: KesMetrics): void {
    this.active += other.active;
    this.auditEvents += other.auditEvents;
    this.errorEvents += other.errorEvents;
    for (const [status, count] of other.#answers.entries()) this.#answers[status]! += count;
    this.#responseTime.add(other.#responseTime);
  }

  text(): { contentType: string; body: string } {
    const status = processStatus();
    const families = [
      gauge('kes_http_request_active', 'Requests being answered.', this.active),
      byCode('kes_http_request_error', 'Requests answered with a 4xx status.', this.#counts(400, 499)),
      byCode(
        'kes_http_request_failure',
        'Requests answered with a 5xx status.',
        this.#counts(500, maxStatus),
      ),
      byCode('kes_http_request_success', 'Requests answered with success.', this.#counts(0, 399)),
      this.#responseTimes('kes_http_response_time', 'Seconds until a request was answered.'),
      counter('kes_log_audit_events', 'Audit records written.', this.auditEvents),
      counter('kes_log_error_events', 'Errors logged.', this.errorEvents),
      // V8 does not count its objects.
      gauge('kes_system_mem_heap_objects', 'Not known in this implementation: 0.', 0),
      gauge('kes_system_mem_heap_used', 'Bytes in use on the heap.', process.memoryUsage().heapUsed),
      gauge('kes_system_mem_stack_used', 'Bytes of stack.', status.stackBytes),
      gauge('kes_system_num_cpu', 'Logical CPUs of the machine.', os.cpus().length),
      gauge('kes_system_num_cpu_used', 'Logical CPUs that the server may use.', os.availableParallelism()),
      gauge('kes_system_num_threads', 'Threads of the process.', status.threads),
      gauge('kes_system_up_time', 'Seconds since the start.', Math.round(process.uptime() * 100) / 100),
    ];
    return { contentType: kesMetricsContentType, body: families.join('') };
  }

  #counts(from: number, to: number): [code: number, count: number][] {
    const found: [number, number][] = [];
    for (let code = from; code <= to; code++)
      if (this.#answers[code]! > 0) found.push([code, this.#answers[code]!]);
    return found;
  }

  #responseTimes(name: string, help: string): string {
    const { counts, sum } = this.#responseTime;
    let text = head(name, help, 'histogram');
    let total = 0;
    for (const [i, count] of counts.entries()) {
      total += count;
      text += `${name}_bucket{le="${responseTimeBucketsSeconds[i] ?? '+Inf'}"} ${total}\n`;
    }
    return `${text}${name}_sum ${sum}\n${name}_count ${total}\n`;
  }
}

function head(name: string, help: string, type: string): string {
  return `# HELP ${name} ${help}\n# TYPE ${name} ${type}\n`;
}

function gauge(name: string, help: string, value: number): string {
  return `${head(name, help, 'gauge')}${name} ${value}\n`;
}

function counter(name: string, help: string, value: number): string {
  return `${head(name, help, 'counter')}${name} ${value}\n`;
}

function byCode(name: string, help: string, counts: [code: number, count: number][]): string {
  if (counts.length === 0) return '';
  const lines = [...counts]
    .sort(([a], [b]) => a - b)
    .map(([code, count]) => `${name}{code="${code}"} ${count}\n`);
  return head(name, help, 'counter') + lines.join('');
}

/** Threads and stack from Linux's account of the process; zeros elsewhere. */
function processStatus(): { threads: number; stackBytes: number } {
  let text = '';
  try {
    text = fs.readFileSync('/proc/self/status', 'latin1');
  } catch {
    // Not Linux.
  }
  const threads = Number(/^Threads:\s*(\d+)/m.exec(text)?.[1] ?? 0);
  const stackBytes = Number(/^VmStk:\s*(\d+)/m.exec(text)?.[1] ?? 0) * 1024;
  return { threads, stackBytes };
}
