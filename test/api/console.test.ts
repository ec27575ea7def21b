/** The console's files: what they are sent with, what they hold and do not hold. */
import t from 'tap';
import { consoleFiles } from '../../src/api/console/index.ts';
import { Browser } from './people/browser.ts';
import { office } from './people/office.ts';

t.test('every file is sent with a policy that lets nothing else in', { timeout: 60_000 }, async (t) => {
  const { site } = await office(t);
  const origin = `https://127.0.0.1:${String(site.server.operatorsPort)}`;
  const browser = new Browser();
  const files = consoleFiles();
  t.ok(files.length > 10);
  for (const { path, type } of files) {
    const { status, headers } = await browser.open(origin + path);
    t.equal(status, 200, path);
    t.match(headers, {
      'content-type': type,
      'x-content-type-options': 'nosniff',
      'x-frame-options': 'DENY',
    });
    const policy = new Map(
      String(headers['content-security-policy'])
        .split('; ')
        .map((each) => [each.split(' ', 1)[0]!, each.slice(each.indexOf(' ') + 1)]),
    );
    t.equal(policy.get('default-src'), "'none'");
    t.equal(policy.get('script-src'), "'self'");
    t.equal(policy.get('frame-ancestors'), "'none'");
    t.equal(policy.get('require-trusted-types-for'), "'script'");
    t.notMatch([...policy.values()].join(' '), /unsafe|\*|http|data:|blob:/);
    t.equal(headers['set-cookie'], undefined);
    const again = await browser.open(origin + path, {
      headers: { 'if-none-match': String(headers['etag']) },
    });
    t.match(again, { status: 304, body: '' });
  }
  for (const path of [
    '/console/',
    '/console/plugin.ts',
    '/console/../plugin.ts',
    '/console/%2e%2e/plugin.ts',
    '/console/files/app.js',
    '/index.html',
    '/console/app.js/',
  ])
    t.match(await browser.open(origin + path), { status: 404 }, path);
  t.match(await browser.open(`${origin}/`, { method: 'POST' }), { status: 404 });
});

t.test('they hold nothing that the policy would refuse, and nothing of elsewhere', async (t) => {
  for (const { path, bytes } of consoleFiles()) {
    const text = bytes.toString('utf8').replaceAll('http://www.w3.org/2000/svg', '');
    t.notMatch(text, /https?:\/\//, `${path}: an address`);
    t.notMatch(text, /innerHTML|outerHTML|insertAdjacentHTML|document\.write|\beval\b|new Function/, path);
    t.notMatch(text, /localStorage|sessionStorage|indexedDB|document\.cookie/, path);
    if (path === '/') t.notMatch(text, /<script(?![^>]*\bsrc=)|<style|\son\w+=|\sstyle=/);
  }
});
