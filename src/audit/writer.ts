/**
 * Writer threads: one per disk (device and durability), shared by the streams on it. A write(2) that hangs stops its
 * thread, so the streams on that disk, and nothing else: not the event loop, not libuv's four pool threads with which
 * keystores and everything else do their file work.
 *
 * Why a thread and shared memory: bench/audit.ts measures it against blocking writes on the main thread (they freeze the
 * process when the disk does), fs.write on the pool (a hung disk holds a pool thread) and messages to a thread.
 */
import { constants } from 'node:os';
import fs from 'node:fs';
import path from 'node:path';
import { MessageChannel, Worker, type MessagePort } from 'node:worker_threads';
import type { TrailHead } from './trail-target.ts';
import {
  bellField,
  sizeLowValues,
  slotBatchBytes,
  slotCommand,
  slotField,
  slotHeaderBytes,
  type SlotCommand,
  type SlotLetter,
} from './slot.ts';

/** A negative errno as libuv has them; 0 is success. */
export type Outcome = number;

/** The thread's own heap: it holds no more than a few handles. */
const threadLimits = { maxOldGenerationSizeMb: 16, maxYoungGenerationSizeMb: 2 };

const threads = new Map<string, WriterThread>();
/** Threads given up while a call of theirs hangs. They end when the call does. */
const abandoned = new Set<WriterThread>();

/** Which thread a path belongs to. May wait for the disk, on a pool thread: called when a stream is opened. */
export async function threadKey(file: string, sync: boolean): Promise<string> {
  if (file === '-') return 'stdout';
  const status = (await statOf(file)) ?? (await statOf(path.dirname(file)));
  if (status === undefined) return `path ${file}`;
  // A pipe hangs by itself, whatever the disk under its name does.
  if (!status.isFile() && !status.isDirectory()) return `path ${file}`;
  return `device ${status.dev}${sync ? ' synced' : ''}`;
}

async function statOf(file: string): Promise<fs.Stats | undefined> {
  try {
    return await fs.promises.stat(file);
  } catch {
    return undefined;
  }
}

/** A stream's place on the thread of `key`, which is started when need be. */
export function takeSlot(key: string, letter: Omit<SlotLetter, 'memory'>): Slot {
  let thread = threads.get(key);
  if (thread === undefined) {
    thread = new WriterThread(key);
    threads.set(key, thread);
  }
  return thread.attach(letter);
}

/** Threads that have been in one call for longer than their streams' deadline. While there are any, only SIGKILL ends the process. */
export function hungWriters(): number {
  let count = 0;
  for (const thread of [...threads.values(), ...abandoned]) if (thread.hung) count++;
  return count;
}

/** See {@link WriterThread.finishesSoon}. */
const patienceMs = 0.3;
const impatienceMs = 100;

/** A write under way at exit gets this long. */
const exitPatienceMs = 500;

/** Node waits for its threads at exit, so one in a hung call would keep the process for ever. */
let guardsExit = false;

function guardExit(): void {
  if (guardsExit) return;
  guardsExit = true;
  process.on('exit', () => {
    for (const thread of [...threads.values(), ...abandoned]) {
      if (!thread.finishWithin(exitPatienceMs)) process.kill(process.pid, 'SIGKILL');
    }
  });
}

class WriterThread {
  readonly #key: string;
  readonly #worker: Worker;
  readonly #control: MessagePort;
  readonly #bell: Int32Array;
  readonly #slots = new Set<Slot>();
  #impatientUntilMs = -Infinity;

  constructor(key: string) {
    guardExit();
    this.#key = key;
    const bell = new SharedArrayBuffer(8);
    this.#bell = new Int32Array(bell);
    const { port1, port2 } = new MessageChannel();
    this.#control = port1;
    port1.unref();
    const source = import.meta.url.endsWith('.ts') ? './writer-thread.ts' : './writer-thread.js';
    this.#worker = new Worker(new URL(source, import.meta.url), {
      name: `audit ${key}`,
      workerData: { bell, control: port2 },
      transferList: [port2],
      resourceLimits: threadLimits,
      // Flags of the main program (`--input-type`, `--test`) can keep a thread from starting.
      execArgv: [],
    });
    this.#worker.unref();
    // 'exit' follows and tells the slots; without a listener an 'error' would end the process.
    this.#worker.on('error', () => undefined);
    this.#worker.on('exit', () => this.#ended());
  }

  get hung(): boolean {
    return [...this.#slots].some((slot) => slot.hung);
  }

  /** Blocks until no command is under way; false when that takes longer. */
  finishWithin(ms: number): boolean {
    return [...this.#slots].every((slot) => !slot.hung && slot.finishWithin(ms));
  }

  attach(letter: Omit<SlotLetter, 'memory'>): Slot {
    const memory = new SharedArrayBuffer(slotHeaderBytes + slotBatchBytes);
    const slot = new Slot(memory, this);
    this.#slots.add(slot);
    this.#control.postMessage({ ...letter, memory } satisfies SlotLetter);
    Atomics.add(this.#bell, bellField.letters, 1);
    return slot;
  }

  /**
   * Blocks until the command that `seen` precedes is done, for {@link patienceMs} at the most; false when it takes longer. A write
   * to the page cache takes some microseconds, and waking the event loop for it costs more than that. A slow disk costs its
   * patience once, then nothing for a while: the loop is blocked for 0.3 % of the time however many streams it holds up.
   */
  finishesSoon(state: Int32Array, seen: number): boolean {
    const nowMs = performance.now();
    if (nowMs < this.#impatientUntilMs) return false;
    if (Atomics.wait(state, slotField.done, seen, patienceMs) !== 'timed-out') return true;
    this.#impatientUntilMs = nowMs + impatienceMs;
    return false;
  }

  ring(): void {
    Atomics.add(this.#bell, bellField.rings, 1);
    Atomics.notify(this.#bell, bellField.rings);
  }

  /** The slot has closed: the last one takes the thread with it. */
  release(slot: Slot): void {
    this.#slots.delete(slot);
    if (this.#slots.size > 0) return;
    this.#forget();
    void this.#worker.terminate();
  }

  /** New slots get a fresh thread; this one ends when its call returns. */
  abandon(): void {
    if (threads.get(this.#key) === this) threads.delete(this.#key);
    abandoned.add(this);
  }

  #forget(): void {
    if (threads.get(this.#key) === this) threads.delete(this.#key);
    abandoned.delete(this);
    this.#control.close();
  }

  #ended(): void {
    this.#forget();
    for (const slot of this.#slots) slot.fail();
    this.#slots.clear();
  }
}

/** One stream's place on a thread: one command at a time. */
export class Slot {
  readonly #state: Int32Array;
  readonly #bytes: Buffer;
  readonly #thread: WriterThread;
  #done: ((outcome: Outcome) => void) | undefined;
  /** Set by the stream while its command is past the deadline. */
  hung = false;
  /** False once the thread is gone. */
  alive = true;

  constructor(memory: SharedArrayBuffer, thread: WriterThread) {
    this.#state = new Int32Array(memory, 0, slotHeaderBytes / 4);
    this.#bytes = Buffer.from(memory, slotHeaderBytes);
    this.#thread = thread;
  }

  /** Torn lines that were closed off since the slot was taken. */
  get tornLines(): number {
    return this.#state[slotField.torn]!;
  }

  /** Records in the chain of a trail's stream. */
  get size(): number {
    return this.#state[slotField.sizeHigh]! * sizeLowValues + this.#state[slotField.sizeLow]!;
  }

  /** Segments of a trail sealed since its last head. */
  get sealedSegments(): number {
    return this.#state[slotField.sealed]!;
  }

  open(done: (outcome: Outcome) => void): void {
    this.#run(slotCommand.open, done);
  }

  /**
   * `lines` is ASCII and at most {@link slotBatchBytes} long. With `patient`, `done` is called before this returns when the disk
   * is quick.
   */
  write(lines: string, done: (outcome: Outcome) => void, patient: boolean): void {
    this.#state[slotField.length] = this.#bytes.write(lines, 0, 'latin1');
    this.#run(slotCommand.write, done, patient);
  }

  /** Where a trail's stream stands; `roll` seals its segment first. */
  head(roll: boolean, done: (outcome: Outcome, head: TrailHead | undefined) => void): void {
    this.#run(roll ? slotCommand.roll : slotCommand.head, (outcome) => {
      const text = this.#bytes.toString('latin1', 0, this.#state[slotField.length]);
      done(outcome, outcome === 0 ? (JSON.parse(text) as TrailHead) : undefined);
    });
  }

  /** Frees the slot; a thread in a hung call is given up. */
  close(done: () => void): void {
    if (this.#done !== undefined) {
      this.abandon();
      done();
      return;
    }
    this.#run(slotCommand.close, () => {
      this.#thread.release(this);
      done();
    });
  }

  /** Gives up the command under way with its thread. */
  abandon(): void {
    this.#thread.abandon();
    this.#done = () => {
      this.hung = false;
      this.#run(slotCommand.close, () => this.#thread.release(this));
    };
  }

  finishWithin(ms: number): boolean {
    const seen = Atomics.load(this.#state, slotField.done);
    if (!this.alive || Atomics.load(this.#state, slotField.command) === slotCommand.none) return true;
    return Atomics.wait(this.#state, slotField.done, seen, ms) !== 'timed-out';
  }

  fail(): void {
    this.alive = false;
    const done = this.#done;
    this.#done = undefined;
    done?.(-constants.errno.EIO);
  }

  #run(command: SlotCommand, done: (outcome: Outcome) => void, patient = false): void {
    if (!this.alive) {
      queueMicrotask(() => done(-constants.errno.EIO));
      return;
    }
    this.#done = done;
    const seen = Atomics.load(this.#state, slotField.done);
    Atomics.store(this.#state, slotField.command, command);
    this.#thread.ring();
    if (patient && this.#thread.finishesSoon(this.#state, seen)) {
      this.#finish();
      return;
    }
    const wait = Atomics.waitAsync(this.#state, slotField.done, seen);
    if (wait.async) void wait.value.then(this.#finish);
    else queueMicrotask(this.#finish);
  }

  readonly #finish = (): void => {
    const done = this.#done;
    this.#done = undefined;
    done?.(this.#state[slotField.errno]!);
  };
}
