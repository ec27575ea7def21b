/** A login in a real browser: whether its cookies go along where we say they do, between two sites. */
import { join } from 'node:path';
import t from 'tap';
import { listenerYaml, serverAuditOff, Site, tenantsYaml } from '../attacks/site.ts';
import { clientSecret, IdentityProvider } from '../api/people/identity-provider.ts';
import { needChromium, show } from './chromium.ts';
import { freePort } from './process.ts';

t.test(
  'Chromium logs in, from one site to another and back, and is known',
  { timeout: 240_000 },
  async (t) => {
    if (!needChromium(t)) return;
    const origin = `https://127.0.0.1:${String(await freePort())}`;
    const idp = await IdentityProvider.start(`${origin}/v1/operators/callback`, 'localhost');
    const site = new Site();
    t.teardown(async () => {
      await site.remove();
      await idp.stop();
    });
    site.write('client-secret', clientSecret);
    const operators = {
      address: origin.slice('https://'.length),
      tls: { cert: 'server.crt', key: 'server.key' },
      url: origin,
      oidc: {
        main: {
          issuer: idp.issuer,
          client: { id: 'console', secret: { file: 'client-secret' }, scopes: ['profile', 'sello'] },
          rolesClaim: ['roles'],
          roles: [{ value: 'watch', tenant: '*', role: 'auditor' }],
        },
      },
    };
    await site.start(
      `${listenerYaml}${serverAuditOff}operators: ${JSON.stringify(operators)}\n${tenantsYaml({ name: 'blue', admins: ['1'.repeat(64)], clients: { auth: 'off' } })}`,
    );
    const whoami = '/v1/operators/whoami';
    const profile = join(site.folder, 'browser');
    t.match(await show(`${origin}${whoami}`, profile), /SELLO_LOGIN_REFUSED/, 'a stranger');
    idp.hasPage = true;
    idp.person = { sub: 'ann-1', name: 'Ann', roles: ['watch'] };
    const page = await show(
      `${origin}/v1/operators/login?provider=main&return=${encodeURIComponent(whoami)}`,
      profile,
    );
    t.match(page, /"subject":"ann-1"/, 'the page after the callback goes on with the Strict cookie');
    t.match(page, /"roles":\{"blue":"auditor"\}/);
    t.match(page, /"csrf":"[\w-]{43}"/);
  },
);
