/** Whether anything of the trail is missing or changed. */
import { get, ofTenant, post } from './api.js';
import { say } from './dialog.js';
import { button, chip, count, exactly, facts, h, short, table, when } from './dom.js';

const waitsMs = [300, 700, 1000, 2000, 5000];

const verdicts = {
  verified: {
    kind: 'good',
    title: 'Complete and unchanged',
    text: 'Every record up to the latest anchor is there, in its order, as it was written.',
  },
  unattested: {
    kind: 'warn',
    title: 'In order, as far as it goes',
    text: 'The records fit together. Nothing that is kept elsewhere says that none was cut off the end.',
  },
  wrong: {
    kind: 'bad',
    title: 'Not in order',
    text: 'Something is missing, changed or out of its order. The places are named below; keep the files as they are.',
  },
};

/** @type {import('./app.js').Page} */
export const verification = {
  title: 'Verification',
  async show({ tenant, signal, again }) {
    const path = ofTenant(tenant, 'audit/verification');
    const seen = await get(path, signal);
    const verify = button('Verify now', () => void begin(), {
      class: 'main',
      disabled: seen.state === 'running',
    });
    const begin = async () => {
      verify.disabled = true;
      verify.textContent = 'Verifying…';
      say('Verification has begun.');
      try {
        await post(path);
      } catch {
        // The page shows what there is, and its own trouble.
      }
      again();
    };
    if (seen.state === 'running') {
      verify.textContent = 'Verifying…';
      void waitFor(path, signal, again);
    }
    return [
      h(
        'p',
        { class: 'lead' },
        'Reads the trail from its first record on: the chain of hashes, the signed checkpoints, and the anchors that the keystore keeps of them.',
      ),
      h(
        'div',
        { class: 'row' },
        verify,
        seen.startedAt !== null &&
          h(
            'p',
            { class: 'hint' },
            'Begun ',
            when(seen.startedAt),
            ' by ',
            short(seen.startedBy),
            seen.endedAt !== null && [', ended ', when(seen.endedAt)],
          ),
      ),
      seen.state === 'none' &&
        h('p', { class: 'empty' }, 'Nobody has verified this trail since the server started.'),
      seen.state === 'failed' &&
        h(
          'p',
          { class: 'notice bad', role: 'alert' },
          'It could not be verified: the files or the keystore could not be read, or it took too long. That says nothing about the records.',
        ),
      seen.result !== null && h('div', {}, resultOf(seen.result, tenant)),
    ];
  },
};

/**
 * @param {string} path
 * @param {AbortSignal} signal
 * @param {() => void} again
 */
async function waitFor(path, signal, again) {
  for (let at = 0; ; at++) {
    await new Promise((resolve) => setTimeout(resolve, waitsMs[Math.min(at, waitsMs.length - 1)]));
    if (signal.aborted) return;
    const seen = await get(path, signal).catch(() => undefined);
    if (signal.aborted) return;
    if (seen?.state !== 'running') {
      const verdict = /** @type {keyof typeof verdicts} */ (seen?.result?.verdict);
      say(
        verdict === undefined
          ? 'Verification has ended.'
          : `Verification has ended: ${verdicts[verdict].title}.`,
      );
      again();
      return;
    }
  }
}

/** @param {any} result @param {string} tenant */
function resultOf(result, tenant) {
  const { kind, title, text } = verdicts[/** @type {'wrong'} */ (result.verdict)];
  const records = result.streams.reduce(
    (/** @type {number} */ sum, /** @type {any} */ stream) => sum + stream.records,
    0,
  );
  const attested = result.streams.reduce(
    (/** @type {number} */ sum, /** @type {any} */ stream) => sum + (stream.attested ?? 0),
    0,
  );
  const findings = [
    ...result.findings,
    ...result.streams.flatMap((/** @type {any} */ stream) =>
      stream.findings.map((/** @type {any} */ finding) => ({ ...finding, stream: stream.stream })),
    ),
  ];
  return [
    h(
      'section',
      { class: `verdict ${kind}`, 'aria-labelledby': 'verdict' },
      h('h2', { id: 'verdict' }, title),
      h('p', {}, text),
    ),
    facts([
      ['Records that follow on each other', count(records)],
      ['As anchors know them', count(attested)],
      ['Streams here', count(result.streams.length + result.streamsNotShown)],
      ['Streams of other nodes', count(result.elsewhere.length)],
      ['Verified on', h('span', { class: 'mono' }, result.node)],
      ['Anchors', result.isAnchored ? 'in the keystore' : 'this keystore has no place for them'],
    ]),
    findings.length > 0 && [
      h('h2', {}, 'What is wrong'),
      table(
        'What is wrong',
        ['Kind', 'Record', 'What', 'Stream'],
        findings.map((finding) =>
          h(
            'tr',
            {},
            h('td', {}, chip('bad', finding.kind)),
            h('td', { class: 'number' }, finding.index === null ? '' : count(finding.index)),
            h('td', {}, finding.text),
            h('td', {}, short(finding.stream)),
          ),
        ),
      ).frame,
    ],
    h('h2', {}, 'Streams'),
    table(
      `Streams of ${tenant}`,
      ['Stream', 'Node', 'Verdict', 'Records', 'Attested', 'First record', 'Last record'],
      result.streams.map((/** @type {any} */ stream) =>
        h(
          'tr',
          {},
          h('th', { scope: 'row' }, short(stream.stream)),
          h('td', { class: 'mono' }, stream.node ?? ''),
          h(
            'td',
            {},
            streamChip(stream),
            stream.notices.map((/** @type {string} */ notice) => h('span', { class: 'under faint' }, notice)),
          ),
          h('td', { class: 'number' }, count(stream.records)),
          h('td', { class: 'number' }, stream.attested === null ? 'none' : count(stream.attested)),
          h('td', {}, exactly(stream.firstTime)),
          h('td', {}, exactly(stream.lastTime)),
        ),
      ),
    ).frame,
    result.elsewhere.length > 0 && [
      h('h2', {}, 'Not looked at: streams of other nodes'),
      table(
        'Streams of other nodes',
        ['Stream', 'Node', 'Records', 'State', 'Anchored'],
        result.elsewhere.map((/** @type {any} */ one) =>
          h(
            'tr',
            {},
            h('th', { scope: 'row' }, short(one.stream)),
            h('td', { class: 'mono' }, one.node),
            h('td', { class: 'number' }, count(one.records)),
            h('td', {}, one.ended ? 'ended' : 'going on'),
            h('td', {}, when(one.updated)),
          ),
        ),
      ).frame,
    ],
    h(
      'p',
      { class: 'hint' },
      'This server judged its own files here. Whoever rules it rules what this page says too: for a proof that does not rest on it, copy the trail and the anchors and run ',
      h('code', {}, 'sello audit verify DIR --anchor FILE'),
      ' on another machine.',
    ),
  ];
}

/** @param {any} stream */
function streamChip({ findings, attested }) {
  if (findings.length > 0) return chip('bad', 'wrong');
  return attested === null ? chip('warn', 'not attested') : chip('good', 'as anchored');
}
