import { inspect } from 'node:util';
import { describe, expect, test } from '@jest/globals';
import { RedisUrl } from '../../../lib/rate-limit/redis/redis-address.ts';

const addressOf = (href: string) => new RedisUrl(href).address;
const problemOf = (href: string) => new RedisUrl(href).problem;

describe('a Redis URL', () => {
  test('of a single Redis, with all that it may say', () => {
    expect(addressOf('rediss://us%40er:p%2Fss@Redis.example:6380/3')).toMatchObject({
      shape: 'single',
      hosts: [{ host: 'redis.example', port: 6_380 }],
      username: 'us@er',
      password: 'p/ss',
      database: 3,
      tls: {},
    });
    expect(addressOf('redis://:secret@[::1]')).toMatchObject({
      hosts: [{ host: '::1', port: 6_379 }],
      username: undefined,
      password: 'secret',
      database: 0,
      tls: undefined,
    });
  });

  test('of a cluster names the nodes that are asked first', () => {
    expect(addressOf('redis+cluster://u:p@one:7000,[2001:db8::1]:7001,three')).toMatchObject({
      shape: 'cluster',
      hosts: [
        { host: 'one', port: 7_000 },
        { host: '2001:db8::1', port: 7_001 },
        { host: 'three', port: 6_379 },
      ],
      username: 'u',
      password: 'p',
    });
  });

  test('of Sentinels names them, the master, and two logins', () => {
    expect(
      addressOf('redis+sentinel://u:p@one,two:5000/my%20master/2?sentinel_username=su&sentinel_password=s%26p'),
    ).toMatchObject({
      shape: 'sentinel',
      hosts: [
        { host: 'one', port: 26_379 },
        { host: 'two', port: 5_000 },
      ],
      masterName: 'my master',
      database: 2,
      sentinelUsername: 'su',
      sentinelPassword: 's&p',
    });
  });

  test.each([
    ['redis://one,two', /redis\+cluster/],
    ['redis+cluster://one/1', /no database number/],
    ['redis+cluster://one,,two', /name a host/],
    ['redis+cluster://one,two:70000', /cannot be parsed/],
    ['redis+sentinel://one', /name of the master/],
    ['redis+sentinel://one/name/db', /name of the master/],
    ['redis://one?timeout=5', /no parameters/],
    ['redis://one?ssl_ca_certs=ca.pem', /no parameters/],
    ['rediss://one?ssl_ca_certs=/no/such/file', /readable file as ssl_ca_certs \(no such file\)/],
    ['http://one', /must start with redis/],
    ['one:6379', /: use redis:\/\/one:6379$/],
    ['[::1]:6379', /: use redis:\/\/\[::1\]:6379$/],
    ['user:pass@one', /, like redis:\/\/localhost:6379$/],
    ['x redis://one', /must start with redis/],
    ['redis+odd://one', /cannot be parsed$/],
    ['redis://one#x', /cannot be parsed$/],
    ['rediss+cluster://one?sentinel_username=u', /no parameters but ssl_ca_certs, ssl_certfile, ssl_keyfile$/],
    ['redis+sentinel://one/m?x=1', /no parameters but sentinel_username, sentinel_password$/],
    ['redis+sentinel://one/', /name of the master/],
    ['redis+sentinel://one/name/1/2', /name of the master/],
    ['redis+cluster://one/0/1', /no database number/],
    ['redis+cluster://one/7', /no database number/],
    ['redis://one/x1', /database number/],
    ['redis://one:6379x', /cannot be parsed/],
    ['redis://:6379', /name a host/],
    ['redis://u%@one', /percent-encode/],
  ])('%s is refused', (href, problem) => {
    expect(problemOf(href)).toMatch(problem);
    expect(() => addressOf(href)).toThrow(TypeError);
  });

  test.each([
    ['REDIS://one/', { shape: 'single', database: 0, tls: undefined, username: undefined, password: undefined }],
    ['redis://one/12', { database: 12 }],
    ['redis+cluster://one/', { shape: 'cluster', database: 0 }],
    ['redis+cluster://one/0', { shape: 'cluster', database: 0 }],
    ['RedisS+Sentinel://one/name/', { shape: 'sentinel', masterName: 'name', database: 0, tls: {} }],
    [
      'redis+sentinel://one/name/11',
      { masterName: 'name', database: 11, sentinelUsername: undefined, sentinelPassword: undefined },
    ],
    ['redis://us%40er@one', { username: 'us@er', password: undefined }],
    ['redis://u:@one', { username: 'u', password: '' }],
    ['redis://u@x:p@one', { username: 'u@x', password: 'p', hosts: [{ host: 'one', port: 6_379 }] }],
  ])('%s is read', (href, address) => {
    expect(addressOf(href)).toMatchObject(address);
  });

  test('never shows its password', () => {
    expect(inspect(new RedisUrl('redis://u:s3cret@one'), { showHidden: true })).not.toContain('s3cret');
    for (const bad of ['redis://u:s3cret@', 'redis://u:s3cret@one/x', 'redis://u:s3/cret@one']) {
      expect(problemOf(bad)).toBeDefined();
      expect(problemOf(bad)).not.toContain('cret');
    }
  });
});
