/** The Wycheproof files of the shared material: read where they are, not part of the project. */
import { existsSync, readFileSync } from 'node:fs';
import path from 'node:path';

const folder = path.resolve(import.meta.dirname, '../../../shared/vectors/wycheproof');

/** A reason to skip, or false. */
export const wycheproofMissing: string | false = existsSync(folder)
  ? false
  : `no Wycheproof files in ${folder}`;

export interface WycheproofTest {
  readonly tcId: number;
  readonly comment: string;
  readonly result: 'valid' | 'invalid' | 'acceptable';
  readonly [field: string]: unknown;
}

export interface WycheproofGroup {
  readonly tests: readonly WycheproofTest[];
  readonly [field: string]: unknown;
}

export function wycheproof(name: string): WycheproofGroup[] {
  const file = JSON.parse(readFileSync(path.join(folder, `${name}_test.json`), 'utf8')) as {
    testGroups: WycheproofGroup[];
  };
  return file.testGroups;
}

/** A field in hexadecimal, as bytes. */
export function hex(test: WycheproofTest, field: string): Buffer {
  return Buffer.from(test[field] as string, 'hex');
}
