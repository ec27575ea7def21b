/** How the last streams of a connection ended: what still arrives for them was on its way, or is an error (RFC 9113 §5.1). */

export type Ending = 'ended' | 'reset';

const remembered = 1024;

export class Closed {
  readonly #streams = new Uint32Array(remembered);
  readonly #wereReset = new Uint8Array(remembered);
  #next = 0;

  add(stream: number, how: Ending): void {
    const at = this.#next;
    this.#streams[at] = stream;
    this.#wereReset[at] = how === 'reset' ? 1 : 0;
    this.#next = (at + 1) % remembered;
  }

  /** undefined for a stream that was never open, or long ago. */
  of(stream: number): Ending | undefined {
    const at = this.#streams.indexOf(stream);
    return at === -1 ? undefined : this.#wereReset[at] === 1 ? 'reset' : 'ended';
  }
}
