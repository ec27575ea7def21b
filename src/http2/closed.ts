/** How the last streams of a connection ended: what still arrives for them was on its way, or is an error (RFC 9113 §5.1). */

/** By both ends, by a reset of ours, or by one of the client. */
export type Ending = 'ended' | 'reset' | 'abandoned';

const endings: readonly Ending[] = ['ended', 'reset', 'abandoned'];

const remembered = 1024;

export class Closed {
  readonly #streams = new Uint32Array(remembered);
  readonly #endings = new Uint8Array(remembered);
  #next = 0;

  add(stream: number, how: Ending): void {
    const at = this.#next;
    this.#streams[at] = stream;
    this.#endings[at] = endings.indexOf(how);
    this.#next = (at + 1) % remembered;
  }

  /** undefined for a stream that was never open, or long ago. */
  of(stream: number): Ending | undefined {
    const at = this.#streams.indexOf(stream);
    return at === -1 ? undefined : endings[this.#endings[at]!];
  }
}
