/** What Dockerfile and .dockerignore claim. No container engine is needed: the claims are about the files. */
import { spawn } from 'node:child_process';
import { existsSync, readFileSync } from 'node:fs';
import { createServer } from 'node:http';
import type { AddressInfo } from 'node:net';
import path from 'node:path';
import t from 'tap';
import { stagesOf, type Instruction } from './dockerfile.ts';

const root = path.resolve(import.meta.dirname, '../..');
const stages = stagesOf(readFileSync(path.join(root, 'Dockerfile'), 'utf8'));
const image = stages.at(-1)!;

function all(keyword: string, of: readonly Instruction[] = image): string[] {
  return of.filter((instruction) => instruction.keyword === keyword).map(({ rest }) => rest);
}

/** The JSON array of an exec form; a shell form is none. */
function execForm(text: string): string[] {
  return JSON.parse(text) as string[];
}

t.test('two stages: the compiler stays in the first', async (t) => {
  t.equal(stages.length, 2);
  t.match(stages[0]![0]!.rest, /^node:26\S* AS build$/);
  t.match(image[0]!.rest, /^node:26\S*$/);
  t.ok(all('RUN', stages[0]).some((run) => run.includes('npm prune --omit=dev')));
  t.notOk(all('RUN').some((run) => /\bnpm\b|\bapt/.test(run)));
});

t.test('runs as a numeric user that is not root, in group 0, and writes where group 0 may', async (t) => {
  t.same(all('USER'), ['65532:0']);
  const folders = all('RUN').join(' && ');
  t.match(folders, /install -d -o 65532 -g 0 -m 0770 \/var\/lib\/sello \/var\/log\/sello/);
  const user = image.findIndex(({ keyword }) => keyword === 'USER');
  const later = image.slice(user).map(({ keyword }) => keyword);
  t.notOk(later.includes('RUN') || later.includes('COPY'), 'nothing is made by or after that user');
});

t.test('starts Node itself, without a shell, and the entry point is what the build makes', async (t) => {
  const [program, ...args] = execForm(all('ENTRYPOINT')[0]!);
  t.equal(program, 'node');
  t.ok(args.includes('--max-semi-space-size=8'));
  t.equal(args.at(-1), '/opt/sello/dist/main.js');
  const manifest = JSON.parse(readFileSync(path.join(root, 'package.json'), 'utf8')) as {
    bin: { sello: string };
  };
  t.equal(manifest.bin.sello, './dist/main.js');
  t.ok(all('COPY').includes('--from=build /build/package.json ./'), 'the version is read from package.json');
  t.same(execForm(all('CMD')[0]!).slice(0, 2), ['serve', '--config']);
  t.equal(all('STOPSIGNAL')[0], 'SIGTERM');
});

t.test('the health check passes on 200, and fails on 503 and on silence', async (t) => {
  const [, command = ''] = /CMD (\[.*\])$/.exec(all('HEALTHCHECK')[0]!) ?? [];
  const [program, ...args] = execForm(command);
  t.equal(program, 'node');
  const check = (url: string): Promise<number | null> =>
    new Promise((resolve, reject) => {
      const child = spawn(process.execPath, args, {
        env: { ...process.env, SELLO_LIVEZ: url },
        stdio: 'ignore',
        timeout: 10_000,
      });
      child.once('error', reject);
      child.once('close', resolve);
    });
  let status = 200;
  const asked: (string | undefined)[] = [];
  const server = createServer((request, response) => {
    asked.push(request.url);
    response.writeHead(status).end();
  });
  await new Promise<void>((resolve) => {
    server.listen(0, '127.0.0.1', resolve);
  });
  const url = `http://127.0.0.1:${String((server.address() as AddressInfo).port)}/livez`;
  t.equal(await check(url), 0);
  status = 503;
  t.equal(await check(url), 1);
  t.same(asked, ['/livez', '/livez']);
  await new Promise((resolve) => server.close(resolve));
  t.equal(await check(url), 1);
  t.ok(all('ENV')[0]!.includes('SELLO_LIVEZ=http://127.0.0.1:7374/livez'), 'asks the default probe address');
});

t.test('what the build copies is there, and .dockerignore lets it through and no more', async (t) => {
  const lines = readFileSync(path.join(root, '.dockerignore'), 'utf8')
    .split('\n')
    .filter((line) => line !== '' && !line.startsWith('#'));
  t.equal(lines[0], '*', 'everything is left out, but:');
  const let_in = lines.slice(1).map((line) => line.replace(/^!/, ''));
  const copied = [...all('COPY', stages[0]), ...all('COPY').filter((copy) => !copy.startsWith('--from'))]
    .flatMap((copy) => copy.split(' ').slice(0, -1))
    .sort();
  t.same(let_in.toSorted(), copied);
  for (const file of copied) t.ok(existsSync(path.join(root, file)), file);
});
