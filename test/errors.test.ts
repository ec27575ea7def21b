/** Holds docs/errors.md, the registry and the KES face together. */
import { readFileSync } from 'node:fs';
import t from 'tap';
import { answerOfError, type Answer } from '../src/api/kes/answers.ts';
import { keyHandlers, keyNameProblem } from '../src/api/kes/key-handlers.ts';
import type { KesCall } from '../src/api/kes/plugin.ts';
import { errorKinds, SelloError, type ErrorCode } from '../src/errors.ts';

interface Row {
  readonly code: string;
  readonly message: string;
  readonly status: string;
  readonly retry: string;
  readonly advice: string;
}

const page = readFileSync(new URL('../docs/errors.md', import.meta.url), 'utf8');
const rows: Row[] = page
  .split('\n')
  .filter((line) => /^\| *`SELLO_/.test(line))
  .map((line) => {
    const [, code = '', message = '', status = '', retry = '', advice = ''] = line
      .split('|')
      .map((cell) => cell.trim());
    return { code: code.replaceAll('`', ''), message, status, retry, advice };
  });

t.test('every code has one row, and every row a code', async (t) => {
  t.same(rows.map(({ code }) => code).sort(), Object.keys(errorKinds).sort());
  for (const { code, advice } of rows) t.ok(advice.length > 10, `${code} says what to do`);
});

t.test('message and retry are those of the registry', async (t) => {
  for (const { code, message, retry } of rows) {
    const kind = errorKinds[code as ErrorCode];
    t.equal(message, kind?.message, code);
    t.equal(retry, kind?.retryable === true ? 'yes' : 'no', `${code} retry`);
  }
});

/** Codes that a handler answers itself, with a text that names what was asked for. */
async function answerOfHandler(code: string): Promise<Answer | undefined> {
  const importOf = (body: object): Answer | Promise<Answer> | undefined =>
    keyHandlers['key-import']?.({
      name: 'app',
      body: { bytes: Buffer.from(JSON.stringify(body)), declared: true, oversize: false },
    } as KesCall);
  const key = Buffer.alloc(32).toString('base64');
  switch (code) {
    case 'SELLO_KEY_NAME_INVALID':
      return keyNameProblem('-');
    case 'SELLO_KEY_ALGORITHM_UNSUPPORTED':
      return importOf({ key, cipher: 'ROT13' });
    case 'SELLO_KEY_MATERIAL_INVALID':
      return importOf({ key: 'AAAA', cipher: 'AES256' });
    default:
      return undefined;
  }
}

t.test('the KES face answers with the status of the row', async (t) => {
  for (const { code, status } of rows) {
    const handled = await answerOfHandler(code);
    const answer = handled ?? answerOfError(new SelloError(code as ErrorCode), 'read key', 'current');
    t.equal(answer.error, code, `${code} is in the audit record`);
    // A code that clients never see has no answer of its own: if it slipped through it would be an internal error.
    t.equal(answer.status, status === '-' ? 500 : Number(status), `${code} status`);
    if (answer.status === 429) t.match(answer.headers, { 'retry-after': /^\d+$/ }, `${code} says when`);
  }
});

t.test('what an error knows beside its message stays inside', async (t) => {
  for (const { code } of rows) {
    const error = new SelloError(code as ErrorCode, { detail: 'canary', cause: new Error('canary') });
    const { body, headers } = answerOfError(error, 'read key', 'current');
    t.notMatch(`${String(body)}${JSON.stringify(headers)}${error.message}`, /canary/, code);
  }
});
