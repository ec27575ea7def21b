/** A real browser, headless: opens one address, lets it go where it goes, and tells what it shows in the end. */
import { execFile } from 'node:child_process';
import { accessSync, constants } from 'node:fs';
import { promisify } from 'node:util';
import type { Test } from 'tap';

export const chromiumProgram = '/usr/bin/chromium';
const run = promisify(execFile);

/** False: the test is skipped with its reason, and with `CI=true` it fails. */
export function needChromium(t: Test): boolean {
  try {
    accessSync(chromiumProgram, constants.X_OK);
    return true;
  } catch {
    const reason = `${chromiumProgram} is not here: install Debian's chromium`;
    if (process.env['CI'] === 'true') t.fail(reason);
    else t.pass('needs chromium', { skip: reason });
    return false;
  }
}

/** Of a start without a screen. `profile`: a folder of its own. */
export function chromiumArguments(profile: string): string[] {
  return [
    '--headless',
    // Root has no sandbox to be had; the pages are ours.
    '--no-sandbox',
    '--disable-gpu',
    '--disable-dev-shm-usage',
    '--no-first-run',
    '--disable-background-networking',
    '--ignore-certificate-errors',
    `--user-data-dir=${profile}`,
  ];
}

/** The page after all it did by itself, as HTML. `profile`: a folder for cookies, kept between calls. */
export async function show(url: string, profile: string): Promise<string> {
  const args = [
    ...chromiumArguments(profile),
    '--virtual-time-budget=15000',
    '--timeout=30000',
    '--dump-dom',
    url,
  ];
  const { stdout } = await run(chromiumProgram, args, { timeout: 90_000, maxBuffer: 16 * 1024 * 1024 });
  return stdout;
}
