/** What ends next. */
import { get, ofTenant } from './api.js';
import { chip, count, exactly, h, short, table, when } from './dom.js';

const dayMs = 86_400_000;
/** As the alerts: docs/runbooks. */
const soonDays = 21;
const nowDays = 7;

const uses = {
  listener: 'Listener for storage nodes',
  operators: 'Listener for people',
  'client-ca': 'CA of clients',
  'pinned-client': 'Client, trusted by itself',
  crl: 'Revocation list',
  client: 'Client that connected',
  'vault-client': 'For Vault',
};

/** @type {import('./app.js').Page} */
export const certificates = {
  title: 'Certificates',
  async show({ tenant, signal }) {
    const found = await get(ofTenant(tenant, 'certificates'), signal);
    const all = /** @type {any[]} */ (found.certificates);
    const soon = all.filter(({ notAfter }) => left(notAfter) < soonDays).length;
    const rows = all.map((one) =>
      h(
        'tr',
        {},
        h(
          'th',
          { scope: 'row' },
          one.subject === '' ? h('span', { class: 'faint' }, 'no name') : one.subject,
          h('span', { class: 'under faint' }, uses[/** @type {'client'} */ (one.use)] ?? one.use),
        ),
        h('td', {}, whereOf(one)),
        h('td', {}, endChip(one.notAfter)),
        h('td', {}, exactly(one.notAfter)),
        h('td', {}, one.seenAt === null ? '' : when(one.seenAt)),
        h('td', {}, short(one.serial)),
      ),
    );
    return [
      h(
        'p',
        { class: 'lead' },
        'Certificates that this tenant depends on. ',
        soon === 0
          ? `None ends within ${String(soonDays)} days.`
          : `${count(soon)} of ${count(all.length)} end within ${String(soonDays)} days.`,
      ),
      table(`Certificates of ${tenant}`, ['Name and use', 'Where', 'State', 'Ends', 'Seen', 'Serial'], rows)
        .frame,
      h(
        'p',
        { class: 'hint' },
        'Clients are those that connected to this process since it started, directly and not through a proxy.',
        found.clientsNotShown > 0 &&
          ` ${count(found.clientsNotShown)} more were seen and are not remembered.`,
      ),
      found.systemCas &&
        h('p', { class: 'hint' }, 'Clients are checked by the CAs of the system, which are not listed.'),
    ];
  },
};

/** @param {string | null} notAfter */
function left(notAfter) {
  return notAfter === null ? Infinity : (Date.parse(notAfter) - Date.now()) / dayMs;
}

/** @param {string | null} notAfter */
export function endChip(notAfter) {
  const days = left(notAfter);
  if (days < 0) return chip('bad', 'over');
  const text =
    days < 2 ? `${String(Math.floor(days * 24))} hours left` : `${count(Math.floor(days))} days left`;
  return chip(days < nowDays ? 'bad' : days < soonDays ? 'warn' : 'good', text);
}

/**
 * An identity, an address, or a file by its own name.
 * @param {{ use: string, where: string }} one
 */
function whereOf({ use, where }) {
  if (use === 'client') return short(where);
  return h('span', { class: 'mono', title: where }, where.slice(where.lastIndexOf('/') + 1));
}
