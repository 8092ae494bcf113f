import { price } from '../src/price.mjs';

price('a file that fails while it is collected');
