/** The console in a real browser: each page by keyboard alone, nothing on its console, nothing for an accessibility checker, markup as text. */
import { readFileSync, writeFileSync } from 'node:fs';
import { createRequire } from 'node:module';
import { join } from 'node:path';
import t, { type Test } from 'tap';
import { DrivenBrowser, type Page } from './browser.ts';
import { needChromium } from './chromium.ts';
import { ann, bob, ConsoleSite, ed, markup } from './console-site.ts';
import { needSlapd, passwords, service, suffix } from './slapd.ts';

const axe = readFileSync(createRequire(import.meta.url).resolve('axe-core/axe.min.js'), 'utf8');

/** Nothing that WCAG 2.2 AA or axe's own advice has against the page as it is now. */
async function isAccessible(t: Test, page: Page, what: string): Promise<void> {
  await page.evaluate(`typeof axe === 'undefined' && (0, eval)(${JSON.stringify(axe)})`);
  const violations = await page.evaluate<unknown[]>(
    `axe.run(document, { resultTypes: ['violations'] }).then(({ violations }) =>
      violations.map(({ id, nodes }) => [id, ...nodes.map(({ html, failureSummary }) => html + ' ' + failureSummary)]))`,
  );
  t.same(violations, [], `${what}: an accessibility checker finds nothing`);
}

async function begin(
  t: Test,
  ldap: Readonly<Record<string, unknown>> = {},
): Promise<{ site: ConsoleSite; browser: DrivenBrowser } | undefined> {
  if (!needChromium(t)) return undefined;
  const site = await ConsoleSite.start(ldap);
  t.teardown(() => site.remove());
  const browser = await DrivenBrowser.start(join(site.site.folder, 'browser'));
  t.teardown(() => browser.stop());
  return { site, browser };
}

async function signIn(site: ConsoleSite, page: Page, who: typeof ann): Promise<void> {
  site.idp.person = who;
  await page.open(`${site.origin}/`);
  await page.says('Sign in with corporate');
  await page.tabTo('a: Sign in with corporate');
  await page.press('Enter');
  await page.arrives('Tenants');
}

t.test('sign in, rotate, search, verify and sign out, by keyboard alone', { timeout: 240_000 }, async (t) => {
  const begun = await begin(t);
  if (begun === undefined) return;
  const { site, browser } = begun;
  await site.store('backups', 'vault', 'monday.tar', 'tuesday.tar');
  const page = await browser.newPage();
  await page.open(`${site.origin}/`);
  await page.says('Sign in with corporate');
  await isAccessible(t, page, 'sign in');
  await signIn(site, page, ann);
  t.equal(await page.evaluate('document.title'), 'Tenants · Sello');
  await page.says('globex');
  await isAccessible(t, page, 'tenants');

  await page.tabTo('a: acme');
  await page.press('Enter');
  await page.arrives('Keys');
  t.equal(await page.focused(), 'h1: Keys', 'the focus goes along');
  await isAccessible(t, page, 'keys');
  await page.tabTo('input: Names that begin with');
  await page.type('back');
  await page.press('Enter');
  await page.until(`document.querySelectorAll('tbody tr').length === 1`);
  await page.tabTo('a: backups');
  await page.press('Enter');
  await page.arrives('backups');
  t.match(await page.text(), /version 1/);
  await isAccessible(t, page, 'key');

  await page.tabTo('button: Rotate');
  await page.press('Enter');
  await page.until(`document.querySelector('dialog[open]')`);
  await isAccessible(t, page, 'dialog');
  await page.press('Escape');
  await page.until(`document.querySelector('dialog') === null`);
  t.equal(await page.focused(), 'button: Rotate', 'what was left by Escape is where it was');
  await page.press('Enter');
  await page.tabTo('button: Rotate');
  await page.press('Enter');
  await page.until(`document.querySelectorAll('tbody tr').length === 2`);
  t.match(await page.text(), /Seals with\s+version 2/);
  t.equal(
    await page.evaluate(`document.getElementById('said').textContent`),
    'backups is rotated.',
    'and said',
  );
  await isAccessible(t, page, 'key with two versions');

  await page.tabTo('a: Certificates');
  await page.press('Enter');
  await page.arrives('Certificates');
  t.match(await page.text(), /Listener for storage nodes/);
  t.match(await page.text(), /CN=storage-node-1/);
  await isAccessible(t, page, 'certificates');

  await page.tabTo('a: Audit');
  await page.press('Enter');
  await page.arrives('Audit');
  await page.tabTo('input: Bucket or object');
  await page.type('vault/*');
  await page.press('Enter');
  await page.says('4 records, the newest first');
  await page.says('vault/tuesday.tar');
  await page.press('Tab');
  await page.until(`document.querySelector('tbody button')`);
  const first = await page.evaluate<string>(
    `document.querySelector('tbody button').getAttribute('aria-label')`,
  );
  await page.tabTo(`button: ${first}`);
  await page.press(' ');
  await page.says('"organization"');
  await isAccessible(t, page, 'audit');

  await page.tabTo('input: Live');
  await page.press(' ');
  await page.tabTo('button: Search');
  await page.press('Enter');
  await page.says('Live: 4 records');
  await site.store('backups', 'vault', 'wednesday.tar');
  await page.says('vault/wednesday.tar');
  t.match(
    await page.evaluate(`document.querySelector('tbody tr').textContent`),
    /wednesday/,
    'what is new comes first',
  );
  await page.tabTo('button: Stop');
  await page.press('Enter');
  await page.says('Stopped.');

  await site.anchored('acme');
  await page.tabTo('a: Verification');
  await page.press('Enter');
  await page.arrives('Verification');
  await isAccessible(t, page, 'nothing verified yet');
  await page.tabTo('button: Verify now');
  await page.press('Enter');
  await page.says('Complete and unchanged');
  await page.until(`document.querySelector('main').getAttribute('aria-busy') === null`);
  await isAccessible(t, page, 'verification');

  await page.tabTo('button: Sign out');
  await page.press('Enter');
  await page.says('Sign in with corporate');
  await page.open(`${site.origin}/#/acme/keys`);
  await page.says('Sign in with corporate');
  t.same(page.errors, [], 'the console has no error');
  const others = page.asked.filter(
    (url) => !url.startsWith(site.origin) && !url.startsWith(site.idp.issuer) && url !== 'about:blank',
  );
  t.same(others, [], 'and nobody else was asked for anything');
});

t.test('two people end a key', { timeout: 240_000 }, async (t) => {
  const begun = await begin(t);
  if (begun === undefined) return;
  const { site, browser } = begun;
  const one = await browser.newPage();
  await signIn(site, one, ann);
  await one.open(`${site.origin}/#/acme/keys/logs`);
  await one.arrives('logs');
  await one.tabTo('button: Ask for approval…');
  await one.press('Enter');
  await one.tabTo('input: Reason');
  await one.type(markup);
  await one.press('Enter');
  await one.says('A request waits for a second person');
  await one.tabTo('a: Approvals');
  await one.press('Enter');
  await one.arrives('Approvals');
  await one.says('waits for another person');
  await isAccessible(t, one, 'approvals');

  const two = await browser.newPage();
  await signIn(site, two, bob);
  await two.open(`${site.origin}/#/acme/approvals`);
  await two.arrives('Approvals');
  t.match(await two.text(), markup, 'the reason is text');
  await two.tabTo('button: Approve the end of logs');
  await two.press('Enter');
  await two.until(`document.querySelector('dialog[open]')`);
  await two.tabTo('button: Approve');
  await two.press('Enter');
  await two.says('approved');
  await one.open('about:blank');
  await one.open(`${site.origin}/#/acme/keys/logs`);
  await one.arrives('logs');
  await one.tabTo('button: Schedule deletion');
  await one.press('Enter');
  await one.tabTo('input: Type logs to confirm');
  await one.type('log');
  await one.press('Enter');
  await one.says('What was typed is not logs.');
  await one.type('s');
  await one.press('Enter');
  await one.says('Its end is scheduled.');
  await isAccessible(t, one, 'a key that ends');
  t.same([...one.errors, ...two.errors], []);
});

t.test('markup of others is text, and a role has its own pages alone', { timeout: 240_000 }, async (t) => {
  const begun = await begin(t);
  if (begun === undefined) return;
  const { site, browser } = begun;
  await site.store('media', 'films', markup, 'a"b\'c&<b>bold</b>');
  const page = await browser.newPage();
  await signIn(site, page, { ...ed, name: markup });
  const elements = () =>
    page.evaluate<number>(`document.querySelectorAll('img[onerror], script:not([src]), b').length`);
  t.match(await page.text(), markup, 'the name of a person');
  t.notMatch(await page.text(), /globex/, 'another tenant is not named');
  await page.open(`${site.origin}/#/acme/audit?object=films&span=`);
  await page.says('4 records');
  t.ok((await page.text()).includes(`films/${markup}`), 'the name of an object');
  t.ok((await page.text()).includes('a"b\'c&<b>bold</b>'));
  await page.evaluate(`document.querySelector('tbody button').click()`);
  await page.says('"organization"');
  t.equal(await elements(), 0);
  for (const address of [
    `#/acme/keys/${encodeURIComponent(markup)}`,
    `#/acme/keys?prefix=${encodeURIComponent(markup)}`,
    `#/${encodeURIComponent(markup)}/keys`,
    `#/acme/audit?key=${encodeURIComponent(markup)}&live=true`,
    '#/%E0%A4%A/keys/%00',
    '#/constructor/__proto__/toString',
    '#/acme/__proto__/x',
  ]) {
    await page.open(`${site.origin}/${address}`);
    await page.until(`document.querySelector('main')?.getAttribute('aria-busy') === null`);
    t.equal(await elements(), 0, address);
  }
  await page.open(`${site.origin}/#/globex/keys`);
  await page.arrives('Tenants');
  await page.open(`${site.origin}/#/acme/approvals`);
  await page.says('Your role does not have this page.');
  await page.open(`${site.origin}/#/acme/keys/media`);
  await page.arrives('media');
  t.notMatch(await page.text(), /Rotate|Disable|End of this key/, 'an auditor changes nothing');
  const policy = await page.evaluate<string[]>(`(async () => {
    const tried = [];
    try { document.body.innerHTML = '<p>x'; tried.push('markup'); } catch {}
    try { (0, eval)('1'); } catch { tried.push('no eval'); }
    return tried;
  })()`);
  t.notOk(policy.includes('markup'), 'the page cannot make markup of text, not even by mistake');
});

/** Presses a button of the page, and the one of the dialog that it opens. */
async function change(page: Page, label: string, typed = ''): Promise<void> {
  await page.evaluate(
    `[...document.querySelectorAll('main button')].find((one) => (one.getAttribute('aria-label') ?? one.textContent) === ${JSON.stringify(label)}).click()`,
  );
  await page.until(`document.querySelector('dialog[open]')`);
  await page.evaluate(`document.querySelector('dialog input')?.focus()`);
  if (typed !== '') await page.type(typed);
  await page.evaluate(`document.querySelector('dialog button[type=submit]').click()`);
  await page.until(`document.querySelector('dialog') === null`);
  await page.until(`document.querySelector('main').getAttribute('aria-busy') === null`);
}

t.test('two people end a version', { timeout: 240_000 }, async (t) => {
  const begun = await begin(t);
  if (begun === undefined) return;
  const { site, browser } = begun;
  const one = await browser.newPage();
  await signIn(site, one, ann);
  await one.open(`${site.origin}/#/globex/keys/archive`);
  await one.arrives('archive');
  await change(one, 'Rotate');
  await change(one, 'Rotate');
  await change(one, 'Disable version 1');
  t.notMatch(await one.text(), /Schedule end/, 'the first version, as KES keeps it, ends with its key');
  await change(one, 'Disable version 2');
  await change(one, 'Schedule end version 2');
  await one.says('Its end is due.');
  await change(one, 'Ask for version 2…', 'nothing opens with it');
  const two = await browser.newPage();
  await signIn(site, two, bob);
  await two.open(`${site.origin}/#/globex/approvals`);
  await two.arrives('Approvals');
  await change(two, 'Approve the end of archive, version 2');
  await two.says('approved');
  await one.open('about:blank');
  await one.open(`${site.origin}/#/globex/keys/archive`);
  await one.arrives('archive');
  await isAccessible(t, one, 'a version that ends');
  await change(one, 'Destroy version 2', 'archive');
  await one.says('destroyed');
  t.match(await one.text(), /Seals with\s+version 3/);
  t.same([...one.errors, ...two.errors], []);
});

t.test('a name and a password of a directory', { timeout: 240_000 }, async (t) => {
  if (!needChromium(t)) return;
  const slapd = await needSlapd(t);
  if (slapd === undefined) return;
  const password = join(slapd.folder, 'ldap-password');
  writeFileSync(password, `${service.password}\n`, { mode: 0o600 });
  const begun = await begin(t, {
    office: {
      url: slapd.ldaps,
      ca: slapd.ca,
      bind: { service: { dn: service.dn, password: { file: password } } },
      userBase: `ou=people,${suffix}`,
      groups: { search: { base: `ou=groups,${suffix}` } },
      roles: [{ group: `cn=key admins,ou=groups,${suffix}`, tenant: 'acme', role: 'operator' }],
    },
  });
  if (begun === undefined) return;
  const { site, browser } = begun;
  const page = await browser.newPage();
  await page.open(`${site.origin}/#/acme/keys`);
  await page.says('Name at office');
  await isAccessible(t, page, 'sign in by password');
  await page.tabTo('input: Name at office');
  await page.type('ann');
  await page.tabTo('input: Password');
  await page.type('wrong');
  await page.press('Enter');
  await page.says('Sign-in is not accepted.');
  t.equal(await page.focused(), 'input: Password');
  t.equal(await page.evaluate('document.activeElement.value'), '', 'and what was typed is gone');
  await page.type(passwords.ann);
  await page.press('Enter');
  await page.arrives('Keys');
  t.match(await page.text(), /Ann Möller\s+operator/);
});
