import assert from 'node:assert/strict';
import { test } from 'node:test';
import { chooseMirrors, findMirrors, parseIndexTargets } from '../src/mirror.ts';

test('Debian’s main archive is chosen among other sources', () => {
  const targets = parseIndexTargets(
    [
      'http://packages.example/debian/12/prod/|Example|bookworm|bookworm|main',
      'http://mirror.example/debian-security/|Debian|bookworm-security|bookworm-security|main',
      'http://mirror.example/debian/|Debian|bookworm|bookworm|main',
      'http://mirror.example/debian/|Debian|bookworm-updates|bookworm-updates|main',
      'http://mirror.example/debian/|Debian|bookworm|bookworm|contrib',
    ].join('\n'),
  );
  assert.deepEqual(chooseMirrors(targets, 'bookworm'), ['http://mirror.example/debian/']);
});

test('a container whose package lists are empty still knows its archive', () => {
  const targets = parseIndexTargets(
    [
      'http://packages.example/node/|$(ORIGIN)|$(CODENAME)|nodistro|main',
      'http://packages.example/12/prod/|$(ORIGIN)|$(CODENAME)|bookworm|main',
      'http://mirror.example/debian/|$(ORIGIN)|$(CODENAME)|bookworm|main',
    ].join('\n'),
  );
  assert.equal(chooseMirrors(targets, 'bookworm')[0], 'http://mirror.example/debian/');
});

test('an archive of another system is not taken for Debian’s', () => {
  const targets = parseIndexTargets('http://archive.example/ubuntu/|Ubuntu|noble|noble|main\n');
  assert.deepEqual(chooseMirrors(targets, ''), []);
});

test('FORKPOINT_DEBIAN_MIRROR is taken as it is, and refused when it is no address', async () => {
  const given = { FORKPOINT_DEBIAN_MIRROR: 'http://my.example/debian' };
  assert.deepEqual((await findMirrors(given)).mirrors, ['http://my.example/debian']);
  const wrong = findMirrors({ FORKPOINT_DEBIAN_MIRROR: 'http://x/ [trusted=yes] y' });
  await assert.rejects(wrong, { code: 'ERR_FORKPOINT_NO_MIRROR' });
});

test('a machine without apt is told what to do instead', async () => {
  const failure = findMirrors({ PATH: '/nonexistent' });
  await assert.rejects(failure, (error: Error & { code?: string; hint?: string }) => {
    assert.equal(error.code, 'ERR_FORKPOINT_NO_APT');
    assert.match(error.hint ?? '', /install criu 4\.2/);
    return true;
  });
});
