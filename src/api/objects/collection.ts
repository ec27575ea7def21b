/**
 * Collects the buffers of streams in time. Every chunk is some buffers outside V8's heap, short-lived ones that a collection of the
 * young generation frees in half a millisecond. But that begins when V8's own heap fills, which chunks hardly do; before, V8 counts the buffers against the
 * limit of the old generation and collects its whole heap every ten or twenty MiB, which takes as much processor time as all the rest of a stream
 * (docs/benchmarks-stream.md). V8's settings help on some runs and not on others, so the streams ask for the small collection themselves.
 */
import v8 from 'node:v8';
import vm from 'node:vm';

/** With 4 MiB and a heap that was just collected the limit still comes first. */
const collectAfterBytes = 2 * 1_048_576;

type Collect = (options: { readonly type: 'minor' }) => void;

let collect: Collect | undefined;
let bytesSince = 0;

/** Counts what the streams of this process took in. */
export function countStreamed(bytes: number): void {
  bytesSince += bytes;
  if (bytesSince < collectAfterBytes) return;
  bytesSince = 0;
  collect ??= collector();
  collect({ type: 'minor' });
}

/** V8 gives its collector to contexts made while this setting is on; the program's own is not changed. */
function collector(): Collect {
  v8.setFlagsFromString('--expose-gc');
  try {
    return vm.runInNewContext('gc') as Collect;
  } catch {
    // An engine that gives none collects when it wants to.
    return () => undefined;
  } finally {
    v8.setFlagsFromString('--no-expose-gc');
  }
}
