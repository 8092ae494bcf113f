import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import { inetAddress, unixName } from '../src/index.ts';

describe('inetAddress', () => {
  it('writes addresses as people do', () => {
    assert.equal(inetAddress(2, [0x0100007f]), '127.0.0.1');
    assert.equal(inetAddress(2, [0]), '0.0.0.0');
    assert.equal(inetAddress(10, [0, 0, 0, 0]), '::');
    assert.equal(inetAddress(10, [0, 0, 0, 0x01000000]), '::1');
    assert.equal(inetAddress(10, [0xb80d0120, 0, 0x00000100, 0x02000100]), '2001:db8::1:0:1:2');
  });
});

describe('unixName', () => {
  it('tells paths, abstract names and no name apart', () => {
    assert.equal(unixName(new TextEncoder().encode('/run/a.sock\0')), '/run/a.sock');
    assert.equal(unixName(new TextEncoder().encode('\0abstract')), '@abstract');
    assert.equal(unixName(new Uint8Array(0)), undefined);
  });
});
