/** Where KES keeps a key in Vault's KV engine, version 1 and version 2, and what the calls for it look like. */
import type { VaultKvConfig } from '../config/model.ts';
import { pathOf, secretJson, type VaultError, type VaultPath } from '../vault/index.ts';

export interface KvLayout {
  /** True where Vault itself refuses to replace a key (`cas`). */
  readonly createsOnly: boolean;
  /** Old versions are kept: a key is read as its version 1, which KES alone writes. */
  readonly hasVersions: boolean;
  /** For reading and writing. */
  readonly path: (name: string) => VaultPath;
  /** Deleting this ends the key with all its versions. */
  readonly deletePath: (name: string) => VaultPath;
  readonly listPath: VaultPath;
  /** Body that writes `stored`. The caller wipes it. */
  readonly body: (name: string, stored: Buffer) => Buffer;
  /** Where the stored text is in an answer. */
  readonly field: (name: string) => readonly string[];
}

/**
 * @param mountVersion version of the mount where it is known. KES works by accident on a version 1 mount that it takes for version 2:
 *   with a literal `data/` in its paths. Keys written so are served from there.
 */
export function layoutOf(
  { engine, prefix, version }: Pick<VaultKvConfig, 'engine' | 'prefix' | 'version'>,
  mountVersion: 1 | 2 | undefined,
): KvLayout {
  if (version === 1) {
    return {
      createsOnly: false,
      hasVersions: false,
      path: (name) => pathOf(engine, prefix, name),
      deletePath: (name) => pathOf(engine, prefix, name),
      listPath: pathOf(engine, prefix),
      body: (name, stored) => secretJson(`{${JSON.stringify(name)}:`, { secret: stored }, '}'),
      field: (name) => ['data', name],
    };
  }
  const isLiteral = mountVersion === 1;
  const named = isLiteral ? 'data' : 'metadata';
  return {
    createsOnly: !isLiteral,
    hasVersions: !isLiteral,
    path: (name) => pathOf(engine, 'data', prefix, name),
    deletePath: (name) => pathOf(engine, named, prefix, name),
    listPath: pathOf(engine, named, prefix),
    body: (name, stored) =>
      secretJson(`{"options":{"cas":0},"data":{${JSON.stringify(name)}:`, { secret: stored }, '}}'),
    field: (name) => ['data', 'data', name],
  };
}

/** Somebody else wrote first. */
export function isCasConflict(error: VaultError): boolean {
  return error.problem === 'refused' && error.messages.some((text) => text.includes('check-and-set'));
}
