import 'heavy';
import { test } from 'node:test';

test('is never run', () => undefined);
throw new Error('cannot be loaded');
