import { describe, expect, test } from '@jest/globals';
import { publicCookie, publicRefresh, publicUrl, type UrlMapping } from '../../../lib/proxy/response/public-urls.ts';

const shop: UrlMapping = {
  clientPrefix: '/shop',
  backendPrefix: '',
  toldPrefix: '',
  clientScheme: 'https',
  clientHost: 'example.com',
  backendScheme: 'http',
  backendHosts: ['127.0.0.1:3003', '[::1]:3003', 'shop.internal'],
};
const moved: UrlMapping = { ...shop, backendPrefix: '/v2' };
const plain: UrlMapping = { ...shop, clientPrefix: '' };
/** HTTP/1.0 lets a client name no host. */
const hostless: UrlMapping = { ...shop, clientHost: '' };
/** The backend's own URLs begin with a part of what clients see. */
const deeper: UrlMapping = { ...shop, clientPrefix: '/api/v2', backendPrefix: '/api' };
const root: UrlMapping = { ...shop, clientPrefix: '', backendPrefix: '/app' };

describe('URLs of a backend that is known by another path and host', () => {
  test.each<[UrlMapping, string, string]>([
    [shop, '/', '/shop/'],
    [shop, '/cart?a=/b#c', '/shop/cart?a=/b#c'],
    [shop, '/?a', '/shop/?a'],
    [shop, 'cart', 'cart'],
    [shop, '../cart', '../cart'],
    [shop, '?page=2', '?page=2'],
    [shop, '#top', '#top'],
    [shop, '', ''],
    [shop, '/shop/cart', '/shop/cart'],
    [shop, '/shop', '/shop'],
    [shop, '/shop?x', '/shop?x'],
    [shop, '/shopping', '/shop/shopping'],
    [shop, 'http://127.0.0.1:3003/cart', 'https://example.com/shop/cart'],
    [shop, 'http://SHOP.internal/cart', 'https://example.com/shop/cart'],
    [shop, '//shop.internal/cart', 'https://example.com/shop/cart'],
    [shop, 'http://shop.internal', 'https://example.com/shop/'],
    [shop, 'http://shop.internal?a', 'https://example.com/shop/?a'],
    [shop, 'http://example.com/cart', 'https://example.com/shop/cart'],
    [shop, 'https://example.com/shop/cart', 'https://example.com/shop/cart'],
    [shop, 'http://shop.internal:80/cart', 'https://example.com/shop/cart'],
    [shop, 'HTTPS://shop.internal:443/cart', 'https://example.com/shop/cart'],
    [shop, 'http://shop.internal:/cart', 'https://example.com/shop/cart'],
    [shop, 'https://example.com:/cart', 'https://example.com/shop/cart'],
    [shop, 'https://example.com:443/cart', 'https://example.com/shop/cart'],
    [
      { ...shop, clientScheme: 'http', clientHost: 'example.com:80' },
      'http://example.com:80/a',
      'http://example.com:80/shop/a',
    ],
    [shop, 'http://shop.internal:443/cart', 'http://shop.internal:443/cart'],
    [shop, 'http://shop.internal:8080/cart', 'http://shop.internal:8080/cart'],
    [shop, 'http://127.0.0.1:3004/cart', 'http://127.0.0.1:3004/cart'],
    [
      shop,
      'https://login.example.org/?back=http://127.0.0.1:3003/',
      'https://login.example.org/?back=http://127.0.0.1:3003/',
    ],
    [shop, '//cdn.example.org/a', '//cdn.example.org/a'],
    [shop, 'mailto:a@shop.internal', 'mailto:a@shop.internal'],
    [shop, 'http://user@127.0.0.1:3003/', 'http://user@127.0.0.1:3003/'],
    [moved, '/v2/cart', '/shop/cart'],
    [moved, '/v2', '/shop'],
    [moved, '/v20', '/v20'],
    [moved, '/other', '/other'],
    [{ ...moved, toldPrefix: '/shop' }, '/shop/v2/cart', '/shop/shop/cart'],
    [deeper, '/api/cart', '/api/v2/cart'],
    [deeper, '/api/v2/cart', '/api/v2/v2/cart'],
    [plain, '/cart', '/cart'],
    [plain, '/\\cart', '/\\cart'],
    [plain, 'http://127.0.0.1:3003/cart', 'https://example.com/cart'],
    [root, '/app/cart', '/cart'],
    [root, '/app', '/'],
    [root, '/app?a', '/?a'],
    [root, '/app?next=/a', '/?next=/a'],
    [root, '/app//evil.example/', '/evil.example/'],
    [root, '/app/\\evil.example/', '/evil.example/'],
    [root, 'http://shop.internal/app//evil.example/', 'https://example.com/evil.example/'],
    [hostless, 'http://shop.internal/cart', '/shop/cart'],
    [{ ...hostless, clientPrefix: '' }, 'http://shop.internal//evil.example/', '/evil.example/'],
  ])('%#: %j %s becomes %s', (mapping, url, expected) => {
    expect(publicUrl(url, mapping)).toBe(expected);
  });

  test.each([
    ['5; url=/cart', '5; url=/shop/cart'],
    ['0;URL="http://127.0.0.1:3003/"', '0;URL="https://example.com/shop/"'],
    ["5, '/cart'", "5, '/shop/cart'"],
    ['5', '5'],
    ['5; url=', '5; url='],
    ['soon; url=/a', 'soon; url=/a'],
    ['in 5; url=/a', 'in 5; url=/a'],
    [' 5 ; url = /a ', ' 5 ; url = /shop/a'],
    ['5.5,/a', '5.5,/shop/a'],
  ])('Refresh: %s becomes %s', (value, expected) => {
    expect(publicRefresh(value, shop)).toBe(expected);
  });

  test.each([
    ['a=1', 'a=1'],
    ['a=1; Path=/', 'a=1; Path=/shop'],
    ['a=1; Path=/cart/', 'a=1; Path=/shop/cart/'],
    ['a=1; Path=/cart; HttpOnly', 'a=1; Path=/shop/cart; HttpOnly'],
    ['a=1; path=/shop/cart', 'a=1; path=/shop/cart'],
    ['a=/; Domain=shop.internal; Secure', 'a=/; Secure'],
    ['a=1; domain=.SHOP.internal', 'a=1'],
    ['a=1; Domain=example.com', 'a=1; Domain=example.com'],
    ['__Host-a=1; Path=/; Secure', '__Host-a=1; Path=/; Secure'],
    [' __Host-a=1; Path=/; Secure', ' __Host-a=1; Path=/; Secure'],
    ['a__Host-=1; Path=/', 'a__Host-=1; Path=/shop'],
    ['a=1; Path= /cart ', 'a=1; Path=/shop/cart'],
    ['__Secure-a=1; Path=/; Secure', '__Secure-a=1; Path=/shop; Secure'],
    ['a=1; Domain=127.0.0.1', 'a=1'],
    ['a=1; Domain=[::1]', 'a=1'],
    ['a=1; Comment=shop.internal', 'a=1; Comment=shop.internal'],
    ['a=1; Path; Domain; Secure', 'a=1; Path; Domain; Secure'],
    ['a=1; Path=; Domain=', 'a=1; Path=; Domain='],
    ['a=1; Paths; Domains', 'a=1; Paths; Domains'],
  ])('Set-Cookie: %s becomes %s', (cookie, expected) => {
    expect(publicCookie(cookie, shop)).toBe(expected);
  });

  test.each([plain, root])('%#: a cookie of / stays one of / where the gateway adds no prefix', (mapping) => {
    expect(publicCookie('a=1; Path=/', mapping)).toBe('a=1; Path=/');
  });

  test('a URL without a host stays as it is, also for a client that named no host', () => {
    expect(publicUrl('http://:80/cart', { ...hostless, backendHosts: [''] })).toBe('http://:80/cart');
    expect(publicUrl('http:///cart', hostless)).toBe('http:///cart');
  });
});
