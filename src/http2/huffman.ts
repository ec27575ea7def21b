/**
 * The Huffman code of HPACK (RFC 7541 §5.2, Appendix B), for reading alone: we write strings as they are.
 *
 * The code is canonical (codes of one length follow each other in the order of their symbols), so its lengths say it all. It is read half a
 * byte at a time through a table of states: the shortest code has five bits, so half a byte never ends more than one symbol.
 */

/** Bits of each byte's code. */
// prettier-ignore
const codeBits = [
  13, 23, 28, 28, 28, 28, 28, 28, 28, 24, 30, 28, 28, 30, 28, 28, 28, 28, 28, 28, 28, 28, 30, 28, 28, 28, 28, 28, 28, 28, 28, 28,
  6, 10, 10, 12, 13, 6, 8, 11, 10, 10, 8, 11, 8, 6, 6, 6, 5, 5, 5, 6, 6, 6, 6, 6, 6, 6, 7, 8, 15, 6, 12, 10,
  13, 6, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 8, 7, 8, 13, 19, 13, 14, 6,
  15, 5, 6, 5, 6, 5, 6, 6, 6, 5, 7, 7, 6, 6, 6, 5, 6, 7, 6, 5, 5, 6, 7, 7, 7, 7, 7, 15, 11, 14, 13, 28,
  20, 22, 20, 20, 22, 22, 22, 23, 22, 23, 23, 23, 23, 23, 24, 23, 24, 24, 22, 23, 24, 23, 23, 23, 23, 21, 22, 23, 22, 23, 23, 24,
  22, 21, 20, 22, 22, 23, 23, 21, 23, 22, 22, 24, 21, 22, 23, 23, 21, 21, 22, 21, 23, 22, 23, 23, 20, 22, 22, 22, 23, 22, 22, 23,
  26, 26, 20, 19, 22, 23, 22, 25, 26, 26, 26, 27, 27, 26, 24, 25, 19, 21, 26, 27, 27, 26, 27, 24, 21, 21, 26, 26, 28, 27, 27, 27,
  20, 24, 20, 21, 22, 21, 21, 23, 22, 22, 25, 25, 24, 24, 26, 23, 26, 27, 26, 26, 27, 27, 27, 27, 27, 28, 27, 27, 27, 27, 27, 26,
];
/** The end-of-string symbol: 30 ones. No text may contain it. */
const endOfString = 256;
const endOfStringBits = 30;

/** Inner nodes of the code's tree; a leaf is the complement of its symbol. */
const tree: [number, number][] = [[0, 0]];

function grow(symbol: number, code: number, bits: number): void {
  let node = 0;
  for (let bit = bits - 1; bit > 0; bit--) {
    const side = (code >> bit) & 1;
    if (tree[node]![side] === 0) tree[node]![side] = tree.push([0, 0]) - 1;
    node = tree[node]![side]!;
  }
  tree[node]![code & 1] = ~symbol;
}

{
  let code = 0;
  for (let bits = 5; bits <= endOfStringBits; bits++, code <<= 1) {
    for (let symbol = 0; symbol < codeBits.length; symbol++)
      if (codeBits[symbol] === bits) grow(symbol, code++, bits);
    if (bits === endOfStringBits) grow(endOfString, code++, bits);
  }
}

/** For state * 16 + half a byte: the next state. */
const nextState = new Uint8Array(tree.length * 16);
/** The byte that ends there, or one of these. */
const ended = new Int16Array(tree.length * 16);
const nothing = -1;
const refused = -2;

/** States in which a text may end: up to seven ones of padding (RFC 7541 §5.2). */
const mayEnd = new Uint8Array(tree.length);

for (let state = 0; state < tree.length; state++) {
  for (let half = 0; half < 16; half++) {
    let node = state;
    let symbol = nothing;
    for (let bit = 3; bit >= 0; bit--) {
      const next = tree[node]![(half >> bit) & 1]!;
      if (next >= 0) node = next;
      else {
        symbol = ~next === endOfString ? refused : ~next;
        node = 0;
      }
    }
    nextState[state * 16 + half] = node;
    ended[state * 16 + half] = symbol;
  }
}
for (let state = 0, ones = 0; ones < 8; ones++) {
  mayEnd[state] = 1;
  state = tree[state]![1]!;
}

/**
 * @param into room for what comes out: 8/5 of the length
 * @returns how many bytes came out; -1 when these are no such text
 */
export function decodeHuffman(bytes: Buffer, start: number, end: number, into: Buffer): number {
  let state = 0;
  let length = 0;
  for (let i = start; i < end; i++) {
    const byte = bytes[i]!;
    for (let at = state * 16 + (byte >> 4), second = false; ; at = state * 16 + (byte & 15), second = true) {
      const symbol = ended[at]!;
      if (symbol >= 0) into[length++] = symbol;
      else if (symbol === refused) return -1;
      state = nextState[at]!;
      if (second) break;
    }
  }
  return mayEnd[state] === 1 ? length : -1;
}
