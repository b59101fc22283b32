import Sequencer from '@jest/test-sequencer';

/** Unit suites last: they are short, and fill what the long ones leave at the end. Jest sorts by size alone where nothing ran before. */
export default class LongSuitesFirst extends Sequencer {
  sort(tests) {
    const isUnit = ({ path }) => path.includes('/__tests__/unit/');
    return super.sort(tests).sort((one, other) => Number(isUnit(one)) - Number(isUnit(other)));
  }
}
