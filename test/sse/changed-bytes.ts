/** Changes bytes of a sealed object one at a time, and sees that none opens and nothing leaks. */
import { objectHeaderBytes } from '../../src/sse/index.ts';
import { attempt, sealedSegment, segmentBytes, threeSegments } from './fixtures.ts';

interface Checks {
  equal(found: unknown, wanted: unknown, what: string): boolean;
  ok(found: unknown, what: string): boolean;
}

/**
 * @param step 1: every byte. More: headers, tags and edges of segments whole, of what is between only each so many
 * @returns how many bytes were changed
 */
export async function changeBytes(
  t: Checks,
  aead: 'aes-256-gcm' | 'chacha20-poly1305',
  step: number,
): Promise<number> {
  const { object, sealed, message } = await threeSegments(aead);
  const isNearEdge = (at: number) => {
    const inSegment = (at - objectHeaderBytes) % sealedSegment;
    return at < objectHeaderBytes || inSegment < 64 || inSegment > segmentBytes - 64;
  };
  let silent = 0;
  let leaked = 0;
  let tried = 0;
  for (let at = 0; at < sealed.length; at++) {
    if (!isNearEdge(at) && at % step !== 0) continue;
    tried++;
    sealed[at]! ^= 1 << (at % 8);
    const { isWhole, released } = attempt(object.open(), sealed);
    sealed[at]! ^= 1 << (at % 8);
    if (isWhole) silent++;
    const before = at < objectHeaderBytes ? 0 : Math.floor((at - objectHeaderBytes) / sealedSegment);
    if (!released.equals(message.subarray(0, before * segmentBytes))) leaked++;
  }
  t.equal(silent, 0, 'none opens');
  t.equal(leaked, 0, 'what came out is what was authenticated before the change');
  t.ok(attempt(object.open(), sealed).isWhole, 'and unchanged it opens');
  return tried;
}
