/**
 * Checkpoints: a tree's size and root, signed, in C2SP's forms, so that tools of others can check them.
 * - body: tlog-checkpoint (c2sp.org/tlog-checkpoint): origin, size, root, one line each
 * - envelope: signed-note (c2sp.org/signed-note) with Ed25519, signature type 0x01
 * - public keys: `NAME+HHHHHHHH+BASE64`, the "vkey" of golang.org/x/mod/sumdb/note
 */
import { createPublicKey, hash, sign, verify, type KeyObject } from 'node:crypto';
import type { Hash } from './merkle.ts';

/** A tree as a checkpoint states it. */
export interface TreeHead {
  readonly origin: string;
  readonly size: number;
  readonly root: Hash;
}

/** A checkpoint's text and what it says. The signature has not been looked at. */
export interface Checkpoint extends TreeHead {
  readonly text: string;
}

/** Signature type of Ed25519 in signed-note. */
const ed25519Type = 0x01;

/** Before the 32 bytes of an Ed25519 public key in its SubjectPublicKeyInfo (RFC 8410). */
const spkiPrefix = Buffer.from('302a300506032b6570032100', 'hex');

const keyIdBytes = 4;
const signatureBytes = 64;

/** Longer notes are none of ours. */
const maxNoteCharacters = 65_536;
const maxSignatures = 64;

/** What identifies a stream's log to the world. `-` is the server's own stream. */
export function originOf(tenant: string | undefined, stream: string): string {
  return `sello.audit/${tenant ?? '-'}/${stream}`;
}

/** A public key under the name that its signatures carry. */
export interface NoteKey {
  readonly name: string;
  readonly id: Buffer;
  readonly key: KeyObject;
  /** The 32 bytes. */
  readonly raw: Buffer;
}

export function noteKey(name: string, key: KeyObject): NoteKey {
  const spki = (key.type === 'public' ? key : createPublicKey(key)).export({ format: 'der', type: 'spki' });
  if (!spki.subarray(0, spkiPrefix.length).equals(spkiPrefix))
    throw new TypeError('checkpoints are signed with Ed25519');
  return noteKeyOf(name, spki.subarray(spkiPrefix.length));
}

/** From the 32 bytes. */
export function publicKeyOf(raw: Buffer): KeyObject {
  return createPublicKey({ key: Buffer.concat([spkiPrefix, raw]), format: 'der', type: 'spki' });
}

function noteKeyOf(name: string, raw: Buffer): NoteKey {
  const key = publicKeyOf(raw);
  const id = hash(
    'sha256',
    Buffer.concat([Buffer.from(`${name}\n`), Buffer.of(ed25519Type), raw]),
    'buffer',
  ).subarray(0, keyIdBytes);
  return { name, id, key, raw };
}

/** `NAME+HHHHHHHH+BASE64`. */
export function formatNoteKey({ name, id, raw }: NoteKey): string {
  return `${name}+${id.toString('hex')}+${Buffer.concat([Buffer.of(ed25519Type), raw]).toString('base64')}`;
}

/** @returns undefined when the text is no Ed25519 key in that form, or its id is not its own */
export function parseNoteKey(text: string): NoteKey | undefined {
  const found = /^([^\s+]+)\+([0-9a-f]{8})\+([0-9A-Za-z+/=]+)$/.exec(text.trim());
  const [, name = '', id = '', encoded = ''] = found ?? [];
  const bytes = base64(encoded);
  if (bytes?.length !== 33 || bytes[0] !== ed25519Type) return undefined;
  const key = noteKeyOf(name, bytes.subarray(1));
  return key.id.toString('hex') === id ? key : undefined;
}

/** The same key under another stream's origin. */
export function noteKeyNamed(key: NoteKey, name: string): NoteKey {
  return noteKeyOf(name, key.raw);
}

export function signCheckpoint(head: TreeHead, privateKey: KeyObject): Checkpoint {
  return signedCheckpoint(head, privateKey, sign(null, checkpointBody(head), privateKey));
}

/** What is signed. */
export function checkpointBody({ origin, size, root }: TreeHead): Buffer {
  return Buffer.from(`${origin}\n${size}\n${Buffer.from(root, 'hex').toString('base64')}\n`);
}

/** `key` names whose signature it is, by either half. */
export function signedCheckpoint(head: TreeHead, key: KeyObject, signature: Buffer): Checkpoint {
  const line = Buffer.concat([noteKey(head.origin, key).id, signature]).toString('base64');
  return { ...head, text: `${checkpointBody(head).toString()}\n— ${head.origin} ${line}\n` };
}

/** Reads a checkpoint without judging its signature. @returns undefined when it is not one */
export function parseCheckpoint(text: string): Checkpoint | undefined {
  if (text.length > maxNoteCharacters || !text.endsWith('\n')) return undefined;
  const divide = text.lastIndexOf('\n\n');
  if (divide === -1) return undefined;
  const signatures = text.slice(divide + 2, -1).split('\n');
  if (signatures.length > maxSignatures || !signatures.every((line) => signatureLine.test(line)))
    return undefined;
  const [origin = '', size = '', rootText = ''] = text.slice(0, divide).split('\n');
  const root = base64(rootText);
  if (origin === '' || !/^(?:0|[1-9][0-9]{0,15})$/.test(size) || root?.length !== 32) return undefined;
  return { origin, size: Number(size), root: root.toString('hex'), text };
}

const signatureLine = /^\u2014 ([^\s+]+) ([0-9A-Za-z+/=]+)$/u;

/** True when `key` has signed it, and it is that key's log: name and origin are one (tlog-checkpoint). */
export function isSignedBy(checkpoint: Checkpoint, key: NoteKey): boolean {
  if (checkpoint.origin !== key.name) return false;
  const divide = checkpoint.text.lastIndexOf('\n\n');
  const body = Buffer.from(checkpoint.text.slice(0, divide + 1));
  for (const line of checkpoint.text.slice(divide + 2, -1).split('\n')) {
    const [, name, encoded = ''] = signatureLine.exec(line) ?? [];
    const bytes = base64(encoded);
    if (name !== key.name || bytes?.length !== keyIdBytes + signatureBytes) continue;
    if (!bytes.subarray(0, keyIdBytes).equals(key.id)) continue;
    return verify(null, body, key.key, bytes.subarray(keyIdBytes));
  }
  return false;
}

/** Canonical base64 only: one text for each value. */
function base64(text: string): Buffer | undefined {
  const bytes = Buffer.from(text, 'base64');
  return bytes.toString('base64') === text ? bytes : undefined;
}

/** Notes one after the other, as a file of checkpoints holds them; `undefined` for a piece that is none. */
export function* checkpointsIn(text: string): Generator<Checkpoint | undefined> {
  let note = '';
  let signed = false;
  for (const line of text.split(/(?<=\n)/)) {
    const isSignature = line.startsWith('\u2014 ');
    if (signed && !isSignature) {
      yield parseCheckpoint(note);
      note = '';
    }
    note += line;
    signed = isSignature;
  }
  if (note !== '') yield parseCheckpoint(note);
}
