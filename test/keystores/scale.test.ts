import t from 'tap';
import { testScale } from './scale.ts';

t.setTimeout(120_000);
testScale(10_000);
