/** Who did what with which key: searched, and as it happens. */
import { addressOf, lines, ofTenant } from './api.js';
import { say, troubleOf } from './dialog.js';
import { button, chip, count, facts, fill, h, short, table, textOfTime } from './dom.js';

/** Rows of a screen; what is older leaves while records come in. */
const most = 200;
/** Those who hear the page are told of news at most this often. */
const sayEveryMs = 5000;

const spans = /** @type {const} */ ([
  ['15m', 'Last 15 minutes', 900],
  ['1h', 'Last hour', 3600],
  ['24h', 'Last 24 hours', 86_400],
  ['7d', 'Last 7 days', 604_800],
  ['30d', 'Last 30 days', 2_592_000],
  ['', 'Any time', 0],
]);

const columns = ['Time', 'Outcome', 'Operation', 'Key', 'Object', 'By', 'From', 'Record'];

/** @type {import('./app.js').Page} */
export const audit = {
  title: 'Audit',
  async show({ tenant, query, signal }) {
    const { frame, body } = table(`Records of ${tenant}`, columns, []);
    const status = h('p', { class: 'hint', id: 'found' }, '');
    const trouble = h('div', {});
    const isLive = query.get('live') === 'true';
    const here = `#/${encodeURIComponent(tenant)}/audit`;
    const text = (/** @type {string} */ name, /** @type {string} */ label, /** @type {string} */ hint) =>
      h(
        'div',
        { class: 'field' },
        h('label', { for: name }, label),
        h('input', {
          id: name,
          name,
          value: query.get(name) ?? '',
          placeholder: hint,
          autocomplete: 'off',
          spellcheck: 'false',
        }),
      );
    const choice = (
      /** @type {string} */ name,
      /** @type {string} */ label,
      /** @type {readonly (readonly [string, string, ...unknown[]])[]} */ options,
      /** @type {string} */ chosen,
    ) =>
      h(
        'div',
        { class: 'field' },
        h('label', { for: name }, label),
        h(
          'select',
          { id: name, name },
          options.map(([value, shown]) => h('option', { value, selected: value === chosen }, shown)),
        ),
      );
    const live = h('input', { type: 'checkbox', id: 'live', name: 'live', value: 'true', checked: isLive });
    const form = h(
      'form',
      {
        class: 'search',
        role: 'search',
        submit: (/** @type {Event} */ event) => {
          event.preventDefault();
          const wanted = new URLSearchParams();
          for (const [name, value] of new FormData(form))
            if (String(value).trim() !== '' || name === 'span') wanted.set(name, String(value).trim());
          const to = `${here}?${String(wanted)}`;
          if (location.hash === to) dispatchEvent(new Event('hashchange'));
          else location.hash = to;
        },
      },
      choice('span', 'When', spans, query.get('span') ?? '24h'),
      text('key', 'Key', 'any'),
      text('object', 'Bucket or object', 'photos/2026/*'),
      text('identity', 'Identity', 'begins with'),
      choice(
        'outcome',
        'Outcome',
        [
          ['', 'Any'],
          ['success', 'Success'],
          ['failure', 'Failure'],
          ['unknown', 'Begun'],
        ],
        query.get('outcome') ?? '',
      ),
      h('div', { class: 'field check' }, live, h('label', { for: 'live' }, 'Live')),
      h('button', { type: 'submit', class: 'main' }, 'Search'),
    );
    const task = taskOf(query);
    const stop = button('Stop', () => stopper.abort());
    const stopper = new AbortController();
    signal.addEventListener('abort', () => stopper.abort(), { once: true });
    stopper.signal.addEventListener(
      'abort',
      () => {
        // Whoever stands on it must not fall off the page.
        if (document.activeElement === stop) form.querySelector('button').focus();
        stop.remove();
      },
      { once: true },
    );
    void read(tenant, task, isLive, stopper, { body, status, trouble, isLeft: () => signal.aborted });
    const everything = new URLSearchParams(task);
    everything.set('order', 'oldest');
    return [
      form,
      h(
        'div',
        { class: 'row' },
        status,
        isLive && stop,
        h(
          'a',
          {
            class: 'button',
            href: addressOf(ofTenant(tenant, `audit/records?${String(everything)}`)),
            download: `${tenant}-audit.jsonl`,
          },
          'Download all that fits',
        ),
      ),
      trouble,
      frame,
    ];
  },
};

/** What the address asks for, as the API has it. @param {URLSearchParams} query */
function taskOf(query) {
  const task = new URLSearchParams();
  for (const name of ['key', 'object', 'identity', 'outcome']) {
    const value = query.get(name) ?? '';
    if (value !== '') task.set(name, value);
  }
  const chosen = spans.find(([name]) => name === (query.get('span') ?? '24h')) ?? spans[2];
  if (chosen[2] > 0) task.set('since', new Date(Date.now() - chosen[2] * 1000).toISOString());
  return task;
}

/**
 * @param {string} tenant
 * @param {URLSearchParams} task
 * @param {boolean} isLive
 * @param {AbortController} stopper
 * @param {{ body: any, status: any, trouble: any, isLeft: () => boolean }} places
 */
async function read(tenant, task, isLive, stopper, { body, status, trouble, isLeft }) {
  const asked = new URLSearchParams(task);
  asked.set('limit', String(most));
  if (isLive) asked.set('follow', 'true');
  status.textContent = 'Searching…';
  let shown = 0;
  let saidMs = Date.now();
  let end;
  try {
    for await (const record of lines(ofTenant(tenant, `audit/records?${String(asked)}`), stopper.signal)) {
      if (record.search !== undefined) {
        end = record.search;
        break;
      }
      place(body, record);
      shown++;
      if (isLive) status.textContent = `Live: ${count(shown)} records so far, the newest first.`;
      if (isLive && Date.now() - saidMs > sayEveryMs) {
        saidMs = Date.now();
        say(status.textContent);
      }
    }
  } catch (error) {
    if (isLeft()) return;
    if (!stopper.signal.aborted) fill(trouble, troubleOf(error));
  }
  stopper.abort();
  if (isLeft()) return;
  status.textContent = endText(shown, end);
  if (shown === 0 && end?.reason === 'all')
    fill(
      body,
      h(
        'tr',
        {},
        h(
          'td',
          { colspan: columns.length, class: 'empty' },
          'Nothing fits. Widen the time, or leave a field out.',
        ),
      ),
    );
  say(status.textContent);
}

/** @param {number} shown @param {any} end */
function endText(shown, end) {
  const found = `${count(shown)} record${shown === 1 ? '' : 's'}, the newest first`;
  switch (end?.reason) {
    case 'all':
      return `${found}.`;
    case 'limit':
      return `${found}. There are older ones: narrow the search, or download them.`;
    case 'time':
      return `${found}. The time for one search is over; there may be more.`;
    case undefined:
      return `${found}. Stopped.`;
    default:
      return `${found}. The server broke the search off; there may be more.`;
  }
}

/**
 * Puts a record where its time says; mostly at the top or at the end.
 * @param {HTMLElement} body
 * @param {any} record
 */
function place(body, record) {
  const time = record['@timestamp'];
  const made = row(record);
  made.dataset.time = time;
  const heads = /** @type {HTMLElement[]} */ (
    [...body.children].filter((child) => child instanceof HTMLElement && child.dataset['time'] !== undefined)
  );
  const newest = heads[0]?.dataset['time'] ?? '';
  if (time >= newest) body.prepend(made);
  else {
    const before = heads.find((head) => (head.dataset['time'] ?? '') < time);
    if (before === undefined) body.append(made);
    else before.before(made);
  }
  if (heads.length >= most) {
    const last = /** @type {HTMLElement} */ (heads.at(-1));
    while (last.nextElementSibling !== null) last.nextElementSibling.remove();
    last.remove();
  }
}

/** @param {any} record */
function row(record) {
  const { event = {}, sello = {}, user, source, error } = record;
  const more = h('tr', { class: 'more', hidden: true }, h('td', { colspan: columns.length }, detail(record)));
  const toggle = button(
    'Details',
    () => {
      const isOpen = toggle.getAttribute('aria-expanded') === 'true';
      toggle.setAttribute('aria-expanded', String(!isOpen));
      more.hidden = isOpen;
      if (isOpen) more.remove();
      else head.after(more);
    },
    {
      'aria-expanded': 'false',
      class: 'small',
      'aria-label': `Details of the record of ${textOfTime(record['@timestamp'])}`,
    },
  );
  const head = h(
    'tr',
    {},
    h(
      'td',
      {},
      h(
        'time',
        { datetime: record['@timestamp'], class: 'mono nowrap' },
        `${record['@timestamp'].slice(0, 10)} ${record['@timestamp'].slice(11, 23)}`,
      ),
    ),
    h(
      'td',
      {},
      outcomeChip(event.outcome),
      error?.code !== undefined && h('span', { class: 'mono under' }, error.code),
    ),
    h('td', {}, event.action ?? h('span', { class: 'faint' }, 'note')),
    h(
      'td',
      { class: 'mono' },
      sello.key ?? '',
      sello.key_version !== undefined && h('span', { class: 'faint' }, ` v${String(sello.key_version)}`),
    ),
    h('td', { class: 'mono long' }, placeOf(sello)),
    h('td', {}, user === undefined ? '' : short(user.id, 8)),
    h('td', { class: 'mono' }, source?.ip ?? source?.address ?? ''),
    h('td', {}, toggle),
  );
  return head;
}

/**
 * The object, or the first of a batch's and how many the record stands for.
 * @param {any} sello
 */
function placeOf({ context, count, items = [] }) {
  const { bucket, object } = context ?? items[0] ?? {};
  const name = bucket === undefined ? '' : object === undefined ? bucket : `${bucket}/${object}`;
  return items.length === 0 ? name : `${name} (${String(count)} items)`.trimStart();
}

/** @param {string | undefined} outcome */
function outcomeChip(outcome) {
  if (outcome === 'success') return chip('good', 'success');
  if (outcome === 'failure') return chip('bad', 'failure');
  return chip('plain', 'begun');
}

/** @param {any} record */
function detail(record) {
  const { sello = {}, http, rule, event = {}, user, url } = record;
  return h(
    'div',
    {},
    facts(
      [
        ['Decision', sello.decision],
        ['By rule', rule?.name],
        ['Reason', event.reason],
        ['Identity', user?.id],
        ['Request', http?.request?.id],
        ['Path', url?.path],
        ['Status', http?.response?.status_code],
        ['Stream', sello.chain?.stream],
        ['Number in the stream', sello.chain?.sequence],
      ]
        .filter(([, value]) => value !== undefined)
        .map(([name, value]) => /** @type {[string, string]} */ ([name, String(value)])),
      'facts dense',
    ),
    h('pre', { tabindex: '0', 'aria-label': 'The record as it is' }, JSON.stringify(record, undefined, 2)),
  );
}
