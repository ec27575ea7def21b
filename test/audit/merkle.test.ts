import t from 'tap';
import {
  consistencyRanges,
  emptyRoot,
  Frontier,
  inclusionRanges,
  leafHash,
  nodeHash,
  RangeRoots,
  rootOfInclusion,
  type Hash,
} from '../../src/audit/merkle.ts';

/** Leaves and roots of Certificate Transparency's reference tests for RFC 6962. */
const leaves = [
  '',
  '00',
  '10',
  '2021',
  '3031',
  '40414243',
  '5051525354555657',
  '606162636465666768696a6b6c6d6e6f',
].map((hex) => leafHash(Buffer.from(hex, 'hex')));
const roots = [
  '6e340b9cffb37a989ca544e6bb780a2c78901d3fb33738768511a30617afa01d',
  'fac54203e7cc696cf0dfcb42c92a1d9dbaf70ad9e621f4bd8d98662f00e3c125',
  'aeb6bcfe274b70a14fb067a5e5578264db0fa9b51af5e0ba159158f329e06e77',
  'd37ee418976dd95753c1c73862b9398fa2a2cf9b4ff0fdfe8b30cd95209614b7',
  '4e3bbb1f7b478dcfe71fb631631519a3bca12c9aefca1612bfce4c13a86264d4',
  '76e67dadbcdf1e10e1b74ddc608abd2f98dfb16fbce75277b5232a127f2087ef',
  'ddb89be403809e325750d3d263cd78929c2942b7942a34b77e122c9594a74c8c',
  '5dc9da79a70659a9ad559cb701ded9a2ab9d823aad2f4960cfe370eff4604328',
];

/** The tree as RFC 6962 writes it down: slow, and nothing like a frontier. */
function definition(of: readonly Hash[]): Hash {
  if (of.length === 0) return emptyRoot;
  if (of.length === 1) return of[0]!;
  let half = 1;
  while (half * 2 < of.length) half *= 2;
  return nodeHash(definition(of.slice(0, half)), definition(of.slice(half)));
}

const many = Array.from({ length: 70 }, (_, i) => leafHash(Buffer.from(`leaf ${i}`)));

t.test('the empty tree, leaves and roots are those of RFC 6962', async (t) => {
  t.equal(emptyRoot, 'e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855');
  const frontier = new Frontier();
  t.equal(frontier.root(), emptyRoot);
  for (const [i, leaf] of leaves.entries()) {
    frontier.append(leaf);
    t.equal(frontier.root(), roots[i], `tree of ${i + 1}`);
  }
});

t.test(
  'a frontier gives the root of the definition at every size, and goes on from what was kept',
  async (t) => {
    let frontier = new Frontier();
    for (const [i, leaf] of many.entries()) {
      frontier.append(leaf);
      t.equal(frontier.root(), definition(many.slice(0, i + 1)));
      frontier = Frontier.of(frontier.size, [...frontier.roots]);
    }
    t.throws(() => Frontier.of(3, ['a']), RangeError);
    t.throws(() => Frontier.of(-1, []), RangeError);
    const large = Frontier.of(2 ** 40, ['00'.repeat(32)]);
    large.append(many[0]!);
    t.equal(large.roots.length, 2, 'sizes beyond 32 bits');
  },
);

t.test('every inclusion proof leads to the root, and no other leaf, index or size does', async (t) => {
  for (let size = 1; size <= 33; size++) {
    const root = definition(many.slice(0, size));
    for (let index = 0; index < size; index++) {
      const pass = new RangeRoots(inclusionRanges(index, size));
      for (let i = 0; i < size; i++) pass.take(i, many[i]!);
      const proof = pass.roots();
      if (rootOfInclusion(many[index]!, index, size, proof) !== root) t.fail(`${index} in ${size}`);
      if (rootOfInclusion(many[40]!, index, size, proof) === root) t.fail('another leaf is proved');
      if (size > 1 && rootOfInclusion(many[index]!, (index + 1) % size, size, proof) === root)
        t.fail('another index is proved');
      if (rootOfInclusion(many[index]!, index, size, [...proof, root]) !== undefined) t.fail('too long');
    }
  }
  t.equal(rootOfInclusion(many[0]!, 5, 5, []), undefined);
  t.throws(() => inclusionRanges(5, 5), RangeError);
  t.throws(() => new RangeRoots([{ start: 0, end: 2 }]).roots(), RangeError);
});

t.test('inclusion and consistency proofs of the reference tests', async (t) => {
  const rootsOf = (ranges: { start: number; end: number }[]): Hash[] => {
    const pass = new RangeRoots(ranges);
    for (const [i, leaf] of leaves.entries()) pass.take(i, leaf);
    return pass.roots();
  };
  t.strictSame(rootsOf(inclusionRanges(0, 8)), [
    '96a296d224f285c67bee93c30f8a309157f0daa35dc5b87e410b78630a09cfc7',
    '5f083f0a1a33ca076a95279832580db3e0ef4584bdff1f54c8a360f50de3031e',
    '6b47aaf29ee3c2af9af889bc1fb9254dabd31177f16232dd6aab035ca39bf6e4',
  ]);
  t.strictSame(rootsOf(consistencyRanges(6, 8)), [
    '0ebc5d3437fbe2db158b9f126a1d118e308181031d0a949f8dededebc558ef6a',
    'ca854ea128ed050b41b35ffc1b87b8eb2bde461e9e3b5596ece6b9d5975a0ae0',
    'd37ee418976dd95753c1c73862b9398fa2a2cf9b4ff0fdfe8b30cd95209614b7',
  ]);
  t.strictSame(rootsOf(consistencyRanges(8, 8)), []);
  t.throws(() => consistencyRanges(0, 8), RangeError);
});
