// What linking must never change, for the runtimes whose memory is laid out otherwise than that of C and Node.js.
import { join } from 'node:path';
import { after, before, describe, test } from 'node:test';
import { createPerson, root } from '@forkpoint/testkit';
import type { Person } from '@forkpoint/testkit';
import { detach, logged } from '../engine/pods.ts';
import { compareRestores } from '../engine/stills.ts';
import { compileJava, language } from './clients.ts';

/** Lists, texts and bytes of all sizes, some given back: arenas, small and mapped chunks. */
const PYTHON = `
import time
small = [[i, str(i), (i, -i)] for i in range(60000)]
large = [bytes([i % 251]) * (4096 * (i % 90 + 1)) for i in range(150)]
del small[::3], large[::4]
print("up", flush=True)
while True:
    time.sleep(3600)
`;
/** The share of pages that is linked (issue: at least 95% for Node, the JVM and Python). */
const SHARE = 0.95;

describe('every readable page of a linked restore is that of the stock restore, in other languages', () => {
  let person: Person;
  before(() => {
    person = createPerson();
  });
  after(async () => await person.leave());

  async function compare(name: string, up: RegExp, argv: string[], makesCode: boolean): Promise<void> {
    const id = await detach(person, argv);
    await logged(person, id, up);
    await person.json(['checkpoint', id, `./${name}`, '--no-link', '--stop']);
    const image = join(person.scratch, name);
    await compareRestores(person, image, `${image}-linked`, { threshold: 8, share: SHARE, makesCode });
  }

  test('of a Python program', async () => {
    await compare('python', /^up$/m, [language('python3'), '-c', PYTHON], false);
  });

  test('of a JVM', async () => {
    const classes = compileJava('heap', [join(root, 'bench/programs/Heap.java')], []);
    const heap = ['BENCH_MB=64', `BENCH_FIFO=${join(person.scratch, 'none')}`];
    const java = ['env', ...heap, language('java'), '-XX:+UseSerialGC', '-Xmx256m', '-cp', classes, 'Heap'];
    await compare('jvm', /^ready /m, java, true);
  });
});
