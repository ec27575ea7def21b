/**
 * Anchors: what a stream's tenant keystore knows about it. A record per stream (compare-and-set, keystores/contract.ts) holds
 * the public key, when and where the stream began, its latest checkpoint and whether it ended. So whoever rules a node's disk
 * alone cannot take records back that an anchor has seen, and a verifier knows which streams there must be.
 */
import type { RecordStore } from '../keystores/index.ts';
import { recordNames } from '../keystores/records.ts';
import { isSignedBy, parseCheckpoint, parseNoteKey, type Checkpoint, type NoteKey } from './checkpoint.ts';
import { streamName } from './chain.ts';

/** Folder of the records; the stream's name is the record's. */
export const anchorFolder = 'audit-streams';

export interface Anchor {
  readonly stream: string;
  readonly tenant: string | undefined;
  readonly node: string;
  /** RFC 3339. */
  readonly created: string;
  readonly key: NoteKey;
  /** The key as text, as in the stream's description. */
  readonly keyText: string;
  /** Undefined while nothing has been checkpointed. */
  readonly checkpoint: Checkpoint | undefined;
  /** The stream's process stopped in order, and the checkpoint is over all its records. */
  readonly ended: boolean;
  readonly updated: string;
}

const anchorFormat = 'sello-audit-anchor-1';
const anchorsFormat = 'sello-audit-anchors-1';

interface AnchorJson {
  readonly format: typeof anchorFormat;
  readonly stream: string;
  readonly tenant?: string | undefined;
  readonly node: string;
  readonly created: string;
  readonly key: string;
  readonly checkpoint?: string | undefined;
  readonly ended: boolean;
  readonly updated: string;
}

function toJson({ stream, tenant, node, created, keyText, checkpoint, ended, updated }: Anchor): AnchorJson {
  return {
    format: anchorFormat,
    stream,
    tenant,
    node,
    created,
    key: keyText,
    checkpoint: checkpoint?.text,
    ended,
    updated,
  };
}

export function formatAnchor(anchor: Anchor): Buffer {
  return Buffer.from(JSON.stringify(toJson(anchor)));
}

/** @returns undefined when it is not one, or its checkpoint is not signed by its key */
export function parseAnchor(value: unknown): Anchor | undefined {
  if (typeof value !== 'object' || value === null) return undefined;
  const found = value as Partial<Record<keyof AnchorJson, unknown>>;
  const { stream, tenant, node, created, key: keyText, checkpoint: text, ended, updated } = found;
  if (found.format !== anchorFormat || typeof stream !== 'string' || !streamName.test(stream))
    return undefined;
  if (typeof node !== 'string' || typeof created !== 'string' || typeof updated !== 'string')
    return undefined;
  if (typeof keyText !== 'string' || typeof ended !== 'boolean') return undefined;
  if (tenant !== undefined && typeof tenant !== 'string') return undefined;
  const key = parseNoteKey(keyText);
  if (key === undefined) return undefined;
  let checkpoint: Checkpoint | undefined;
  if (text !== undefined) {
    if (typeof text !== 'string') return undefined;
    checkpoint = parseCheckpoint(text);
    if (checkpoint === undefined || !isSignedBy(checkpoint, key)) return undefined;
  }
  return { stream, tenant, node, created, key, keyText, checkpoint, ended, updated };
}

function parseJson(text: string): unknown {
  try {
    return JSON.parse(text) as unknown;
  } catch {
    return undefined;
  }
}

export function parseAnchorRecord(value: Buffer): Anchor | undefined {
  return parseAnchor(parseJson(value.toString('utf8')));
}

/** All anchors of a keystore; `damaged` are records that are none. */
export async function readAnchors(records: RecordStore): Promise<{ anchors: Anchor[]; damaged: string[] }> {
  const anchors: Anchor[] = [];
  const damaged: string[] = [];
  for await (const name of recordNames(records, anchorFolder)) {
    const stored = await records.read(`${anchorFolder}/${name}`);
    if (stored === undefined) continue;
    const anchor = parseAnchorRecord(stored.value);
    if (anchor?.stream === name) anchors.push(anchor);
    else damaged.push(name);
  }
  return { anchors, damaged };
}

/** Anchors as a file, to be kept where the node's and the keystore's people cannot reach it. */
export function formatAnchors(anchors: readonly Anchor[]): string {
  return `${JSON.stringify({ format: anchorsFormat, anchors: anchors.map(toJson) }, undefined, 2)}\n`;
}

/** @returns undefined when the text is not such a file, or one of its anchors is damaged */
export function parseAnchors(text: string): Anchor[] | undefined {
  const value = parseJson(text) as { format?: unknown; anchors?: unknown } | undefined | null;
  if (value?.format !== anchorsFormat || !Array.isArray(value.anchors)) return undefined;
  const anchors = value.anchors.map(parseAnchor);
  return anchors.every((anchor) => anchor !== undefined) ? anchors : undefined;
}
