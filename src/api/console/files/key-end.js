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
export async function endOfKey(place, path, keyring, { lifecycle }) {
  const { approvals } = await get(ofTenant(place.tenant, 'approvals'), place.signal);
  const own = approvals.filter((/** @type {any} */ one) => one.key === place.name);
  const key = new End(place, path, null, own);
  const versions = keyring.versions
    .filter((/** @type {any} */ one) => one.state === 'disabled' && one.destroyAfter !== null)
    .map((/** @type {any} */ one) => ({ ...one, end: new End(place, path, one.version, own) }));
  return h(
    'section',
    { 'aria-labelledby': 'end' },
    h('h2', { id: 'end' }, 'End of this key'),
    keyring.deletion === null
      ? h(
          'p',
          {},
          `A key ends ${span(lifecycle.deletionWaitSeconds)} after that was scheduled; its use ends at once. Two people are needed.`,
        )
      : scheduled('All that it sealed is lost then', keyring.deletion.after),
    key.pending(),
    h(
      'div',
      { class: 'row', role: 'group', 'aria-label': 'End of this key' },
      ofKey(key, keyring, lifecycle),
    ),
    versions.map((/** @type {any} */ { version, destroyAfter, end }) => [
      h('h3', {}, `End of version ${String(version)}`),
      scheduled('What only this version opens is lost then', destroyAfter),
      end.pending(),
      h(
        'div',
        { class: 'row', role: 'group', 'aria-label': `End of version ${String(version)}` },
        end.request(),
        isDue(destroyAfter) && end.destroy(`versions/${String(version)}/destroy`),
      ),
    ]),
  );
}

/** @param {End} end @param {any} keyring @param {any} lifecycle */
function ofKey(end, { deletion }, lifecycle) {
  const { name } = end;
  if (deletion !== null)
    return [
      isDue(deletion.after) && [end.request(), end.destroy('destroy')],
      end.button('Call it off', 'cancel-deletion', {
        title: `Call the end of ${name} off`,
        text: [`${name} stays, disabled.`],
        label: 'Call off',
        done: `The end of ${name} is called off.`,
      }),
    ];
  return [
    end.request(),
    end.approved !== undefined &&
      end.button('Schedule deletion', 'schedule-deletion', {
        title: `Schedule the end of ${name}`,
        text: [
          `Approved by ${end.approved.approvedBy.name}. All use of ${name} ends now, and the key itself after ${span(lifecycle.deletionWaitSeconds)}. Until then it can be called off.`,
        ],
        label: 'Schedule',
        isGrave: true,
        typed: name,
        done: `The end of ${name} is scheduled.`,
      }),
  ];
}

/** @param {string} text @param {string} after */
function scheduled(text, after) {
  return h(
    'p',
    { class: 'notice bad' },
    h('strong', {}, isDue(after) ? 'Its end is due.' : 'Its end is scheduled.'),
    ` ${text}: `,
    when(after),
  );
}

/** @param {string} after */
function isDue(after) {
  return Date.parse(after) <= Date.now();
}

/** What two people have agreed on so far, for the key or a version. */
class End {
  #place;
  #path;
  #version;
  #waiting;
  approved;

  /**
   * @param {import('./app.js').Place} place
   * @param {string} path
   * @param {number | null} version null: the whole key
   * @param {any[]} approvals
   */
  constructor(place, path, version, approvals) {
    this.#place = place;
    this.#path = path;
    this.#version = version;
    const own = approvals.filter((one) => one.version === version);
    this.approved = own.find(({ state }) => state === 'approved');
    this.#waiting = own.find(({ state }) => state === 'pending');
  }

  get name() {
    return this.#place.name;
  }

  get #what() {
    return this.#version === null ? this.name : `version ${String(this.#version)} of ${this.name}`;
  }

  pending() {
    if (this.#waiting === undefined) return undefined;
    const address = `#/${encodeURIComponent(this.#place.tenant)}/approvals`;
    return h('p', {}, 'A request waits for a second person: ', h('a', { href: address }, 'Approvals'));
  }

  /** Where nobody has asked yet. */
  request() {
    if (this.#waiting !== undefined || this.approved !== undefined) return undefined;
    const label = this.#version === null ? 'Ask for approval…' : `Ask for version ${String(this.#version)}…`;
    const { tenant, name } = this.#place;
    return button(
      label,
      () =>
        void this.#do({
          title: `Ask for the end of ${this.#what}`,
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
            post(ofTenant(tenant, 'approvals'), {
              key: name,
              reason,
              ...(this.#version === null ? {} : { version: this.#version }),
            }),
        }),
    );
  }

  /** Once it was approved. @param {string} path */
  destroy(path) {
    if (this.approved === undefined) return undefined;
    return this.button(
      `Destroy ${this.#version === null ? 'now' : `version ${String(this.#version)}`}`,
      path,
      {
        title: `Destroy ${this.#what}`,
        text: [
          `Approved by ${this.approved.approvedBy.name}. What was sealed under ${this.#what} is lost for good.`,
        ],
        label: 'Destroy',
        isGrave: true,
        typed: this.name,
        done: `${this.#what} is destroyed.`,
      },
    );
  }

  /**
   * @param {string} text
   * @param {string} path
   * @param {{ title: string, text: string[], label: string, isGrave?: boolean, typed?: string, done: string }} question
   */
  button(text, path, question) {
    const headers = this.approved === undefined ? {} : { 'x-sello-approval': this.approved.id };
    const work = () => post(`${this.#path}/${path}`, {}, headers);
    return button(
      text,
      () => void this.#do({ ...question, work }),
      question.isGrave === true ? { class: 'grave' } : {},
    );
  }

  /** @param {any} question */
  async #do(question) {
    if (!(await ask(question))) return;
    if (question.label === 'Destroy' && this.#version === null)
      location.hash = `#/${encodeURIComponent(this.#place.tenant)}/keys`;
    else this.#place.again();
  }
}
