/** Streams share a turn of the event loop, so that key calls find their place between them. */
import t from 'tap';
import { Turns } from '../../../src/api/objects/turns.ts';

/** Turns of the event loop by hand. */
function byHand(bytesPerTurn: number) {
  const asked: (() => void)[] = [];
  const turns = new Turns(bytesPerTurn, (work) => asked.push(work));
  return { turns, next: () => asked.splice(0).forEach((work) => work()), asked };
}

t.test('a stream that takes less than its turn allows never waits', (t) => {
  const { turns, next } = byHand(100_000);
  t.equal(turns.took(99_999), false);
  next();
  t.equal(turns.took(99_999), false, 'the next turn has all of it again');
  let isGoing = false;
  turns.wait(() => (isGoing = true));
  t.ok(isGoing, 'and going on is at once');
  t.end();
});

t.test('what a turn allows is shared, and those that wait go on in their order', (t) => {
  const { turns, next, asked } = byHand(131_072);
  const went: number[] = [];
  t.equal(turns.took(131_072), true);
  for (let stream = 0; stream < 5; stream++) turns.wait(() => went.push(stream));
  t.same(went, [], 'none in this turn');
  t.equal(asked.length, 1, 'one turn is asked for, however many wait');
  next();
  t.same(went, [0, 1]);
  next();
  next();
  t.same(went, [0, 1, 2, 3, 4]);
  next();
  t.equal(asked.length, 0, 'an idle process asks for no turns');
  t.end();
});

t.test('who waits is not passed by one that comes later', (t) => {
  const { turns, next } = byHand(65_536);
  const went: string[] = [];
  turns.took(65_536);
  turns.wait(() => went.push('first'));
  turns.wait(() => went.push('second'));
  next();
  turns.wait(() => went.push('late'));
  next();
  next();
  t.same(went, ['first', 'second', 'late']);
  t.end();
});

t.test('one that takes bytes as it goes on uses up the turn', (t) => {
  const { turns, next } = byHand(131_072);
  const went: number[] = [];
  turns.took(131_072);
  for (let stream = 0; stream < 2; stream++)
    turns.wait(() => {
      went.push(stream);
      turns.took(131_072);
    });
  next();
  t.same(went, [0]);
  next();
  t.same(went, [0, 1]);
  t.end();
});

t.test('a stream that has ended gets no turn', (t) => {
  const { turns, next } = byHand(1);
  turns.took(1);
  const goOn = () => t.fail('it has ended');
  turns.wait(goOn);
  turns.leave(goOn);
  next();
  t.end();
});
