import { describe, expect, test } from '@jest/globals';
import { replacePrefix, rewriteTarget } from '../../../lib/routing/rewrite.ts';

describe('a prefix is replaced', () => {
  test.each([
    ['/shop/cart', '/shop', '/', '/cart'],
    ['/shop', '/shop', '/', '/'],
    ['/shop/', '/shop', '/', '/'],
    ['/shop/cart', '/shop', '/store', '/store/cart'],
    ['/shop/cart', '/shop', '/store/', '/store/cart'],
    ['/shop', '/shop', '/store', '/store'],
    ['/shop/', '/shop', '/store', '/store/'],
    ['/cart', '', '/shop', '/shop/cart'],
    ['/', '', '/shop', '/shop/'],
    ['/shop/a%2Fb', '/shop', '/', '/a%2Fb'],
    ['/shop//evil.example', '/shop', '/', '/evil.example'],
    ['/shop///evil.example', '/shop', '/', '/evil.example'],
  ])('%s: %s becomes %s: %s', (path, prefix, replacement, expected) => {
    expect(replacePrefix(path, prefix, replacement)).toBe(expected);
  });
});

describe('a target is rewritten', () => {
  test.each([
    ['/shop/cart?id=1', '/shop', { prefix: '/' }, '/cart?id=1'],
    ['/shop?path=/shop', '/shop', { prefix: '/' }, '/?path=/shop'],
    ['/old?x=/y?z', '/old', { fullPath: '/new' }, '/new?x=/y?z'],
    ['/shop/cart', '/shop', { hostname: 'shop.internal' }, '/shop/cart'],
    ['/shop/cart', '/shop', {}, '/shop/cart'],
    ['*', '', { prefix: '/base' }, '*'],
    ['*', '', { fullPath: '/base' }, '*'],
  ])('%s under %s, %j', (target, prefix, rewrite, expected) => {
    expect(rewriteTarget(target, prefix, rewrite)).toBe(expected);
  });
});
