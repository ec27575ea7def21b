/** Commands for versions and states of keys, against a server on an encrypted keystore. */
import { randomBytes } from 'node:crypto';
import { appendFileSync, readFileSync, writeFileSync } from 'node:fs';
import t, { type Test } from 'tap';
import { issue } from '../attacks/pki.ts';
import { listenerYaml, Site, tenantsYaml } from '../attacks/site.ts';
import { runCommand } from './pipes.ts';

// A busy machine starts servers and programs slowly.
t.setTimeout(120_000);

type Run = (...argv: string[]) => ReturnType<typeof runCommand>;

async function begin(
  t: Test,
): Promise<{ site: Site; sello: Run; json: (...argv: string[]) => Promise<Record<string, unknown>> }> {
  const site = new Site();
  t.teardown(() => site.remove());
  const admin = issue('admin');
  site.write('admin.crt', admin.certificatePem);
  site.write('admin.key', admin.privateKeyPem);
  site.write('root.key', randomBytes(32).toString('hex'));
  await site.start(
    listenerYaml +
      'audit: {mode: off}\n' +
      tenantsYaml({
        name: 'acme',
        clients: { auth: 'off' },
        admins: [admin.identity],
        keys: ['app'],
        keystore: { file: { path: site.file('keys'), rootKey: { file: site.file('root.key') } } },
        lifecycle: { deletionWait: '1s', quiet: '0s' },
      }),
  );
  const env = {
    SELLO_SERVER: `127.0.0.1:${String(site.port)}`,
    SELLO_KEY_FILE: 'admin.key',
    SELLO_CERT_FILE: 'admin.crt',
  };
  const sello: Run = (...argv) =>
    runCommand([...argv.slice(0, 2), '-k', ...argv.slice(2)], { env, cwd: site.folder });
  return {
    site,
    sello,
    json: async (...argv) => {
      const { exit, stderr, stdout } = await sello(...argv, '--json');
      if (exit !== 0) throw new Error(stderr);
      return JSON.parse(stdout) as Record<string, unknown>;
    },
  };
}

void t.test('rotate, disable, compromise, set, enable: each shows the key as it is then', async (t) => {
  const { sello, json } = await begin(t);
  const shown = await sello('key', 'versions', 'app');
  t.match(shown.stdout, /^Name {8}app\nState {7}enabled\nSeals with {2}version 1\n/);
  t.match(await json('key', 'rotate', 'app'), { sealingVersion: 2 });
  t.match(
    (await sello('key', 'rotate', 'app', '--every', '2160h')).stdout,
    /Rotates {5}every 90 days, next /,
  );
  t.match(await json('key', 'disable', 'app', '--version', '1'), { versions: [{ state: 'disabled' }, {}] });
  t.match(await json('key', 'enable', 'app', '--version', '1'), { versions: [{ state: 'enabled' }, {}] });
  t.match(await json('key', 'compromise', 'app', '--version', '2'), { sealingVersion: 1 });
  t.match(await json('key', 'set', 'app', '--rewrap-only', 'on', '--cross-face', 'on'), {
    rewrapOnly: true,
    crossFace: true,
  });
  t.match(await json('key', 'disable', 'app'), { state: 'disabled' });
  t.match(await sello('key', 'dek', 'app'), { exit: 1, stderr: /insufficient permissions/ });
  t.match(await json('key', 'enable', 'app'), { state: 'enabled' });
});

void t.test('says what is wrong: with the command line, and with the change', async (t) => {
  const { sello } = await begin(t);
  const wrong: [string[], RegExp][] = [
    [['key', 'rotate'], /no key name specified/],
    [['key', 'rotate', 'app', '--every', 'soon'], /invalid duration 'soon'/],
    [['key', 'rotate', 'none'], /key does not exist/],
    [['key', 'disable', 'app', '--version', '0'], /invalid version '0'/],
    [['key', 'disable', 'app', '--version', '1'], /no other version could seal/],
    [['key', 'compromise', 'app'], /no version specified/],
    [['key', 'set', 'app'], /nothing to set specified/],
    [['key', 'enable', 'app'], /the key is enabled already/],
    [['key', 'destroy', 'app'], /no deletion is scheduled/],
    [['key', 'schedule-deletion', 'app', '--wait', '0'], /this tenant waits at least 1 s/],
  ];
  for (const [argv, expected] of wrong)
    t.match(await sello(...argv), { exit: 1, stdout: '', stderr: expected }, argv.join(' '));
});

void t.test('the end of a version and of a key leaves a receipt', async (t) => {
  const { json, sello } = await begin(t);
  await json('key', 'rotate', 'app');
  await json('key', 'rotate', 'app');
  await json('key', 'disable', 'app', '--version', '2');
  await json('key', 'schedule-deletion', 'app', '--version', '2');
  await json('key', 'cancel-deletion', 'app', '--version', '2');
  await json('key', 'schedule-deletion', 'app', '--version', '2');
  await new Promise((resolve) => setTimeout(resolve, 2_000));
  t.match(await json('key', 'destroy', 'app', '--version', '2'), {
    tenant: 'acme',
    key: 'app',
    versions: [{ version: 2, fingerprint: /^[0-9a-f]{32}$/ }],
  });
  t.match(await json('key', 'schedule-deletion', 'app'), { state: 'pending-deletion' });
  t.match((await sello('key', 'versions', 'app')).stdout, /Ends {8}/);
  await new Promise((resolve) => setTimeout(resolve, 2_000));
  t.match(await json('key', 'destroy', 'app'), {
    versions: [{ version: 1 }, { version: 2 }, { version: 3 }],
  });
  t.match(await sello('key', 'versions', 'app'), { exit: 1, stderr: /key does not exist/ });
});

void t.test('rewraps a list, goes on where it was stopped, and says what it could not', async (t) => {
  const { json, sello, site } = await begin(t);
  const context = Buffer.from('ctx').toString('base64');
  const lines: string[] = [];
  for (let i = 0; i < 1_200; i++) {
    if (i === 600) await json('key', 'rotate', 'app');
    const sealed =
      i % 100 === 0 || i < 3
        ? (JSON.parse(
            (await sello('key', 'encrypt', 'app', `message ${String(i)}`, '--context', context)).stdout,
          ) as { ciphertext: string })
        : undefined;
    const previous = JSON.parse(lines.at(-1) ?? '{}') as { ciphertext?: string };
    lines.push(
      JSON.stringify({
        object: `o${String(i)}`,
        ciphertext: sealed?.ciphertext ?? previous.ciphertext,
        context,
      }),
    );
  }
  writeFileSync(site.file('list.jsonl'), `${lines.join('\n')}\n`);
  t.match(await sello('key', 'rewrap', 'app', 'list.jsonl', '-o', 'out.jsonl'), {
    exit: 0,
    stderr: '600 rewrapped, 600 newest already, 0 failed\n',
  });
  const out = () =>
    readFileSync(site.file('out.jsonl'), 'utf8')
      .trim()
      .split('\n')
      .map(
        (line) => JSON.parse(line) as { object: string; ciphertext: string; line: number; version: number },
      );
  t.ok(
    out().every(
      ({ line, object, version }, i) => object === `o${String(i)}` && line === i + 1 && version === 2,
    ),
  );
  const opened = await sello('key', 'decrypt', 'app', out()[0]!.ciphertext, context);
  t.equal(
    Buffer.from((JSON.parse(opened.stdout) as { plaintext: string }).plaintext, 'base64').toString(),
    'message 0',
  );

  const whole = out();
  writeFileSync(
    site.file('out.jsonl'),
    `${whole
      .slice(0, 700)
      .map((line) => JSON.stringify(line))
      .join('\n')}\n{"object":"torn`,
  );
  t.match(await sello('key', 'rewrap', 'app', 'list.jsonl', '-o', 'out.jsonl'), {
    exit: 0,
    stderr: '0 rewrapped, 500 newest already, 0 failed, 700 done before\n',
  });
  t.same(
    out().map(({ object }) => object),
    whole.map(({ object }) => object),
    'no line lost, none twice',
  );

  appendFileSync(site.file('list.jsonl'), `${JSON.stringify({ ciphertext: 'AAAA', object: 'bad' })}\n`);
  t.match(await sello('key', 'rewrap', 'app', 'list.jsonl', '-o', 'out.jsonl'), {
    exit: 1,
    stderr: '0 rewrapped, 0 newest already, 1 failed, 1200 done before\n',
  });
  t.match(out().at(-1), { object: 'bad', error: 'SELLO_CIPHERTEXT_NOT_AUTHENTIC' });
  appendFileSync(site.file('list.jsonl'), 'no json\n');
  t.match(await sello('key', 'rewrap', 'app', 'list.jsonl', '-o', 'out.jsonl'), {
    exit: 1,
    stderr: /line 1202: not JSON/,
  });
  t.match(await json('key', 'use', 'app'), { versions: [{ version: 2, opened: 1 }] }, 'rewrapping is no use');
});
