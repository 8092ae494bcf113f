import { values } from './values.cjs';

/** Squares a number; without one, draws random values in this thread. */
export default (number) => (number === null ? values() : number ** 2);
