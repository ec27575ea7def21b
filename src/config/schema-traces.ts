/** Settings of OpenTelemetry traces. */
import Type from 'typebox';
import { count, duration, fields, path, scalar, text } from './fields.ts';

export const tracesSection = fields(
  {
    url: scalar<string>('HTTP URL', {
      description:
        'Where an OTLP collector takes traces over HTTP, such as `https://otel.example.com/v1/traces`.',
    }),
    ca: Type.Optional(path('CAs of the collector, PEM. Not given: those of the system.')),
    authorization: Type.Optional(path('File with the value of the `Authorization` header.')),
    service: text({ default: 'sello', description: 'Name of the service in the traces.' }),
    oneIn: count(
      1,
      { minimum: 1, maximum: 1_000_000_000 },
      'Of so many requests one is traced. A caller that sends a `traceparent` decides for its own.',
    ),
    timeout: duration('10s', 'What takes longer to send is dropped.'),
  },
  'OpenTelemetry traces of requests, by OTLP over HTTP. Off unless given; needs packages beside Sello (docs/traces.md).',
);
