/**
 * Requests whose end two parsers could see in different places (RFC 9112 §11.2). Each hides a second request that would
 * create the key `smuggled`: nobody may ever act on it.
 */
export interface SmugglingCase {
  readonly name: string;
  /** Bytes as latin1, or pieces with a pause between them. */
  readonly raw: string | readonly string[];
  /** `refused`: no answer of 2xx. `one`: exactly one final answer, of any status. `waits`: nothing yet. */
  readonly want: 'refused' | 'one' | 'waits';
}

const host = 'Host: localhost\r\n';
export const hidden = `PUT /v1/key/create/smuggled HTTP/1.1\r\n${host}\r\n`;
const to = (path: string, fields: string, body = '', method = 'PUT'): string =>
  `${method} ${path} HTTP/1.1\r\n${host}${fields}\r\n${body}`;
const hmac = '/v1/key/hmac/app-1';
const message = '{"message":"YQ=="}';
const length = (text: string): string => `Content-Length: ${text.length}\r\n`;
const chunked = 'Transfer-Encoding: chunked\r\n';
const chunk = (text: string, extension = ''): string =>
  `${text.length.toString(16)}${extension}\r\n${text}\r\n`;
const last = '0\r\n\r\n';

const c = (name: string, want: SmugglingCase['want'], raw: SmugglingCase['raw']): SmugglingCase => ({
  name,
  want,
  raw,
});

export const corpus: readonly SmugglingCase[] = [
  // Two lengths.
  c('CL and TE', 'refused', to(hmac, `Content-Length: 4\r\n${chunked}`, last + hidden)),
  c('TE and CL', 'refused', to(hmac, `${chunked}Content-Length: 4\r\n`, last + hidden)),
  c('CL 0 and TE', 'refused', to(hmac, `Content-Length: 0\r\n${chunked}`, chunk(hidden) + last)),
  c(
    'two CL that differ',
    'refused',
    to(hmac, `Content-Length: 0\r\nContent-Length: ${hidden.length}\r\n`, hidden),
  ),
  c('two CL alike', 'refused', to(hmac, 'Content-Length: 2\r\nContent-Length: 2\r\n', `{}${hidden}`)),
  c('CL list', 'refused', to(hmac, 'Content-Length: 2, 2\r\n', `{}${hidden}`)),
  c('two TE', 'refused', to(hmac, `${chunked}Transfer-Encoding: identity\r\n`, last + hidden)),
  // Lengths that are none.
  ...[
    '+2',
    '-1',
    '0x2',
    '2e0',
    '1_0',
    '2 2',
    '"2"',
    '٢',
    '',
    '2;',
    '2\t,',
    '18446744073709551618',
    '99999999999999999999',
  ].map((value) => c(`CL ${value}`, 'refused', to(hmac, `Content-Length: ${value}\r\n`, `{}${hidden}`))),
  c('CL beyond every body', 'waits', to(hmac, 'Content-Length: 9007199254740993000\r\n', `{}${hidden}`)),
  c('CL with spaces around', 'one', to('/v1/key/describe/app-1', 'Content-Length:  0  \r\n', '', 'GET')),
  c('CL with leading zeros', 'one', to(hmac, `Content-Length: 000${message.length}\r\n`, message)),
  // Transfer codings.
  ...[
    'xchunked',
    'chunked, identity',
    'identity, chunked',
    'identity',
    'gzip, chunked',
    'chunked, chunked',
    'cow',
    'chunked;q=1',
    '\x0bchunked',
    'chunked\x0b',
    '"chunked"',
    'chu\tnked',
    '',
  ].map((value) =>
    c(
      `TE ${JSON.stringify(value)}`,
      'refused',
      to(hmac, `Transfer-Encoding: ${value}\r\nContent-Length: 2\r\n`, `{}${hidden}`),
    ),
  ),
  c('TE cow alone', 'refused', to(hmac, 'Transfer-Encoding: cow\r\n', chunk('{}') + last)),
  c('TE then space', 'refused', to(hmac, 'Transfer-Encoding : chunked\r\n', last + hidden)),
  c('TE after tab', 'refused', to(hmac, '\tTransfer-Encoding: chunked\r\nContent-Length: 5\r\n', last)),
  c(
    'TE with a line break inside',
    'refused',
    to(hmac, 'Transfer-Encoding:\r\n chunked\r\nContent-Length: 5\r\n', last),
  ),
  c('TE in HTTP/1.0', 'refused', `PUT ${hmac} HTTP/1.0\r\n${host}${chunked}\r\n${last}${hidden}`),
  c('TE in another case', 'one', to(hmac, 'tRANSFER-eNCODING: CHUNKED\r\n', chunk(message) + last)),
  // Chunks.
  c('chunk extension', 'one', to(hmac, chunked, chunk(message, ';a=b') + last)),
  c('chunk extension with a bare LF', 'refused', to(hmac, chunked, `5;x\ny\r\nhello\r\n0\r\n\r\n${hidden}`)),
  c('chunk size with a bare LF', 'refused', to(hmac, chunked, `2\n{}\r\n0\r\n\r\n${hidden}`)),
  c('chunk size with 0x', 'refused', to(hmac, chunked, `0x2\r\n{}\r\n${last}${hidden}`)),
  c('chunk size with a sign', 'refused', to(hmac, chunked, `+2\r\n{}\r\n${last}${hidden}`)),
  c('chunk size with a space before', 'refused', to(hmac, chunked, ` 2\r\n{}\r\n${last}${hidden}`)),
  c('chunk size beyond 64 bits', 'refused', to(hmac, chunked, `10000000000000002\r\n{}\r\n${last}${hidden}`)),
  c('chunk without its end', 'refused', to(hmac, chunked, `2\r\n[]XX0\r\n\r\n${hidden}`)),
  c('chunk end with a bare LF', 'refused', to(hmac, chunked, `2\r\n[]\n0\r\n\r\n${hidden}`)),
  c('last chunk with a bare LF', 'refused', to(hmac, chunked, `2\r\n[]\r\n0\n\n${hidden}`)),
  c(
    'chunk extension of 64 KiB',
    'refused',
    to(hmac, chunked, `2;${'a'.repeat(65_536)}\r\n[]\r\n${last}${hidden}`),
  ),
  c(
    'trailer with a length',
    'one',
    to(hmac, chunked, `${chunk(message)}0\r\nContent-Length: ${hidden.length}\r\n\r\n`),
  ),
  c('trailer with a bare LF', 'refused', to(hmac, chunked, `${chunk('[]')}0\r\nA: b\n\n${hidden}`)),
  // Lines.
  c('bare LF lines', 'refused', `GET /v1/key/describe/app-1 HTTP/1.1\nHost: x\n\n${hidden}`),
  c('bare LF after one field', 'refused', to(hmac, `A: b\nContent-Length: ${hidden.length}\r\n`, hidden)),
  c('bare CR in a field', 'refused', to(hmac, `A: b\rContent-Length: ${hidden.length}\r\n`, hidden)),
  c('folded field', 'refused', to(hmac, `A: b\r\n c\r\n${length('{}')}`, '{}')),
  c('NUL in a value', 'refused', to(hmac, `A: b\0c\r\n${length('{}')}`, '{}')),
  c('NUL in a name', 'refused', to(hmac, `A\0: b\r\n${length('{}')}`, '{}')),
  c('name without a colon', 'refused', to(hmac, `A\r\n${length('{}')}`, '{}')),
  c('empty name', 'refused', to(hmac, `: b\r\n${length('{}')}`, '{}')),
  c('space in a name', 'refused', to(hmac, `Content Length: 2\r\n${length('{}')}`, '{}')),
  c('CR CR LF', 'refused', to(hmac, `A: b\r\r\n${length('{}')}`, '{}')),
  c('empty lines before', 'one', `\r\n\r\n${to('/v1/key/describe/app-1', '', '', 'GET')}`),
  // Request lines.
  c('two Hosts', 'refused', `GET /v1/key/describe/app-1 HTTP/1.1\r\nHost: a\r\nHost: b\r\n\r\n`),
  c('no Host', 'refused', 'GET /v1/key/describe/app-1 HTTP/1.1\r\n\r\n'),
  c('HTTP/1.10', 'refused', `GET /v1/key/describe/app-1 HTTP/1.10\r\n${host}\r\n`),
  c('HTTP/2.0', 'refused', `GET /v1/key/describe/app-1 HTTP/2.0\r\n${host}\r\n`),
  c('HTTP/0.9', 'refused', 'GET /v1/key/describe/app-1\r\n\r\n'),
  c('lower-case method', 'refused', `get /v1/key/describe/app-1 HTTP/1.1\r\n${host}\r\n`),
  c('tab before the version', 'refused', `GET /v1/key/describe/app-1\tHTTP/1.1\r\n${host}\r\n`),
  c('absolute form, other host', 'one', `GET http://evil/v1/key/describe/app-1 HTTP/1.1\r\n${host}\r\n`),
  c('authority form', 'refused', `GET evil:443 HTTP/1.1\r\n${host}\r\n`),
  c('asterisk form', 'refused', `GET * HTTP/1.1\r\n${host}\r\n`),
  c('CONNECT', 'refused', `CONNECT evil:443 HTTP/1.1\r\n${host}\r\n${hidden}`),
  c('path with CRLF encoded', 'refused', `GET /v1/key/describe/app-1%0d%0aX:%20y HTTP/1.1\r\n${host}\r\n`),
  c('path upwards', 'refused', `GET /v1/key/describe/../create/smuggled HTTP/1.1\r\n${host}\r\n`),
  c('encoded slash', 'refused', `PUT /v1/key/describe%2f..%2fcreate%2fsmuggled HTTP/1.1\r\n${host}\r\n`),
  c(
    'override fields',
    'one',
    to(
      '/v1/key/describe/app-1',
      'X-HTTP-Method-Override: PUT\r\nX-Original-URL: /v1/key/create/smuggled\r\nX-Rewrite-URL: /v1/key/create/smuggled\r\n',
      '',
      'GET',
    ),
  ),
  c(
    'upgrade to h2c',
    'one',
    to(
      '/v1/key/describe/app-1',
      'Connection: Upgrade, HTTP2-Settings\r\nUpgrade: h2c\r\nHTTP2-Settings: AAMAAABkAAQAAP__\r\n',
      '',
      'GET',
    ),
  ),
  c(
    'upgrade to websocket',
    'one',
    to(
      '/v1/key/describe/app-1',
      'Connection: Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Key: AAAAAAAAAAAAAAAAAAAAAA==\r\n',
      '',
      'GET',
    ),
  ),
  // Bodies that nobody reads, and answers that come before their end.
  c('body on a route without one', 'one', to('/v1/key/describe/app-1', length(hidden), hidden, 'GET')),
  c('body on an unknown path', 'one', to('/nothing', length(hidden), hidden)),
  c('body on a refused name', 'one', to('/v1/key/hmac/-', length(hidden), hidden)),
  c('body behind a value', 'one', to(hmac, length(message + hidden), message + hidden)),
  c('body in a second piece', 'one', [to(hmac, length(message + hidden), message), hidden]),
  c('chunk behind a value', 'one', [to(hmac, chunked, chunk(message)), chunk(hidden) + last]),
  c(
    'chunked body on a route without one',
    'one',
    to('/v1/key/describe/app-1', chunked, chunk(hidden) + last, 'GET'),
  ),
  c('body over the cap', 'one', [
    to(hmac, `Content-Length: ${1_100_000 + hidden.length}\r\n`, ' '.repeat(1_100_000)),
    hidden,
  ]),
  c('Expect', 'one', to(hmac, `Expect: 100-continue\r\n${length(message)}`, message)),
  c('Expect of something else', 'refused', to(hmac, `Expect: a-miracle\r\n${length(message)}`, message)),
  c(
    'Expect and a hidden body',
    'one',
    to('/v1/key/describe/app-1', `Expect: 100-continue\r\n${length(hidden)}`, hidden, 'GET'),
  ),
];
