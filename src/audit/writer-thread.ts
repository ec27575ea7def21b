/** The thread behind one disk: takes batches from its slots and writes them with blocking calls (see writer.ts). */
import { constants } from 'node:os';
import { receiveMessageOnPort, workerData, type MessagePort } from 'node:worker_threads';
import {
  bellField,
  sizeLowValues,
  slotCommand,
  slotField,
  slotHeaderBytes,
  type SlotLetter,
} from './slot.ts';
import { Target } from './target.ts';
import { TrailTarget } from './trail-target.ts';

interface Slot {
  readonly state: Int32Array;
  readonly bytes: Buffer;
  readonly target: Target | TrailTarget;
}

const { bell: bellMemory, control } = workerData as { bell: SharedArrayBuffer; control: MessagePort };
const bell = new Int32Array(bellMemory);
const slots = new Set<Slot>();
let letters = 0;

for (;;) {
  const heard = Atomics.load(bell, bellField.rings);
  while (letters !== Atomics.load(bell, bellField.letters)) {
    const letter = (receiveMessageOnPort(control) as { message: SlotLetter } | undefined)?.message;
    if (letter === undefined) break;
    letters++;
    slots.add({
      state: new Int32Array(letter.memory, 0, slotHeaderBytes / 4),
      bytes: Buffer.from(letter.memory, slotHeaderBytes),
      target: letter.trail === undefined ? new Target(letter) : new TrailTarget(letter, letter.trail),
    });
  }
  for (const slot of slots) serve(slot);
  Atomics.wait(bell, bellField.rings, heard);
}

function serve(slot: Slot): void {
  const { state, target } = slot;
  const command = Atomics.load(state, slotField.command);
  if (command === slotCommand.none) return;
  let errno = 0;
  try {
    if (command === slotCommand.open) target.open();
    else if (command === slotCommand.write) target.write(slot.bytes.subarray(0, state[slotField.length]));
    else if (command === slotCommand.close) target.close();
    else if (target instanceof TrailTarget) {
      if (command === slotCommand.roll) target.roll();
      state[slotField.length] = slot.bytes.write(JSON.stringify(target.head()), 0, 'latin1');
    }
  } catch (error) {
    errno = (error as NodeJS.ErrnoException).errno ?? -constants.errno.EIO;
    closeQuietly(target);
  }
  if (command === slotCommand.close) slots.delete(slot);
  state[slotField.errno] = errno;
  state[slotField.torn] = target.tornLines;
  if (target instanceof TrailTarget) {
    state[slotField.sizeLow] = target.size % sizeLowValues;
    state[slotField.sizeHigh] = Math.floor(target.size / sizeLowValues);
    state[slotField.sealed] = target.sealedSegments;
  }
  Atomics.store(state, slotField.command, slotCommand.none);
  Atomics.add(state, slotField.done, 1);
  Atomics.notify(state, slotField.done);
  if (target instanceof TrailTarget) target.settle();
}

/** A file that failed once is opened anew before the next try. */
function closeQuietly(target: Slot['target']): void {
  try {
    target.close();
  } catch {
    // It is gone either way; the error that led here is the one to report.
  }
}
