/** `sello --version`, in KES's layout. */
import { readFileSync } from 'node:fs';

export function versionText(): string {
  const manifest = new URL('../../package.json', import.meta.url);
  const { version, license } = JSON.parse(readFileSync(manifest, 'utf8')) as {
    version: string;
    license: string;
  };
  const rows = [
    ['Version', version, ''],
    ['Runtime', `node${process.version} ${process.platform}/${process.arch}`, ''],
    ['License', license, ''],
  ];
  return `${rows.map(([label, value]) => `${label!.padEnd(10)} ${value!}`).join('\n')}\n`;
}
