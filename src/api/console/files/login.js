/** The ways to sign in that this server has. */
import { addressOf, signIn } from './api.js';
import { troubleOf } from './dialog.js';
import { fill, h } from './dom.js';

/**
 * @param {{ name: string, kind: string }[]} ways
 * @param {() => void} done
 */
export function login(ways, done) {
  const back = encodeURIComponent(`/${location.hash}`);
  const providers = ways.filter(({ kind }) => kind === 'oidc');
  const directories = ways.filter(({ kind }) => kind === 'ldap');
  return h(
    'main',
    { class: 'alone', id: 'main' },
    h('img', { src: '/console/icon.svg', alt: '', width: 56, height: 56 }),
    h('h1', { tabindex: '-1' }, 'Sello'),
    h('p', { class: 'faint' }, 'Keys, who used them, and the proof of it.'),
    providers.map(({ name }) =>
      h(
        'a',
        {
          class: 'button main wide',
          href: `${addressOf('login')}?provider=${encodeURIComponent(name)}&return=${back}`,
        },
        `Sign in with ${name}`,
      ),
    ),
    providers.length > 0 && directories.length > 0 && h('p', { class: 'or' }, 'or'),
    directories.map(({ name }) => passwordForm(name, done)),
    ways.length === 0 &&
      h(
        'p',
        { class: 'notice' },
        'This server offers no sign-in for browsers: its configuration names no OpenID client and no directory.',
      ),
  );
}

/**
 * @param {string} directory
 * @param {() => void} done
 */
function passwordForm(directory, done) {
  const trouble = h('div', {});
  const name = h('input', {
    id: `name-${directory}`,
    autocomplete: 'username',
    required: true,
    autocapitalize: 'none',
    spellcheck: 'false',
  });
  const password = h('input', {
    id: `password-${directory}`,
    type: 'password',
    autocomplete: 'current-password',
    required: true,
  });
  const submit = async (/** @type {Event} */ event) => {
    event.preventDefault();
    try {
      await signIn({ directory, name: name.value, password: password.value });
      done();
    } catch (error) {
      fill(trouble, troubleOf(error));
      password.focus();
    } finally {
      password.value = '';
    }
  };
  return h(
    'form',
    { submit: (/** @type {Event} */ event) => void submit(event), 'aria-label': `Sign in at ${directory}` },
    h('div', { class: 'field' }, h('label', { for: `name-${directory}` }, `Name at ${directory}`), name),
    h('div', { class: 'field' }, h('label', { for: `password-${directory}` }, 'Password'), password),
    trouble,
    h('button', { type: 'submit', class: 'main wide' }, 'Sign in'),
  );
}
