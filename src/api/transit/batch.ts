/**
 * One request's items: what stands in `batch_input`, or the request itself. Each has its own outcome and its own place in the answer;
 * policy is asked about each, and one that is denied denies the request.
 */
import type { Operation } from '../../access/index.ts';
import { wipe } from '../../crypto/index.ts';
import { goJson } from '../../go-json.ts';
import type { KeyName } from '../../keys/index.ts';
import { fault, faultOf, oneError, VaultFault, type Piece, type VaultAnswer } from './answers.ts';
import { decoded } from './body.ts';
import type { Subject, TransitCall } from './call.ts';
import { goKind, goType, numberText, parseIntFault, unconvertibleText, type Fields } from './fields.ts';

/** A text that was base64: its bytes, or what Go's decoder says of it. */
export type Decoded = Buffer | string;

/** One to encrypt, to decrypt or to rewrap. */
export interface Item {
  /** Base64 of a plaintext, or a ciphertext. */
  readonly text: string;
  readonly context: Decoded;
  readonly associated: Decoded;
  readonly nonce: Decoded;
  /** 0: none was named. */
  readonly version: number;
  readonly reference: string;
}

export interface Batch {
  readonly items: readonly Item[];
  readonly isBatch: boolean;
  /** Status for a batch of which some items failed. */
  readonly partialStatus: number | undefined;
}

export interface BatchForm {
  /** What an item is about. */
  readonly name: 'plaintext' | 'ciphertext';
  readonly missing: string;
  /** Vault reads items of some routes by a stricter decoder, which also insists on {@link name}. */
  readonly isStrict: boolean;
}

/** What a request says of itself, besides its batch. */
export interface Single {
  readonly [field: string]: unknown;
  readonly context?: string;
  readonly associated_data?: string;
  readonly nonce?: string;
  readonly key_version?: number;
  readonly batch_input?: unknown;
  readonly partial_failure_response_code?: number;
}

export type Outcome<Done> = Done | { readonly error: VaultFault; readonly subject: Subject };

/** Something that Vault answers of an item with another status than 400, and tells in other words where the item is the request. */
export class ItemFault extends VaultFault {
  constructor(text: string) {
    super(500, [text]);
  }
}

/** The request itself as its only item. */
export function singleItem(text: string, single: Single): Item {
  return {
    text,
    context: decoded(single.context ?? ''),
    associated: decoded(single.associated_data ?? ''),
    nonce: decoded(single.nonce ?? ''),
    version: single.key_version ?? 0,
    reference: '',
  };
}

/** @throws VaultFault */
export function batchOf(form: BatchForm, single: Single): Batch {
  const { batch_input: batch, partial_failure_response_code: partialStatus } = single;
  if (batch === undefined || batch === null) {
    const text = single[form.name] as string | undefined;
    if (text === undefined || (text === '' && form.name === 'ciphertext')) throw fault(400, form.missing);
    return { items: [singleItem(text, single)], isBatch: false, partialStatus };
  }
  const items = itemsOf(form, batch);
  const contexts = items.filter(({ context }) => context.length > 0).length;
  if (contexts !== 0 && contexts !== items.length)
    throw fault(400, 'context should be set either in all the request blocks or in none');
  return { items, isBatch: true, partialStatus };
}

function itemsOf(form: BatchForm, batch: unknown): Item[] {
  const entries = entriesOf(batch, form.isStrict);
  const faults: string[] = [];
  const bound = inARow();
  const items = entries.map((entry, i): Item => {
    const read = new ItemReader(entry, i, faults, form.isStrict);
    const context = decoded(read.text('context'));
    return {
      context,
      text: read.text(form.name, form.isStrict ? form.missing : undefined),
      nonce: decoded(read.text('nonce')),
      version: read.number('key_version'),
      reference: read.text('reference'),
      associated: bound(read.text('associated_data')),
    };
  });
  checkShapes(faults);
  return items;
}

/** Decodes texts of which the same may come again and again: items of a batch are often of one object. */
function inARow(): (text: string) => Decoded {
  let last: { readonly text: string; readonly bytes: Decoded } | undefined;
  return (text) => {
    if (last?.text !== text) last = { text, bytes: decoded(text) };
    return last.bytes;
  };
}

/** The objects of a batch. @throws VaultFault */
export function entriesOf(batch: unknown, isStrict: boolean): Fields[] {
  const refused = (why: string): VaultFault => fault(500, oneError(`failed to parse batch input: ${why}`));
  if (!Array.isArray(batch)) {
    const [at, type] = isStrict ? ['', goType(batch)] : ["'': ", goKind(batch)];
    throw refused(`${at}source data must be an array or slice, got ${type}`);
  }
  if (batch.length === 0) throw fault(400, 'missing batch input to process');
  const faults: string[] = [];
  const entries = batch.map((entry: unknown, i): Fields => {
    const isObject = goKind(entry) === 'map';
    if (isStrict && !isObject) throw refused(`[${String(i)}] expected a map, got '${goType(entry)}'`);
    if (!isObject && entry !== null) faults.push(`'[${String(i)}]' expected a map, got '${goKind(entry)}'`);
    return isObject ? (entry as Fields) : {};
  });
  checkShapes(faults);
  return entries;
}

/** Vault tells all that it finds at once. @throws VaultFault */
export function checkShapes(faults: readonly string[]): void {
  if (faults.length === 0) return;
  const told = faults.map((text) => `* ${text}`).join('\n');
  throw fault(
    500,
    oneError(`failed to parse batch input: ${String(faults.length)} error(s) decoding:\n\n${told}`),
  );
}

/** Fields of one item of a batch, which Vault takes less freely than a request's own. */
export class ItemReader {
  readonly #entry: Fields;
  readonly #at: string;
  readonly #faults: string[];
  readonly #isStrict: boolean;

  constructor(entry: Fields, position: number, faults: string[], isStrict: boolean) {
    this.#entry = entry;
    this.#at = `[${String(position)}]`;
    this.#faults = faults;
    this.#isStrict = isStrict;
  }

  /** @param missing what to say when it is not there at all */
  text(name: string, missing?: string): string {
    const value = this.#entry[name];
    if (typeof value === 'string') return value;
    const isThere = value !== undefined && Object.hasOwn(this.#entry, name);
    if (!isThere && missing !== undefined) this.#faults.push(`'${this.#at}.${name}' ${missing}`);
    else if (isThere && !(value === null && (name !== 'plaintext' || !this.#isStrict))) {
      if (!this.#isStrict && numberText(value) !== undefined) return numberText(value)!;
      this.#refuse(name, 'string', value);
    }
    return '';
  }

  number(name: string): number {
    const value = this.#entry[name];
    if (value === undefined || value === null) return 0;
    const text = numberText(value);
    if (text === undefined) this.#refuse(name, 'int', value);
    else if (!/^-?\d+$/.test(text))
      this.#faults.push(`error decoding json.Number into ${this.#at}.${name}: ${parseIntFault(text)}`);
    else return Number(text);
    return 0;
  }

  #refuse(name: string, wanted: string, value: unknown): void {
    const at = `${this.#at}.${name}`;
    this.#faults.push(
      this.#isStrict
        ? `'${at}' expected type '${wanted}', got unconvertible type '${goType(value)}'`
        : unconvertibleText(at, wanted, value),
    );
  }
}

/** What an item says it is bound to: associated data, and without any the context. */
export function contextOf({ associated, context }: Item): Buffer | undefined {
  const told = associated.length > 0 ? associated : context;
  return typeof told === 'string' ? undefined : told;
}

/**
 * Asks policy about every item, before anything is known of the key. A request that cannot be read is judged as one without a context.
 * @throws VaultFault
 */
export function admit(call: TransitCall, operation: Operation, key: KeyName, read: () => Batch): Batch {
  let batch: Batch;
  try {
    batch = read();
  } catch (error) {
    call.authorize(operation, key);
    throw error;
  }
  for (const item of batch.items) {
    const context = contextOf(item);
    call.subject = { key, context };
    call.authorize(operation, key, context);
  }
  if (batch.isBatch) call.subject = { key };
  return batch;
}

/** Runs each item; what fails is that item's outcome. What concerns the key as a whole is thrown. */
export async function runEach<Done extends { readonly subject: Subject; readonly plaintext?: Buffer }>(
  { isBatch, items }: Batch,
  key: KeyName,
  work: (item: Item) => Done | Promise<Done>,
): Promise<Outcome<Done>[]> {
  if (!isBatch) return [await runOne(items[0]!, work)];
  const failed = (item: Item, error: unknown): Outcome<Done> | Promise<never> => {
    const known = faultOf(error);
    if (known.status !== 400 && !(known instanceof ItemFault)) return Promise.reject(error as Error);
    return { subject: { key, context: contextOf(item) }, error: known };
  };
  const begun: (Outcome<Done> | Promise<Outcome<Done>>)[] = [];
  let isWaiting = false;
  // Together, so that what needs a custodian goes to it as one call; outcomes keep the order.
  for (const item of items) {
    let outcome: Outcome<Done> | Promise<Outcome<Done>>;
    try {
      const done = work(item);
      outcome = done instanceof Promise ? done.catch((error: unknown) => failed(item, error)) : done;
    } catch (error) {
      outcome = failed(item, error);
    }
    isWaiting ||= outcome instanceof Promise;
    begun.push(outcome);
  }
  return isWaiting ? settledAll(begun) : (begun as Outcome<Done>[]);
}

async function settledAll<Done extends { readonly plaintext?: Buffer }>(
  begun: readonly (Outcome<Done> | Promise<Outcome<Done>>)[],
): Promise<Outcome<Done>[]> {
  const settled = await Promise.allSettled(begun);
  const outcomes = settled.filter((each) => each.status === 'fulfilled').map(({ value }) => value);
  const first = settled.find((each) => each.status === 'rejected');
  if (first === undefined) return outcomes;
  for (const outcome of outcomes) if ('plaintext' in outcome) wipe(outcome.plaintext);
  throw first.reason;
}

async function runOne<Done>(item: Item, work: (item: Item) => Done | Promise<Done>): Promise<Done> {
  try {
    return await work(item);
  } catch (error) {
    throw error instanceof ItemFault ? fault(error.status, oneError(error.texts[0]!)) : error;
  }
}

const revertedStatus =
  'invalid HTTP response code override from partial_failure_response_code, reverting to 400';

/** Vault's answer for a batch: 400 when an item failed by the caller's fault, or what the caller asked for where some succeeded. */
function statusOf(
  faults: readonly VaultFault[],
  items: number,
  partialStatus: number | undefined,
): { readonly status: number; readonly warnings?: readonly string[] } {
  if (faults.length === 0) return { status: 200 };
  const status = faults.some((each) => each.status === 400) ? 400 : 500;
  if (partialStatus === undefined || faults.length === items) return { status };
  if (partialStatus >= 200 && partialStatus <= 599) return { status: partialStatus };
  return { status: 400, warnings: [revertedStatus] };
}

/**
 * Its records are made with it: nothing of a batch is held while they are written.
 * @param failsAlone the answer is 200, whatever became of the items
 */
export function batchAnswer<Done extends { readonly subject: Subject }>(
  call: TransitCall,
  { items, partialStatus }: Batch,
  outcomes: readonly Outcome<Done>[],
  write: (done: Done | undefined) => readonly Piece[],
  failsAlone = false,
): VaultAnswer {
  const pieces: Piece[] = [];
  const faults: VaultFault[] = [];
  /** Text up to the next secret. */
  let text = '{"batch_results":[';
  const add = (piece: Piece): void => {
    if (typeof piece === 'string') text += piece;
    else {
      pieces.push(text, piece);
      text = '';
    }
  };
  for (const [i, outcome] of outcomes.entries()) {
    text += i === 0 ? '{' : ',{';
    if ('error' in outcome) {
      faults.push(outcome.error);
      write(undefined).forEach(add);
      text += `"error":${goJson(outcome.error.texts[0])},`;
    } else write(outcome).forEach(add);
    const { reference } = items[i]!;
    text += reference === '' ? '"reference":""}' : `"reference":${goJson(reference)}}`;
  }
  pieces.push(`${text}]}`);
  const status = failsAlone ? { status: 200 } : statusOf(faults, items.length, partialStatus);
  // Vault forgets the mount's type where it sets a status of its own.
  const mountType = status.status === 200 ? 'transit' : '';
  return { ...status, pieces, mountType, records: call.recordsOf(outcomes) };
}
