/** One key: its versions, how each is used, and what the person may do about it. */
import { get, ofTenant, post } from './api.js';
import { ask } from './dialog.js';
import { button, count, facts, h, short, span, table, when } from './dom.js';
import { endOfKey } from './key-end.js';
import { stateChip } from './keys.js';

/** @type {import('./app.js').Page} */
export const key = {
  title: 'Key',
  async show(place) {
    const { tenant, name, may, signal } = place;
    const path = ofTenant(tenant, `keys/${encodeURIComponent(name)}`);
    const [keyring, use, about] = await Promise.all([
      get(path, signal),
      get(`${path}/use`, signal),
      get(ofTenant(tenant), signal),
    ]);
    const uses = new Map(use.versions.map((/** @type {any} */ one) => [one.version, one]));
    const most = Math.max(1, ...use.versions.map((/** @type {any} */ one) => one.opened));
    const actions = new Actions(place, path, keyring);
    const rows = keyring.versions
      .toReversed()
      .map((/** @type {any} */ version) => row(version, keyring, uses.get(version.version), most, actions));
    const columns = ['Version', 'State', 'Made', 'Sealed last', 'Opened last', 'Opened', 'Kept'];
    const hasActions = about.keystore.hasVersions && may('state');
    return [
      about.keystore.hasVersions
        ? actions.ofKey()
        : h(
            'p',
            { class: 'notice' },
            'This keystore keeps one version of each key, as KES did: keys cannot be rotated here.',
          ),
      facts([
        ['State', stateChip(keyring.state)],
        [
          'Seals with',
          keyring.sealingVersion === null ? 'no version' : `version ${String(keyring.sealingVersion)}`,
        ],
        [
          'Opens',
          keyring.minDecryptionVersion === 1
            ? 'every version'
            : `versions from ${String(keyring.minDecryptionVersion)} on`,
        ],
        ['Rotation', rotationOf(keyring)],
        [
          'Changed',
          [
            when(keyring.changedAt, 'not since it was made'),
            keyring.changedAt !== null && [' by ', short(keyring.changedBy)],
          ],
        ],
        ['Key id', short(keyring.id)],
      ]),
      h('h2', {}, 'Versions and their use'),
      table(`Versions of ${name}`, hasActions ? [...columns, 'Change'] : columns, rows).frame,
      h(
        'p',
        { class: 'hint' },
        'Use is what all replicas wrote down, some seconds ago. It says what was opened; what was sealed and not opened since is nobody’s knowledge, so a quiet version may still be needed.',
      ),
      h(
        'p',
        {},
        h(
          'a',
          { href: `#/${encodeURIComponent(tenant)}/audit?key=${encodeURIComponent(name)}` },
          'Records of this key',
        ),
      ),
      may('delete') && about.keystore.hasVersions && (await endOfKey(place, path, keyring, about)),
    ];
  },
};

/** @param {any} keyring */
function rotationOf({ rotateEverySeconds, nextRotation }) {
  if (rotateEverySeconds === 0) return 'by hand';
  return h('span', {}, `every ${span(rotateEverySeconds)}, next `, when(nextRotation));
}

/**
 * @param {any} version
 * @param {any} keyring
 * @param {any} use
 * @param {number} most
 * @param {Actions} actions
 */
function row(version, keyring, use, most, actions) {
  const number = version.version;
  const changes = actions.ofVersion(version);
  return h(
    'tr',
    {},
    h(
      'th',
      { scope: 'row' },
      `${String(number)}`,
      number === keyring.sealingVersion && h('span', { class: 'tag' }, 'seals'),
    ),
    h(
      'td',
      {},
      stateChip(version.state),
      version.destroyAfter !== null && [' ends ', when(version.destroyAfter)],
    ),
    h('td', {}, when(version.createdAt, 'unknown')),
    h('td', {}, when(use?.lastSealed, 'not seen')),
    h('td', {}, when(use?.lastOpened, 'not seen')),
    h('td', { class: 'number' }, bar((use?.opened ?? 0) / most), count(use?.opened ?? 0)),
    h(
      'td',
      {},
      { kes: 'as KES keeps it', stored: 'in the keystore', transit: 'in Vault’s Transit' }[
        /** @type {'kes'} */ (version.custody)
      ],
    ),
    changes && h('td', {}, changes),
  );
}

/** @param {number} part */
function bar(part) {
  const inner = h('span', {});
  inner.style.inlineSize = `${String(Math.round(100 * part))}%`;
  return h('span', { class: 'bar', 'aria-hidden': 'true' }, inner);
}

class Actions {
  #place;
  #path;
  #keyring;

  /**
   * @param {import('./app.js').Place} place
   * @param {string} path
   * @param {any} keyring
   */
  constructor(place, path, keyring) {
    this.#place = place;
    this.#path = path;
    this.#keyring = keyring;
  }

  ofKey() {
    const { may, name } = this.#place;
    const { state } = this.#keyring;
    return h(
      'div',
      { class: 'row', role: 'group', 'aria-label': `Changes of ${name}` },
      may('rotate') &&
        button(
          'Rotate',
          () =>
            this.#ask(`Rotate ${name}`, {
              text: [
                `Makes a new version of ${name}, which seals from then on. What older versions sealed still opens.`,
              ],
              path: 'rotate',
              done: `${name} is rotated.`,
            }),
          { class: 'main', disabled: state !== 'enabled' },
        ),
      may('state') &&
        button('Rotation on schedule…', () => this.#schedule(), { disabled: state === 'pending-deletion' }),
      may('state') &&
        state === 'enabled' &&
        button('Disable', () =>
          this.#ask(`Disable ${name}`, {
            text: [
              `Ends all use of ${name} at once: nothing is sealed and nothing opens, until it is enabled again.`,
            ],
            path: 'disable',
            isGrave: true,
            typed: name,
            done: `${name} is disabled.`,
          }),
        ),
      may('state') &&
        state === 'disabled' &&
        button('Enable', () =>
          this.#ask(`Enable ${name}`, {
            text: [`Takes ${name} into use again.`],
            path: 'enable',
            done: `${name} is enabled.`,
          }),
        ),
    );
  }

  /** @param {any} version */
  ofVersion({ version, state, destroyAfter, custody }) {
    const { may } = this.#place;
    if (!may('state')) return undefined;
    const path = `versions/${String(version)}`;
    const what = `version ${String(version)}`;
    /** @type {(label: string, text: string, end: string, isGrave?: boolean) => Node} */
    const change = (label, text, end, isGrave = false) =>
      button(
        label,
        () =>
          this.#ask(`${label} ${what}`, {
            text: [text],
            path: `${path}/${end}`,
            isGrave,
            done: `${what} is changed.`,
          }),
        {
          'aria-label': `${label} ${what}`,
          class: 'small',
        },
      );
    return h(
      'div',
      { class: 'row tight' },
      state === 'enabled' &&
        change('Disable', `Nothing that ${what} sealed opens until it is enabled again.`, 'disable', true),
      state === 'disabled' && destroyAfter === null && change('Enable', `${what} opens again.`, 'enable'),
      (state === 'enabled' || state === 'disabled') &&
        change(
          'Compromised',
          `${what} seals no more, and each time it opens something an alarm is raised. This cannot be taken back.`,
          'compromise',
          true,
        ),
      // As KES keeps it, it lies at the key's own place and ends with the key.
      may('delete') &&
        state === 'disabled' &&
        destroyAfter === null &&
        custody !== 'kes' &&
        change(
          'Schedule end',
          `After the waiting period ${what} can be destroyed, with a second person’s approval.`,
          'schedule-destruction',
          true,
        ),
      may('delete') &&
        destroyAfter !== null &&
        change('Call end off', `${what} stays, disabled.`, 'cancel-destruction'),
    );
  }

  /**
   * @param {string} title
   * @param {{ text: string[], path: string, done: string, isGrave?: boolean, typed?: string }} change
   */
  async #ask(title, { text, path, done, isGrave = false, typed }) {
    const isDone = await ask({
      title,
      text,
      label: title.split(' ', 1)[0] ?? title,
      isGrave,
      ...(typed === undefined ? {} : { typed }),
      done,
      work: () => post(`${this.#path}/${path}`, {}),
    });
    if (isDone) this.#place.again();
  }

  async #schedule() {
    const { rotateEverySeconds } = this.#keyring;
    const { name, again } = this.#place;
    const isDone = await ask({
      title: 'Rotation on schedule',
      text: [`Sello rotates ${name} by itself each time this many days have passed.`],
      fields: [
        {
          name: 'days',
          label: 'Days',
          type: 'number',
          min: 0,
          required: true,
          value: String(Math.round(rotateEverySeconds / 86_400)),
          hint: '0: by hand only',
        },
      ],
      label: 'Save',
      done: `The schedule of ${name} is changed.`,
      work: ({ days }) => post(`${this.#path}/settings`, { rotateEverySeconds: Number(days) * 86_400 }),
    });
    if (isDone) again();
  }
}
