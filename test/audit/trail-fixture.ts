/** Trails made with the very parts that the writer thread and the notary are made of, without a server. */
import { generateKeyPairSync, randomBytes, type KeyObject } from 'node:crypto';
import fs from 'node:fs';
import path from 'node:path';
import type { Anchor } from '../../src/audit/anchor.ts';
import { formatNoteKey, noteKey, originOf, type Checkpoint } from '../../src/audit/checkpoint.ts';
import { auditLine } from '../../src/audit/line.ts';
import { Notary } from '../../src/audit/notary.ts';
import { localSigner } from '../../src/audit/signer.ts';

import { descriptionName, type Compression } from '../../src/audit/segment.ts';
import { startOfTrail, TrailTarget, type TrailPosition } from '../../src/audit/trail-target.ts';
import type { AuditRecord } from '../../src/audit/record.ts';
import { keyCall } from './fixtures.ts';

export interface TrailFixture {
  readonly trail: string;
  readonly folder: string;
  readonly stream: string;
  readonly origin: string;
  readonly privateKey: KeyObject;
  readonly target: TrailTarget;
  readonly notary: Notary;
  checkpoint(): Promise<Checkpoint>;
  anchor(change?: Partial<Anchor>): Anchor;
}

export interface TrailFixtureOptions {
  readonly segmentBytes?: number;
  readonly compression?: Compression;
  readonly stream?: string;
  readonly position?: TrailPosition;
  readonly privateKey?: KeyObject;
}

export function makeTrail(trail: string, options: TrailFixtureOptions = {}): TrailFixture {
  const stream = options.stream ?? randomBytes(16).toString('hex');
  const folder = path.join(trail, stream);
  const privateKey = options.privateKey ?? generateKeyPairSync('ed25519').privateKey;
  const origin = originOf('acme', stream);
  const key = noteKey(origin, privateKey);
  fs.mkdirSync(folder, { recursive: true });
  const created = '2026-11-23T00:00:00.000Z';
  const description = { format: 'sello-audit-1', stream, tenant: 'acme', node: 'node-1', created };
  fs.writeFileSync(
    path.join(folder, descriptionName),
    JSON.stringify({ ...description, key: formatNoteKey(key) }),
  );
  const { segmentBytes = 1_000_000, position = startOfTrail } = options;
  const target = new TrailTarget(
    { memory: new SharedArrayBuffer(0), path: folder, sync: false, shared: false, identityCheckMs: 0 },
    { stream, position, segmentBytes },
  );
  target.open();
  const notary = new Notary({
    folder,
    origin,
    signer: localSigner(privateKey),
    compression: options.compression ?? 'none',
    disk: 'test',
    anchorage: undefined,
    now: () => created,
  });
  return {
    trail,
    folder,
    stream,
    origin,
    privateKey,
    target,
    notary,
    async checkpoint() {
      await notary.checkpoint(target.head());
      if (notary.trouble !== undefined) throw new Error(notary.trouble);
      return notary.last!;
    },
    anchor: (change = {}) => ({
      stream,
      tenant: 'acme',
      node: 'node-1',
      created,
      key,
      keyText: formatNoteKey(key),
      checkpoint: notary.last,
      ended: true,
      updated: created,
      ...change,
    }),
  };
}

export const firstMs = Date.UTC(2026, 10, 23, 4);

/** Lines of `count` key calls, ten milliseconds apart; they differ as calls do. */
export function callLines(
  from: number,
  count: number,
  change: (i: number) => Partial<AuditRecord> = () => ({}),
): Buffer {
  let lines = '';
  for (let i = from; i < from + count; i++)
    lines += auditLine(
      keyCall({ timeMs: firstMs + i * 10, requestId: `r${i}`, key: `key-${i % 7}`, ...change(i) }),
    );
  return Buffer.from(lines, 'latin1');
}

/** A stream of `records` calls: a checkpoint for every `every` of them and at the end. */
export async function writeCalls(made: TrailFixture, records: number, every = 1_000): Promise<void> {
  for (let from = made.target.size; from < records; from += every) {
    // Batches as a busy server has them.
    for (let at = from; at < Math.min(from + every, records); at += 50)
      made.target.write(callLines(at, Math.min(50, records - at)));
    await made.checkpoint();
  }
}
