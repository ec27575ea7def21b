/** What waits for a second person, and what became of the rest. */
import { get, ofTenant, post } from './api.js';
import { ask } from './dialog.js';
import { button, chip, h, table, when } from './dom.js';

/** @type {import('./app.js').Page} */
export const approvals = {
  title: 'Approvals',
  async show({ tenant, person, signal, again }) {
    const found = await get(ofTenant(tenant, 'approvals'), signal);
    const rows = found.approvals
      .toReversed()
      .map((/** @type {any} */ one) => row(one, person, tenant, again));
    return [
      h(
        'p',
        { class: 'lead' },
        'What cannot be undone takes two people: one asks, another approves, and then it is done once, within its time.',
      ),
      rows.length === 0
        ? h('p', { class: 'empty' }, 'Nothing waits. A request is made on the page of a key.')
        : table(
            `Approvals of ${tenant}`,
            ['What', 'Reason', 'State', 'Asked', 'Approved', 'Ends', 'Change'],
            rows,
          ).frame,
    ];
  },
};

const kinds = { pending: 'warn', approved: 'good', used: 'off', withdrawn: 'off', expired: 'off' };

/**
 * @param {any} one
 * @param {any} person
 * @param {string} tenant
 * @param {() => void} again
 */
function row(one, person, tenant, again) {
  const what = one.version === null ? one.key : `${String(one.key)}, version ${String(one.version)}`;
  const isOpen = one.state === 'pending' || one.state === 'approved';
  const isOwn = one.requestedBy.id === person.id;
  const change = async (
    /** @type {string} */ label,
    /** @type {string} */ end,
    /** @type {string} */ text,
    /** @type {string} */ done,
  ) => {
    const isDone = await ask({
      title: `${label}: end of ${what}`,
      text: [text],
      label,
      isGrave: end === 'approve',
      done,
      work: () => post(ofTenant(tenant, `approvals/${encodeURIComponent(one.id)}/${end}`), {}),
    });
    if (isDone) again();
  };
  return h(
    'tr',
    {},
    h(
      'th',
      { scope: 'row' },
      'End of ',
      h(
        'a',
        { class: 'mono', href: `#/${encodeURIComponent(tenant)}/keys/${encodeURIComponent(one.key)}` },
        what,
      ),
    ),
    h('td', { class: 'long' }, one.reason),
    h('td', {}, chip(/** @type {'off'} */ (kinds[/** @type {'used'} */ (one.state)]), one.state)),
    h('td', {}, one.requestedBy.name, ' ', when(one.requestedAt)),
    h('td', {}, one.approvedBy === null ? '' : [one.approvedBy.name, ' ', when(one.approvedAt)]),
    h('td', {}, isOpen ? when(one.expiresAt) : ''),
    h(
      'td',
      {},
      h(
        'div',
        { class: 'row tight' },
        one.state === 'pending' &&
          !isOwn &&
          button(
            'Approve',
            () =>
              void change(
                'Approve',
                'approve',
                `${String(one.requestedBy.name)} asks for it: “${String(one.reason)}”. After that it can be done once.`,
                'It is approved.',
              ),
            { class: 'small main', 'aria-label': `Approve the end of ${what}` },
          ),
        one.state === 'pending' && isOwn && h('span', { class: 'faint' }, 'waits for another person'),
        isOpen &&
          button(
            'Withdraw',
            () => void change('Withdraw', 'withdraw', 'The request is over then.', 'It is withdrawn.'),
            { class: 'small', 'aria-label': `Withdraw the request for ${what}` },
          ),
      ),
    ),
  );
}
