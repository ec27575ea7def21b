/** Where the person has a role, and how each of those tenants does. */
import { get, ofTenant } from './api.js';
import { endChip } from './certificates.js';
import { chip, count, h, table } from './dom.js';
import { troubleOf } from './dialog.js';

/** Asked at once. More would be a flood of records, one for each look. */
const atOnce = 4;
/** Beyond that somebody has to look at one by itself. */
const most = 40;

/** @type {import('./app.js').Page} */
export const tenants = {
  title: 'Tenants',
  async show({ memberships, signal }) {
    const asked = memberships.slice(0, most);
    /** @type {any[]} */
    const found = [];
    const waiting = [...asked.entries()];
    const work = async () => {
      for (let next = waiting.shift(); next !== undefined; next = waiting.shift()) {
        const [at, { tenant }] = next;
        found[at] = await get(ofTenant(tenant), signal).catch((error) => ({ error }));
      }
    };
    await Promise.all(Array.from({ length: atOnce }, work));
    const rows = memberships.map(({ tenant, role }, at) => row(tenant, role, found[at]));
    return [
      h(
        'p',
        { class: 'lead' },
        'A tenant owns its keys, its identities and its records. You see those that you have a role in.',
      ),
      table(
        'Tenants',
        ['Tenant', 'Your role', 'Keystore', 'Records', 'Proof', 'Next certificate ends', 'Ends a key'],
        rows,
      ).frame,
    ];
  },
};

/**
 * @param {string} tenant
 * @param {string} role
 * @param {any} seen
 */
function row(tenant, role, seen) {
  const name = h('th', { scope: 'row' }, h('a', { href: `#/${encodeURIComponent(tenant)}/keys` }, tenant));
  if (seen === undefined || seen.error !== undefined)
    return h(
      'tr',
      {},
      name,
      h('td', {}, role),
      h('td', { colspan: 5 }, seen === undefined ? 'not looked at' : troubleOf(seen.error)),
    );
  const { keystore, audit, lifecycle, certificateEnds } = seen;
  return h(
    'tr',
    {},
    name,
    h('td', {}, role),
    h(
      'td',
      {},
      keystore.isWorking ? chip('good', 'working') : chip('bad', 'not reachable'),
      h('span', { class: 'under mono faint' }, keystore.kind),
    ),
    h('td', {}, recordsOf(audit)),
    h('td', {}, proofOf(audit)),
    h('td', {}, endOf(certificateEnds)),
    h('td', {}, lifecycle.dualControl ? 'two people' : 'two people, or one certificate'),
  );
}

/** @param {string | null} notAfter */
function endOf(notAfter) {
  return notAfter === null ? h('span', { class: 'faint' }, 'none known') : endChip(notAfter);
}

/** @param {any} audit */
function recordsOf({ kind, mode, trouble, records }) {
  if (kind === 'off') return chip('warn', 'off');
  if (trouble !== null) return [chip('bad', 'refused'), ` ${trouble}`];
  return [
    chip('good', mode),
    records !== null &&
      h('span', { class: 'under faint' }, `${count(records)} record${records === 1 ? '' : 's'}`),
  ];
}

/** @param {any} audit */
function proofOf({ kind, proofTrouble, records, checkpointed }) {
  if (kind !== 'trail') return chip('off', 'plain file');
  if (proofTrouble !== null) return [chip('warn', 'behind'), ` ${proofTrouble}`];
  const left = records - checkpointed;
  return [chip('good', 'anchored'), left > 0 ? ` ${count(left)} not yet` : ''];
}
