/** A key that is made here, or brought along. */
import { ofTenant, post } from './api.js';
import { ask } from './dialog.js';
import { button, h } from './dom.js';

const named = {
  name: 'name',
  label: 'Name',
  required: true,
  maxlength: 80,
  pattern: '[0-9A-Za-z_](?:[0-9A-Za-z_\\-]{0,78}[0-9A-Za-z_])?',
  hint: 'Letters, digits, _ and -, which is neither first nor last.',
};

/** @param {import('./app.js').Place} place */
export function newKeys({ tenant, may }) {
  if (!may('create') && !may('import')) return undefined;
  return h(
    'div',
    { class: 'row', role: 'group', 'aria-label': 'New keys' },
    may('create') && button('Create key…', () => void create(tenant), { class: 'main' }),
    may('import') && button('Import key…', () => void bring(tenant)),
  );
}

/** @param {string} tenant */
function create(tenant) {
  return made(tenant, 'create', {
    title: 'Create a key',
    text: ['A master key of random bytes, which seals as soon as somebody asks for it.'],
    label: 'Create',
    fields: [named],
    body: () => ({}),
  });
}

/** @param {string} tenant */
function bring(tenant) {
  return made(tenant, 'import', {
    title: 'Import a key',
    text: ['A master key of bytes that exist already. Whoever else has them can open what it seals.'],
    label: 'Import',
    fields: [
      named,
      { name: 'key', label: 'Key', type: 'password', required: true, hint: '32 bytes in base64.' },
      { name: 'cipher', label: 'Cipher', choices: ['AES256', 'ChaCha20'] },
    ],
    body: ({ key, cipher }) => ({ key, cipher }),
  });
}

/**
 * @param {string} tenant
 * @param {'create' | 'import'} how
 * @param {object} question
 * @param {string} question.title
 * @param {string[]} question.text
 * @param {string} question.label
 * @param {import('./dialog.js').Field[]} question.fields
 * @param {(values: Record<string, string>) => object} question.body
 */
async function made(tenant, how, { body, ...question }) {
  let path = '';
  const isDone = await ask({
    ...question,
    done: 'The key is there.',
    work: (values) => {
      path = `keys/${encodeURIComponent(values['name'] ?? '')}`;
      return post(ofTenant(tenant, `${path}/${how}`), body(values));
    },
  });
  if (isDone) location.hash = `#/${encodeURIComponent(tenant)}/${path}`;
}
