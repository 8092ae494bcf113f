// A browser for the live page.
import { chmodSync, existsSync, mkdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { delimiter, join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { fetchDebianTree, LIBRARIES } from './debian.ts';

const root = fileURLToPath(new URL('../..', import.meta.url)).replace(/\/$/, '');
const base = join(root, '.forkpoint/browser');
const debian = join(base, 'debian');
const command = join(base, 'browser');
const mark = join(base, 'ready.json');
const PACKAGES = ['chromium-headless-shell', 'fonts-dejavu-core'];
const NAMES = ['chromium', 'chromium-headless-shell', 'google-chrome'];

async function prepare(): Promise<string> {
  const wanted = JSON.stringify({ version: 1, packages: PACKAGES });
  mkdirSync(base, { recursive: true });
  if (existsSync(mark) && readFileSync(mark, 'utf8') === wanted) return command;
  console.error('preparing a browser ...');
  rmSync(mark, { force: true });
  await fetchDebianTree(base, debian, PACKAGES);
  // Fonts are looked for where fontconfig's own file says, which is not in this tree.
  writeFileSync(
    join(base, 'fonts.conf'),
    `<?xml version="1.0"?><!DOCTYPE fontconfig SYSTEM "fonts.dtd"><fontconfig><dir>${debian}/usr/share/fonts</dir><cachedir>${base}/fonts</cachedir></fontconfig>\n`,
  );
  const script = [
    '#!/bin/sh',
    `LD_LIBRARY_PATH=${debian}/${LIBRARIES} FONTCONFIG_FILE=${base}/fonts.conf; export LD_LIBRARY_PATH FONTCONFIG_FILE`,
    `exec ${debian}/usr/lib/chromium/chromium-headless-shell "$@"`,
  ];
  writeFileSync(command, `${script.join('\n')}\n`);
  chmodSync(command, 0o755);
  writeFileSync(mark, wanted);
  return command;
}

/**
 * Returns the path of a browser: of CHROMIUM, of one on PATH, else of Debian's chromium-headless-shell, which is fetched
 * into .forkpoint/browser the first time, without root.
 */
export async function findBrowser(): Promise<string> {
  const { CHROMIUM, PATH = '' } = process.env;
  const paths = PATH.split(delimiter).flatMap((directory) => NAMES.map((name) => join(directory, name)));
  return CHROMIUM ?? paths.find((path) => existsSync(path)) ?? (await prepare());
}
