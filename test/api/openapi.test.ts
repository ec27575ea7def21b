/** The OpenAPI documents: a linter has nothing to say, and they describe every route and no other. */
import { createConfig, lintFromString } from '@redocly/openapi-core';
import t from 'tap';
import { openApiDocument } from '../../src/api/admin/openapi.ts';
import { openApiOfPeople } from '../../src/api/people/index.ts';
import { office } from './people/office.ts';

const documents = { 'by certificate': openApiDocument('1.2.3'), 'for people': openApiOfPeople('1.2.3') };

t.test('a linter has nothing to say', async (t) => {
  const config = await createConfig({
    extends: ['recommended-strict'],
    // A login by browser is a redirect and nothing else.
    rules: { 'operation-2xx-response': 'off' },
  });
  for (const [name, document] of Object.entries(documents)) {
    const problems = await lintFromString({ source: document.toString(), config });
    t.same(
      problems.map(({ ruleId, message, location }) => [ruleId, message, location[0]?.pointer]),
      [],
      name,
    );
    const broken = document.toString().replace('"summary"', '"sumary"');
    t.not((await lintFromString({ source: broken, config })).length, 0, 'and would have');
  }
});

t.test('the listener for people has the routes that the document names', { timeout: 60_000 }, async (t) => {
  const { site } = await office(t);
  const { paths } = JSON.parse(documents['for people'].toString()) as { paths: object };
  const routes = site.server.operatorsRoutes
    .filter((route) => route.startsWith('/v1/'))
    .map((route) => route.replace(/:(\w+)/g, '{$1}'));
  t.same(Object.keys(paths).sort(), routes.sort());
});
