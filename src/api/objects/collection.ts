/**
 * How V8 counts the buffers of streams. Each chunk is a buffer of its own outside V8's heap, and for every few ten MiB of them V8
 * collects its whole heap, which takes half of a stream's processor time and finds little more than a collection of the young generation
 * would. Counted as part of the heap, they are freed by those (docs/benchmarks-stream.md).
 */
import v8 from 'node:v8';

let isSet = false;

/** For processes that serve objects, from their first request on. A V8 that lacks the setting says so on standard error and goes on. */
export function countBuffersWithHeap(): void {
  if (isSet) return;
  isSet = true;
  v8.setFlagsFromString('--external-memory-accounted-in-global-limit');
}
