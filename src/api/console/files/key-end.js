/** How a key or a version of it ends: one person asks, another approves, and then it is done once. */
import { get, ofTenant, post } from './api.js';
import { ask } from './dialog.js';
import { button, h, span, when } from './dom.js';

/**
 * @param {import('./app.js').Place} place
 * @param {string} path
 * @param {any} keyring
 * @param {any} about
 */
export async function endOfKey({ tenant, name, signal, again }, path, keyring, { lifecycle }) {
  const { approvals } = await get(ofTenant(tenant, 'approvals'), signal);
  const mine = approvals.filter((/** @type {any} */ one) => one.key === name && one.version === null);
  const approved = mine.find((/** @type {any} */ one) => one.state === 'approved');
  const pending = mine.find((/** @type {any} */ one) => one.state === 'pending');
  const { deletion } = keyring;
  const isDue = deletion !== null && Date.parse(deletion.after) <= Date.now();
  const header = { 'x-sello-approval': approved?.id ?? '' };
  const doing = async (/** @type {any} */ question) => {
    if (await ask(question)) again();
  };
  return h(
    'section',
    { 'aria-labelledby': 'end' },
    h('h2', { id: 'end' }, 'End of this key'),
    deletion === null
      ? h(
          'p',
          {},
          `A key ends ${span(lifecycle.deletionWaitSeconds)} after that was scheduled; its use ends at once. Two people are needed.`,
        )
      : h(
          'p',
          { class: 'notice bad' },
          h('strong', {}, isDue ? 'Its end is due.' : 'Its end is scheduled.'),
          ' All that it sealed is lost then: ',
          when(deletion.after),
        ),
    pending !== undefined &&
      h(
        'p',
        {},
        'A request waits for a second person: ',
        h('a', { href: `#/${encodeURIComponent(tenant)}/approvals` }, 'Approvals'),
      ),
    h(
      'div',
      { class: 'row', role: 'group', 'aria-label': 'End of this key' },
      approved === undefined &&
        pending === undefined &&
        button(
          'Ask for approval…',
          () =>
            void doing({
              title: `Ask for the end of ${name}`,
              text: ['Another administrator has to approve it. Nothing happens until then.'],
              fields: [
                {
                  name: 'reason',
                  label: 'Reason',
                  maxlength: 500,
                  required: true,
                  hint: 'The second person reads it, and so do auditors.',
                },
              ],
              label: 'Ask',
              done: 'The request waits for a second person.',
              work: (/** @type {{ reason: string }} */ { reason }) =>
                post(ofTenant(tenant, 'approvals'), { key: name, reason }),
            }),
        ),
      approved !== undefined &&
        deletion === null &&
        button(
          'Schedule deletion',
          () =>
            void doing({
              title: `Schedule the end of ${name}`,
              text: [
                `Approved by ${approved.approvedBy.name}. All use of ${name} ends now, and the key itself after ${span(lifecycle.deletionWaitSeconds)}. Until then it can be called off.`,
              ],
              label: 'Schedule',
              isGrave: true,
              typed: name,
              done: `The end of ${name} is scheduled.`,
              work: () => post(`${path}/schedule-deletion`, {}, header),
            }),
          { class: 'grave' },
        ),
      approved !== undefined &&
        isDue &&
        button(
          'Destroy now',
          () =>
            void doing({
              title: `Destroy ${name}`,
              text: [
                `Approved by ${approved.approvedBy.name}. Every object that was sealed under ${name} is lost for good.`,
              ],
              label: 'Destroy',
              isGrave: true,
              typed: name,
              done: `${name} is destroyed.`,
              work: () => post(`${path}/destroy`, {}, header),
            }),
          { class: 'grave' },
        ),
      deletion !== null &&
        button(
          'Call it off',
          () =>
            void doing({
              title: `Call the end of ${name} off`,
              text: [`${name} stays, disabled.`],
              label: 'Call off',
              done: `The end of ${name} is called off.`,
              work: () => post(`${path}/cancel-deletion`, {}),
            }),
        ),
    ),
  );
}
