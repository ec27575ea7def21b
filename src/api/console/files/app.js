/** The frame around every page: who is signed in, which tenant, which page; and the way from one to the next. */
import { approvals } from './approvals.js';
import { audit } from './audit.js';
import { signedOut, signOut, start, get } from './api.js';
import { certificates } from './certificates.js';
import { say, troubleOf } from './dialog.js';
import { button, fill, h } from './dom.js';
import { key } from './key.js';
import { keys } from './keys.js';
import { login } from './login.js';
import { tenants } from './tenants.js';
import { verification } from './verification.js';

/**
 * What a page gets.
 * @typedef {object} Place
 * @property {any} person
 * @property {Membership[]} memberships
 * @property {string} tenant empty where there is none
 * @property {string} name of a key
 * @property {URLSearchParams} query
 * @property {(operation: string) => boolean} may
 * @property {AbortSignal} signal aborted when the page is left
 * @property {() => void} again
 *
 * @typedef {{ tenant: string, role: string, operations: string[] }} Membership
 *
 * @typedef {object} Page
 * @property {string} title
 * @property {(place: Place) => Promise<Node | readonly (Node | false)[]>} show
 */

/** @type {Record<string, { page: Page, needs: string, label: string }>} */
const pages = {
  keys: { page: keys, needs: 'list', label: 'Keys' },
  certificates: { page: certificates, needs: 'status', label: 'Certificates' },
  audit: { page: audit, needs: 'read-audit', label: 'Audit' },
  verification: { page: verification, needs: 'read-audit', label: 'Verification' },
  approvals: { page: approvals, needs: 'delete', label: 'Approvals' },
};

const app = /** @type {HTMLElement} */ (document.getElementById('app'));

/** @type {any} */
let person;
/** @type {Membership[]} */
let memberships = [];
let leave = new AbortController();
let isFirst = true;

async function begin() {
  try {
    const found = await start();
    person = found.person;
    if (person === undefined) {
      showLogin(found.ways);
      return;
    }
    ({ tenants: memberships } = await get('tenants'));
    await show();
  } catch (error) {
    fill(
      app,
      h(
        'main',
        { class: 'alone', id: 'main' },
        h('h1', {}, 'Sello'),
        troubleOf(error),
        button('Try again', () => void begin(), { class: 'main' }),
      ),
    );
  }
}

/** @param {{ name: string, kind: string }[]} ways */
function showLogin(ways) {
  leave.abort();
  document.title = 'Sign in · Sello';
  fill(
    app,
    login(ways, () => void begin()),
  );
}

/** `#/TENANT/PAGE/KEY?QUERY` */
function placeOfAddress() {
  const [path = '', query = ''] = location.hash.replace(/^#\/?/, '').split('?', 2);
  const [tenant = '', page = '', name = ''] = path.split('/').map(decoded);
  return { tenant, page, name, query: new URLSearchParams(query) };
}

/** @param {string} text */
function decoded(text) {
  try {
    return decodeURIComponent(text);
  } catch {
    return '';
  }
}

async function show() {
  leave.abort();
  leave = new AbortController();
  const { signal } = leave;
  const { tenant, page, name, query } = placeOfAddress();
  const membership = memberships.find((one) => one.tenant === tenant);
  const chosen = membership === undefined || !Object.hasOwn(pages, page) ? undefined : pages[page];
  const may = (/** @type {string} */ operation) => membership?.operations.includes(operation) === true;
  /** @type {Page} */
  let found = chosen?.page ?? tenants;
  if (chosen === pages['keys'] && name !== '') found = { ...key, title: name };
  const title = chosen === undefined ? found.title : `${found.title} · ${tenant}`;
  document.title = `${title} · Sello`;
  const heading = h('h1', { tabindex: '-1' }, found.title);
  const content = h('div', { class: 'content' }, h('p', { class: 'faint' }, 'Loading…'));
  const crumbs =
    found.title === name &&
    h('p', { class: 'crumbs' }, h('a', { href: `#/${encodeURIComponent(tenant)}/keys` }, 'Keys of ', tenant));
  const main = h('main', { id: 'main', 'aria-busy': 'true' }, crumbs, heading, content);
  fill(app, side(membership, page), main);
  // Whoever cannot see where they are is told; the first page tells by its title.
  if (!isFirst) heading.focus();
  isFirst = false;
  scrollTo(0, 0);
  try {
    if (chosen !== undefined && !may(chosen.needs)) throw new Error('your role does not have this page');
    const place = { person, memberships, tenant, name, query, may, signal, again: () => void show() };
    const shown = await found.show(place);
    if (signal.aborted) return;
    fill(content, shown);
  } catch (error) {
    if (signal.aborted) return;
    fill(
      content,
      troubleOf(error),
      button('Try again', () => void show()),
    );
  } finally {
    if (!signal.aborted) main.removeAttribute('aria-busy');
  }
}

/**
 * @param {Membership | undefined} membership
 * @param {string} page
 */
function side(membership, page) {
  const skip = h(
    'a',
    {
      class: 'skip',
      href: '#main',
      click: (/** @type {Event} */ event) => {
        event.preventDefault();
        /** @type {HTMLElement} */ (document.querySelector('h1')).focus();
      },
    },
    'Skip to content',
  );
  const link = (/** @type {string} */ address, /** @type {string} */ text, /** @type {boolean} */ isHere) =>
    h('li', {}, h('a', { href: address, 'aria-current': isHere ? 'page' : undefined }, text));
  const choice = h(
    'select',
    {
      id: 'tenant',
      change: (/** @type {any} */ event) => {
        const to = event.target.value;
        location.hash =
          to === '' ? '#/' : `#/${encodeURIComponent(to)}/${Object.hasOwn(pages, page) ? page : 'keys'}`;
      },
    },
    membership === undefined && h('option', { value: '' }, 'Choose…'),
    memberships.map(({ tenant }) =>
      h('option', { value: tenant, selected: tenant === membership?.tenant }, tenant),
    ),
  );
  return h(
    'header',
    { class: 'side' },
    skip,
    h(
      'a',
      { class: 'brand', href: '#/' },
      h('img', { src: '/console/icon.svg', alt: '', width: 28, height: 28 }),
      'Sello',
    ),
    h('div', { class: 'field' }, h('label', { for: 'tenant' }, 'Tenant'), choice),
    h(
      'nav',
      { 'aria-label': 'Pages' },
      h(
        'ul',
        {},
        link('#/', 'Tenants', membership === undefined),
        membership !== undefined &&
          Object.entries(pages)
            .filter(([, { needs }]) => membership.operations.includes(needs))
            .map(([name, { label }]) =>
              link(`#/${encodeURIComponent(membership.tenant)}/${name}`, label, name === page),
            ),
      ),
    ),
    h(
      'div',
      { class: 'who' },
      h('strong', {}, person.name),
      h('span', {}, membership === undefined ? 'no tenant chosen' : membership.role),
      button('Sign out', () => void end()),
    ),
  );
}

async function end() {
  await signOut().catch(() => undefined);
  person = undefined;
  location.hash = '#/';
  await begin();
  say('You are signed out.');
}

addEventListener('hashchange', () => {
  if (person !== undefined) void show();
});
addEventListener(signedOut, () => {
  if (person === undefined) return;
  person = undefined;
  void begin();
});
void begin();
