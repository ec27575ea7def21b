/** Takes the pictures of docs/console.md anew: a server, some work, and a browser in front of it. */
import { mkdirSync } from 'node:fs';
import { join, resolve } from 'node:path';
import { DrivenBrowser, type Page } from '../test/real/browser.ts';
import { ann, bob, ConsoleSite } from '../test/real/console-site.ts';

const folder = resolve(import.meta.dirname, '../docs/console');
mkdirSync(folder, { recursive: true });

const site = await ConsoleSite.start();
const browser = await DrivenBrowser.start(join(site.site.folder, 'browser'));
try {
  await work();
  const page = await browser.newPage(1280, 740);
  await page.open(`${site.origin}/`);
  await page.says('Sign in with corporate');
  await signIn(page, ann);
  await take(page, 'tenants');
  await visit(page, 'keys/photos-2026', 'photos-2026');
  await click(page, 'Rotate');
  await page.until(`document.querySelector('dialog[open]')`);
  await page.evaluate(`document.querySelector('dialog button[type=submit]').click()`);
  await page.until(`document.querySelector('dialog') === null`);
  await page.arrives('photos-2026');
  await site.store('photos-2026', 'photos', '2026/11/harbour.raw', '2026/11/harbour.jpg');
  await click(page, 'Rotate');
  await page.until(`document.querySelector('dialog[open]')`);
  await page.evaluate(`document.querySelector('dialog button[type=submit]').click()`);
  await page.until(`document.querySelector('dialog') === null`);
  await site.store(
    'photos-2026',
    'photos',
    '2026/11/cliff.raw',
    '2026/11/cliff.jpg',
    '2026/11/cliff-edit.jpg',
  );
  await visit(page, 'keys', 'Keys');
  await visit(page, 'keys/photos-2026', 'photos-2026');
  await take(page, 'key');
  await page.evaluate(`document.querySelector('h1').focus()`);
  await click(page, 'Disable');
  await page.until(`document.querySelector('dialog[open]')`);
  await take(page, 'confirm');
  await page.press('Escape');
  await visit(page, 'certificates', 'Certificates');
  await take(page, 'certificates');
  await visit(page, 'audit?span=24h&object=photos/*', 'Audit');
  await page.says('newest first.');
  await page.evaluate(`document.querySelector('tbody button').click()`);
  await take(page, 'audit');
  await site.anchored('acme');
  await visit(page, 'verification', 'Verification');
  await click(page, 'Verify now');
  await page.says('Complete and unchanged');
  await page.until(`document.querySelector('main').getAttribute('aria-busy') === null`);
  await take(page, 'verification');
  await page.colours('dark');
  await visit(page, 'keys', 'Keys');
  await take(page, 'dark');
  await page.colours('light');
  await visit(page, 'keys/logs', 'logs');
  await click(page, 'Ask for approval…');
  await page.until(`document.querySelector('dialog[open]')`);
  await page.evaluate(`document.querySelector('dialog input').focus()`);
  await page.type('The system that wrote them is gone');
  await page.press('Enter');
  await page.until(`document.querySelector('dialog') === null`);
  const other = await browser.newPage(1280, 740);
  await signIn(other, bob);
  await visit(other, 'approvals', 'Approvals');
  await take(other, 'approvals');
  const { errors } = page;
  if (errors.length > 0) throw new Error(errors.join('\n'));
} finally {
  await browser.stop();
  await site.remove();
}

async function work(): Promise<void> {
  await site.store('photos-2026', 'photos', '2026/10/boat.raw', '2026/10/boat.jpg', '2026/10/quay.jpg');
  await site.store('backups', 'vault', 'monday.tar', 'tuesday.tar');
  await site.refused('backups');
  await site.store('media', 'films', 'trailer.mp4');
}

async function signIn(page: Page, who: typeof ann): Promise<void> {
  site.idp.person = who;
  await page.open(`${site.origin}/`);
  await page.says('Sign in with corporate');
  await page.evaluate(`document.querySelector('a.main').click()`);
  await page.arrives('Tenants');
}

async function visit(page: Page, path: string, heading: string): Promise<void> {
  await page.open(`${site.origin}/#/acme/${path}`);
  await page.arrives(heading);
}

async function click(page: Page, text: string): Promise<void> {
  await page.evaluate(
    `[...document.querySelectorAll('main button')].find((one) => one.textContent === ${JSON.stringify(text)}).click()`,
  );
}

async function take(page: Page, name: string): Promise<void> {
  await page.evaluate('document.fonts.ready.then(() => undefined)');
  await page.screenshot(join(folder, `${name}.png`));
}
