import t from 'tap';
import { testScale } from '../keystores/scale.ts';

t.setTimeout(1_200_000);
testScale(100_000);
