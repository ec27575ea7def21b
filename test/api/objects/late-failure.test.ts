/**
 * What a storage node is told when sealed bytes turn out wrong after the answer has begun: on each protocol an end that nobody
 * takes for a whole object, and until then authentic plaintext only.
 */
import { randomBytes } from 'node:crypto';
import http2 from 'node:http2';
import https from 'node:https';
import t from 'tap';
import { tlsOptions } from '../../attacks/client.ts';
import { ObjectSite, sealAt, target, type Where } from './site.ts';

const segmentBytes = 131_072;
const sealedSegment = segmentBytes + 16;
const site = new ObjectSite();
t.before(() => site.begin());
t.teardown(() => site.remove());

interface Ended {
  readonly status: number;
  readonly got: Buffer;
  /** True when the client took the answer for a whole one. */
  readonly isWhole: boolean;
}

type Ask = (where: Where, headers: Record<string, string>, pieces: readonly Buffer[]) => Promise<Ended>;

/** Sends the pieces of a body, each of them when bytes came for the one before, or when none did for a while. */
async function feed(
  stream: NodeJS.WritableStream & NodeJS.EventEmitter,
  answered: NodeJS.EventEmitter,
  pieces: readonly Buffer[],
): Promise<void> {
  for (const [i, piece] of pieces.entries()) {
    if (i > 0) await quiet(answered);
    stream.write(piece);
  }
  stream.end();
}

/** When nothing has come for 50 ms. */
async function quiet(answered: NodeJS.EventEmitter): Promise<void> {
  await new Promise<void>((resolve) => {
    const done = () => {
      answered.off('bytes', again);
      resolve();
    };
    let timer = setTimeout(done, 50);
    const again = () => {
      clearTimeout(timer);
      timer = setTimeout(done, 50);
    };
    answered.on('bytes', again);
  });
}

const over1: Ask = (where, headers, pieces) =>
  new Promise((resolve) => {
    const got: Buffer[] = [];
    let status = 0;
    const request = https.request({
      ...(tlsOptions(site.as(site.node)) as https.RequestOptions),
      port: site.port,
      method: 'POST',
      path: target('open', where),
      headers,
      agent: false,
    });
    const done = (isWhole: boolean) => resolve({ status, got: Buffer.concat(got), isWhole });
    request.on('error', () => done(false));
    request.on('response', (response) => {
      status = response.statusCode!;
      response.on('data', (chunk: Buffer) => {
        got.push(chunk);
        request.emit('bytes');
      });
      response.on('end', () => done(true));
      response.on('error', () => done(false));
    });
    void feed(request, request, pieces);
  });

const over2: Ask = (where, headers, pieces) =>
  new Promise((resolve) => {
    const got: Buffer[] = [];
    let status = 0;
    let hasFailed = false;
    const session = http2.connect(`https://127.0.0.1:${site.port}`, tlsOptions(site.as(site.node)));
    const stream = session.request({ ':method': 'POST', ':path': target('open', where), ...headers });
    stream.on('error', () => (hasFailed = true));
    stream.on('response', (received) => (status = Number(received[':status'])));
    stream.on('data', (chunk: Buffer) => {
      got.push(chunk);
      stream.emit('bytes');
    });
    stream.on('close', () => {
      session.destroy();
      resolve({ status, got: Buffer.concat(got), isWhole: !hasFailed && stream.rstCode === 0 });
    });
    void feed(stream, stream, pieces);
  });

for (const [over, ask] of Object.entries({ 'HTTP/1.1': over1, 'HTTP/2': over2 })) {
  t.test(`the promised length is not reached before the end is authentic: ${over}`, async (t) => {
    // Behind a full segment comes one that says that the object ends. Who cuts a longer object there has no such segment.
    const message = randomBytes(3 * segmentBytes + 100);
    const { envelope, sealed } = await sealAt(site, message);
    for (const kept of [1, 2, 3]) {
      const whole = sealed.subarray(0, 80 + kept * sealedSegment);
      const forged = randomBytes(16);
      const headers = { 'x-sello-envelope': envelope, 'content-length': String(whole.length + 16) };
      const ended = await ask({}, headers, [whole, forged]);
      t.equal(ended.isWhole, false, `cut behind segment ${kept}`);
      t.ok(message.subarray(0, ended.got.length).equals(ended.got), 'what came is authentic');
      t.ok(ended.got.length < kept * segmentBytes, 'and less than was promised');
    }
  });
}

/** Bodies that are wrong from some byte on, and how long the right plaintext before it is. */
interface Wrong {
  readonly what: string;
  readonly body: Buffer;
  readonly right: number;
}

for (const [over, ask] of Object.entries({ 'HTTP/1.1': over1, 'HTTP/2': over2 })) {
  for (const isLengthTold of [true, false]) {
    const how = `${over}, ${isLengthTold ? 'with' : 'without'} content-length`;
    t.test(
      `whatever is wrong late, nothing of its segment comes and nothing ends whole: ${how}`,
      async (t) => {
        const message = randomBytes(3 * segmentBytes + 100);
        const { envelope, sealed } = await sealAt(site, message);
        const other = await sealAt(site, message);
        const segment = (i: number, from = sealed) =>
          from.subarray(80 + i * sealedSegment, 80 + (i + 1) * sealedSegment);
        const header = sealed.subarray(0, 80);
        const [a, b, c, last] = [0, 1, 2, 3].map((i) => segment(i)) as [Buffer, Buffer, Buffer, Buffer];
        const flipped = (at: number): Buffer => {
          const changed = Buffer.from(sealed);
          changed[at]! ^= 0x10;
          return changed;
        };
        const wrongs: Wrong[] = [
          { what: 'first byte of the third segment', body: flipped(80 + 2 * sealedSegment), right: 2 },
          { what: 'tag of the second', body: flipped(80 + 2 * sealedSegment - 1), right: 1 },
          { what: 'last byte', body: flipped(sealed.length - 1), right: 3 },
          { what: 'swapped', body: Buffer.concat([header, a, c, b, last]), right: 1 },
          { what: 'repeated', body: Buffer.concat([header, a, b, b, last]), right: 2 },
          { what: 'left out', body: Buffer.concat([header, a, c, last]), right: 1 },
          { what: 'cut in a segment', body: sealed.subarray(0, 80 + 2 * sealedSegment + 5000), right: 2 },
          { what: 'cut between segments', body: sealed.subarray(0, 80 + 2 * sealedSegment), right: 2 },
          { what: 'bytes behind', body: Buffer.concat([sealed, Buffer.alloc(40)]), right: 3 },
          {
            what: 'of another object',
            body: Buffer.concat([header, a, segment(1, other.sealed), c, last]),
            right: 1,
          },
        ];
        for (const { what, body, right } of wrongs) {
          const headers = {
            'x-sello-envelope': envelope,
            ...(isLengthTold ? { 'content-length': String(body.length) } : {}),
          };
          const ended = await ask({}, headers, [
            body.subarray(0, 80 + sealedSegment + 100),
            body.subarray(80 + sealedSegment + 100),
          ]);
          // A length that no object has is told before the first byte.
          if (ended.status === 400) t.match(ended.got.toString(), /"InvalidRequest"/, `${what}: refused`);
          else {
            t.equal(ended.isWhole, false, `${what}: no whole end`);
            t.ok(ended.got.length <= right * segmentBytes, `${what}: nothing of what is wrong`);
            t.ok(message.subarray(0, ended.got.length).equals(ended.got), `${what}: authentic`);
          }
        }
        const whole = await ask({}, { 'x-sello-envelope': envelope }, [
          sealed.subarray(0, 9),
          sealed.subarray(9),
        ]);
        t.ok(whole.isWhole && whole.got.equals(message), 'and what is right is whole');
      },
    );
  }
}

for (const [over, ask] of Object.entries({ 'HTTP/1.1': over1, 'HTTP/2': over2 })) {
  t.test(`an object in parts is the uploads of its manifest, whole and by range: ${over}`, async (t) => {
    const begun = await site.post('multipart/begin', {});
    const envelope = String(begun.headers['x-sello-envelope']);
    const send = async (part: number, message: Buffer) =>
      (await site.post('seal', { part: String(part) }, { 'x-sello-envelope': envelope }, message)).body;
    const messages = [randomBytes(2 * segmentBytes), randomBytes(segmentBytes + 10), randomBytes(200_000)];
    const [first, second, third] = [
      await send(1, messages[0]!),
      await send(2, messages[1]!),
      await send(3, messages[2]!),
    ];
    const sentTwice = await send(2, messages[1]!);
    const parts = [first, second, third].map((sealed, i) => ({
      part: i + 1,
      header: sealed.subarray(0, 80).toString('base64'),
      tag: sealed.subarray(-16).toString('base64'),
      sealedLength: sealed.length,
    }));
    const body = JSON.stringify({ parts });
    const manifest = (await site.post('multipart/complete', {}, { 'x-sello-envelope': envelope }, body)).body;
    const headers = { 'x-sello-envelope': envelope, 'x-sello-manifest-length': String(manifest.length) };
    const message = Buffer.concat(messages);
    const damaged = Buffer.from(third);
    damaged[damaged.length - 1]! ^= 1;
    const fromThird = messages[0]!.length + messages[1]!.length;
    for (const [what, sealed, right] of [
      ['the other upload of a part', [first, sentTwice, third], messages[0]!.length],
      ['parts swapped', [first, third, second], messages[0]!.length],
      ['a part left out', [first, third], messages[0]!.length],
      ['the last tag changed', [first, second, damaged], fromThird + segmentBytes],
      ['something behind', [first, second, third, Buffer.alloc(20)], message.length - 1],
    ] as const) {
      const pieces = [Buffer.concat([manifest, sealed[0]!]), ...sealed.slice(1)];
      const ended = await ask({}, headers, pieces);
      t.equal(ended.isWhole, false, what);
      t.ok(ended.got.length <= right, `${what}: nothing of what is wrong`);
      t.ok(message.subarray(0, ended.got.length).equals(ended.got), `${what}: authentic`);
    }
    const range = `bytes=${fromThird + 5}-${fromThird + segmentBytes + 5}`;
    const asked = await site.ask({
      method: 'POST',
      path: '/objects/v1/plan',
      headers: { range },
      body: manifest,
    });
    const [[from, to]] = (JSON.parse(asked.body.toString()) as { sealed: [[number, number]] }).sealed;
    for (const [what, last] of [
      ['range', third],
      ['range of a damaged part', damaged],
    ] as const) {
      const span = Buffer.concat([first, second, last]).subarray(from, to);
      const ended = await ask({}, { ...headers, range }, [
        Buffer.concat([manifest, span.subarray(0, sealedSegment + 90)]),
        span.subarray(sealedSegment + 90),
      ]);
      const wanted = message.subarray(fromThird + 5, fromThird + segmentBytes + 6);
      t.ok(wanted.subarray(0, ended.got.length).equals(ended.got), `${what}: authentic`);
      t.equal(ended.isWhole, last === third, what);
    }
    const whole = await ask({}, headers, [manifest, first, second, third]);
    t.ok(whole.isWhole && whole.got.equals(message), 'and what is right is whole');
  });
}
