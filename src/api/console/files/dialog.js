/** What a person is asked before something changes, and what they are told after. */
import { ApiError } from './api.js';
import { button, fill, h } from './dom.js';

/**
 * For those who hear the page.
 * @param {string} text
 */
export function say(text) {
  const place = /** @type {HTMLElement} */ (document.getElementById('said'));
  place.textContent = '';
  place.textContent = text;
}

/** @param {unknown} error */
export function troubleOf(error) {
  const known = error instanceof ApiError ? error : undefined;
  const text = error instanceof Error ? error.message : String(error);
  return h(
    'div',
    { class: 'notice bad', role: 'alert' },
    h('strong', {}, `${text.slice(0, 1).toUpperCase()}${text.slice(1)}.`),
    known?.code !== undefined && h('span', { class: 'mono' }, ` ${known.code}`),
    known?.requestId !== undefined && h('span', { class: 'faint' }, ` Request ${known.requestId}`),
  );
}

/**
 * @typedef {object} Field
 * @property {string} name
 * @property {string} label
 * @property {string} [type]
 * @property {string} [value]
 * @property {string} [hint]
 * @property {number} [maxlength]
 * @property {number} [min]
 * @property {boolean} [required]
 */

/**
 * Asks, does, and tells how it went; stays open when it went wrong.
 * @param {object} question
 * @param {string} question.title
 * @param {readonly (string | Node)[]} question.text
 * @param {string} question.label what the button says
 * @param {boolean} [question.isGrave] it ends something
 * @param {string} [question.typed] what has to be typed for it
 * @param {readonly Field[]} [question.fields]
 * @param {(values: Record<string, string>) => Promise<unknown>} question.work
 * @param {string} question.done
 * @returns {Promise<boolean>} whether it was done
 */
export function ask({ title, text, label, isGrave = false, typed, fields = [], work, done }) {
  return new Promise((resolve) => {
    const trouble = h('div', {});
    const all = [
      ...fields,
      ...(typed === undefined ? [] : [{ name: 'typed', label: `Type ${typed} to confirm`, required: true }]),
    ];
    const inputs = all.map((field) => ({ field, input: inputOf(field) }));
    const confirm = h('button', { type: 'submit', class: isGrave ? 'grave' : 'main' }, label);
    const form = h(
      'form',
      { method: 'dialog', submit: (/** @type {Event} */ event) => void finish(event) },
      h('h2', { id: 'asked' }, title),
      text.map((part) => h('p', {}, part)),
      inputs.map(({ field, input }) => labelled(field, input)),
      trouble,
      h(
        'div',
        { class: 'row end' },
        button('Cancel', () => dialog.close()),
        confirm,
      ),
    );
    const dialog = h('dialog', { 'aria-labelledby': 'asked' }, form);
    let isDone = false;

    /** @param {Event} event */
    async function finish(event) {
      event.preventDefault();
      const values = Object.fromEntries(
        inputs.map(({ field, input }) => [field.name, /** @type {HTMLInputElement} */ (input).value.trim()]),
      );
      if (typed !== undefined && values['typed'] !== typed) {
        fill(trouble, troubleOf(new Error(`what was typed is not ${typed}`)));
        return;
      }
      confirm.disabled = true;
      try {
        await work(values);
        isDone = true;
        say(done);
        dialog.close();
      } catch (error) {
        fill(trouble, troubleOf(error));
      } finally {
        confirm.disabled = false;
      }
    }

    dialog.addEventListener('close', () => {
      dialog.remove();
      resolve(isDone);
    });
    document.body.append(dialog);
    dialog.showModal();
  });
}

/** @param {Field} field */
function inputOf({ name, type = 'text', value = '', maxlength, min, required = false, hint }) {
  return h('input', {
    name,
    type,
    value,
    maxlength,
    min,
    required,
    autocomplete: 'off',
    id: `field-${name}`,
    'aria-describedby': hint === undefined ? undefined : `hint-${name}`,
  });
}

/**
 * @param {Field} field
 * @param {HTMLElement} input
 */
function labelled({ name, label, hint }, input) {
  return h(
    'div',
    { class: 'field' },
    h('label', { for: `field-${name}` }, label),
    input,
    hint !== undefined && h('p', { class: 'hint', id: `hint-${name}` }, hint),
  );
}
