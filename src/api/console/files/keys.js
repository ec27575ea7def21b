/** A tenant's keys, a page at a time. */
import { get, ofTenant } from './api.js';
import { chip, count, h, span, table, when } from './dom.js';

/** @type {import('./app.js').Page} */
export const keys = {
  title: 'Keys',
  async show({ tenant, query, signal }) {
    const prefix = query.get('prefix') ?? '';
    const after = query.get('after') ?? '';
    const asked = new URLSearchParams({
      ...(prefix === '' ? {} : { prefix }),
      ...(after === '' ? {} : { after }),
    });
    const found = await get(ofTenant(tenant, `keys?${String(asked)}`), signal);
    const here = `#/${encodeURIComponent(tenant)}/keys`;
    const input = h('input', {
      id: 'prefix',
      name: 'prefix',
      value: prefix,
      maxlength: 80,
      autocomplete: 'off',
      spellcheck: 'false',
    });
    const search = h(
      'form',
      {
        class: 'row',
        role: 'search',
        submit: (/** @type {Event} */ event) => {
          event.preventDefault();
          location.hash = `${here}?${String(new URLSearchParams({ prefix: input.value.trim() }))}`;
        },
      },
      h('div', { class: 'field' }, h('label', { for: 'prefix' }, 'Names that begin with'), input),
      h('button', { type: 'submit' }, 'Find'),
    );
    const rows = found.keys.map((/** @type {any} */ one) => row(here, one));
    const next =
      found.next !== null &&
      h(
        'a',
        { class: 'button', href: `${here}?${String(new URLSearchParams({ prefix, after: found.next }))}` },
        'Next page',
      );
    const first =
      after !== '' &&
      h('a', { class: 'button', href: `${here}?${String(new URLSearchParams({ prefix }))}` }, 'First page');
    return [
      search,
      rows.length === 0
        ? h(
            'p',
            { class: 'empty' },
            prefix === '' ? 'There is no key yet.' : `No key begins with “${prefix}”.`,
          )
        : table(
            `Keys of ${tenant}`,
            ['Key', 'State', 'Seals with', 'Versions', 'Changed', 'Next rotation'],
            rows,
          ).frame,
      h('div', { class: 'row end' }, first, next),
    ];
  },
};

/**
 * @param {string} here
 * @param {{ key: string, keyring: any, error: string | null }} one
 */
function row(here, { key, keyring, error }) {
  const name = h(
    'th',
    { scope: 'row' },
    h('a', { class: 'mono', href: `${here}/${encodeURIComponent(key)}` }, key),
  );
  if (keyring === null)
    return h(
      'tr',
      {},
      name,
      h('td', { colspan: 5 }, chip('bad', 'cannot be read'), ' ', h('span', { class: 'mono' }, error)),
    );
  const { versions, sealingVersion, rotateEverySeconds, nextRotation } = keyring;
  return h(
    'tr',
    {},
    name,
    h('td', {}, stateChip(keyring.state)),
    h('td', {}, sealingVersion === null ? chip('warn', 'nothing') : `version ${String(sealingVersion)}`),
    h('td', {}, count(versions.length), ' ', oddVersions(versions)),
    h('td', {}, when(keyring.changedAt, 'not since it was made')),
    h(
      'td',
      {},
      rotateEverySeconds === 0
        ? h('span', { class: 'faint' }, 'by hand')
        : [when(nextRotation), ` (every ${span(rotateEverySeconds)})`],
    ),
  );
}

/** @param {any[]} versions */
function oddVersions(versions) {
  return ['compromised', 'disabled', 'destroyed']
    .map((state) => /** @type {const} */ ([state, versions.filter((one) => one.state === state).length]))
    .filter(([, many]) => many > 0)
    .map(([state, many]) => chip(state === 'compromised' ? 'bad' : 'off', `${String(many)} ${state}`));
}

/** @param {string} state */
export function stateChip(state) {
  if (state === 'enabled') return chip('good', state);
  if (state === 'compromised' || state === 'deleting') return chip('bad', state);
  return chip(state === 'disabled' || state === 'destroyed' ? 'off' : 'warn', state.replace('-', ' '));
}
