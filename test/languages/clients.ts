import { execFileSync } from 'node:child_process';
import { existsSync, mkdirSync, statSync } from 'node:fs';
import { join } from 'node:path';
import { nodeBinary, root } from '@forkpoint/testkit';

/** A client of forkpoint, and the program that the conformance script drives it with. */
export interface Client {
  readonly name: string;
  /** The words that start its subject, to which a scenario and its words are added. */
  readonly subject: readonly string[];
  /** What a person without forkpoint needs around the subject, so that it finds its client. */
  readonly outside: readonly string[];
}

const languages = join(root, '.forkpoint/languages');

/** A program that scripts/languages.ts has prepared; `npm run jdks` gives another JDK in FORKPOINT_TEST_JAVA. */
export function language(name: 'python3' | 'ruby' | 'java' | 'javac' | 'jruby' | 'jruby10'): string {
  const java = process.env['FORKPOINT_TEST_JAVA'];
  return name === 'java' && java !== undefined ? java : join(languages, 'bin', name);
}

/** The Java client. */
export const javaClient = join(root, 'packages/forkpoint/clients/forkpoint.jar');

/** numpy, pandas and gunicorn. */
export const pythonPackages = join(languages, 'python-packages');

/** org.crac as it comes from Maven Central. */
export const orgCrac = join(languages, 'lib/org.crac.jar');

/** Compiles Java sources into a directory below .forkpoint, unless they are there already; returns it. */
export function compileJava(name: string, sources: readonly string[], classPath: readonly string[]): string {
  const directory = join(languages, 'classes', name);
  const mark = join(directory, '.done');
  const newest = Math.max(...[...sources, ...classPath].map((path) => statSync(path).mtimeMs));
  if (existsSync(mark) && statSync(mark).mtimeMs > newest) return directory;
  mkdirSync(directory, { recursive: true });
  const words = ['-nowarn', '-d', directory, '-cp', classPath.join(':'), ...sources];
  execFileSync(language('javac'), words, { timeout: 120_000 });
  execFileSync('touch', [mark]);
  execFileSync('chmod', ['-R', 'a+rX', join(languages, 'classes')]);
  return directory;
}

/** Returns every client. */
export function clients(): Client[] {
  const subject = (extension: string): string => join(root, 'conformance', `subject.${extension}`);
  const classes = compileJava('subject', [join(root, 'conformance/Subject.java')], [javaClient]);
  const ruby = `RUBYLIB=${join(root, 'clients/ruby/lib')}`;
  return [
    { name: 'Node.js', subject: [nodeBinary(24), subject('mjs')], outside: [] },
    {
      name: 'Python',
      subject: [language('python3'), subject('py')],
      outside: [`PYTHONPATH=${join(root, 'clients/python/src')}`],
    },
    {
      name: 'Java',
      subject: [language('java'), '-XX:+UseSerialGC', '-cp', `${classes}:${javaClient}`, 'Subject'],
      outside: [],
    },
    { name: 'Ruby', subject: [language('ruby'), subject('rb')], outside: [ruby] },
    // --dev: no JIT compiler of the second tier, which would only cost here.
    { name: 'JRuby', subject: [language('jruby'), '--dev', subject('rb')], outside: [ruby] },
  ];
}
