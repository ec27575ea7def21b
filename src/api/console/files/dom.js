/** Elements from plain data. Text is only ever text: nothing here takes markup, and the page's policy would refuse it. */

/**
 * Lists may be in lists.
 * @typedef {Node | string | number | null | undefined | false | readonly any[]} Child
 * @typedef {Record<string, string | number | boolean | undefined | ((event: any) => void)>} Attributes
 */

/**
 * @param {string} name
 * @param {Attributes} [attributes] functions become listeners; true an empty attribute, false and undefined none
 * @param {...Child} children
 * @returns {any}
 */
export function h(name, attributes = {}, ...children) {
  const element = document.createElement(name);
  for (const [key, value] of Object.entries(attributes)) {
    if (value === undefined || value === false) continue;
    if (typeof value === 'function') element.addEventListener(key, value);
    else element.setAttribute(key, value === true ? '' : String(value));
  }
  add(element, children);
  return element;
}

/**
 * @param {Element} parent
 * @param {readonly Child[]} children
 */
export function add(parent, children) {
  for (const child of children.flat(Infinity))
    if (child !== null && child !== undefined && child !== false)
      parent.append(child instanceof Node ? child : String(child));
}

/**
 * @param {Element} parent
 * @param {...Child} children
 */
export function fill(parent, ...children) {
  parent.replaceChildren();
  add(parent, children);
}

/**
 * A button.
 * @param {string} text
 * @param {(event: any) => void} click
 * @param {Attributes} [attributes]
 */
export function button(text, click, attributes = {}) {
  return h('button', { type: 'button', click, ...attributes }, text);
}

/**
 * State as words with a colour beside them, never a colour alone.
 * @param {'good' | 'bad' | 'warn' | 'off' | 'plain'} kind
 * @param {string} text
 */
export function chip(kind, text) {
  return h('span', { class: `chip ${kind}` }, text);
}

/**
 * Facts with their names.
 * @param {readonly (readonly [string, Child])[]} rows
 * @param {string} [kind]
 */
export function facts(rows, kind = 'facts') {
  return h(
    'dl',
    { class: kind },
    rows.map(([name, value]) => h('div', {}, h('dt', {}, name), h('dd', {}, value))),
  );
}

/**
 * A table that scrolls by itself where it is too wide, by keyboard too.
 * @param {string} caption
 * @param {readonly string[]} columns
 * @param {readonly Node[]} rows
 */
export function table(caption, columns, rows) {
  const body = h('tbody', {}, rows);
  const frame = h(
    'div',
    { class: 'frame', tabindex: '0', role: 'region', 'aria-label': caption },
    h(
      'table',
      {},
      h('caption', { class: 'unseen' }, caption),
      h(
        'thead',
        {},
        h(
          'tr',
          {},
          columns.map((column) => h('th', { scope: 'col' }, column)),
        ),
      ),
      body,
    ),
  );
  return { frame, body };
}

/**
 * @param {string | null | undefined} iso
 * @param {string} [otherwise]
 */
export function when(iso, otherwise = 'never') {
  if (iso === null || iso === undefined) return h('span', { class: 'faint' }, otherwise);
  return h('time', { datetime: iso, title: `${textOfTime(iso)}` }, ago(Date.parse(iso)));
}

/** @param {string | null | undefined} iso */
export function exactly(iso) {
  if (iso === null || iso === undefined) return h('span', { class: 'faint' }, 'none');
  return h('time', { datetime: iso, class: 'mono' }, textOfTime(iso));
}

/** UTC, as in records. @param {string} iso */
export function textOfTime(iso) {
  return `${iso.slice(0, 10)} ${iso.slice(11, 19)} UTC`;
}

const units = /** @type {const} */ ([
  ['year', 31_557_600],
  ['month', 2_629_800],
  ['day', 86_400],
  ['hour', 3600],
  ['minute', 60],
]);
const relative = new Intl.RelativeTimeFormat('en', { numeric: 'auto' });

/** @param {number} timeMs */
export function ago(timeMs) {
  const seconds = (timeMs - Date.now()) / 1000;
  for (const [unit, length] of units)
    if (Math.abs(seconds) >= length) return relative.format(Math.trunc(seconds / length), unit);
  return seconds > 0 ? 'in less than a minute' : 'just now';
}

/** @param {number} seconds */
export function span(seconds) {
  for (const [unit, length] of units)
    if (seconds >= length) {
      const count = Math.round((10 * seconds) / length) / 10;
      return `${String(count)} ${unit}${count === 1 ? '' : 's'}`;
    }
  return `${String(seconds)} seconds`;
}

const numbers = new Intl.NumberFormat('en');

/** @param {number} value */
export function count(value) {
  return numbers.format(value);
}

/**
 * A name that is long and not for reading: its beginning, and all of it where somebody asks for it.
 * @param {string | null | undefined} id
 * @param {number} [shown]
 */
export function short(id, shown = 12) {
  if (id === null || id === undefined || id === '') return h('span', { class: 'faint' }, 'none');
  if (id.length <= shown) return h('span', { class: 'mono' }, id);
  return h('span', { class: 'mono', title: id }, `${id.slice(0, shown)}…`);
}
