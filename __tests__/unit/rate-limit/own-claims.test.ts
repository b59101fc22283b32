import type { IncomingMessage } from 'node:http';
import { describe, expect, test } from '@jest/globals';
import { boundedKey, type ClaimFunctions, OwnClaims, ownKey } from '../../../lib/rate-limit/own-claims.ts';

const req = {} as IncomingMessage;
const LARGEST = Math.floor(Number.MAX_SAFE_INTEGER / 60_000) - 1;
const ask = (functions: Partial<ClaimFunctions>) => new OwnClaims({ limit: 5, ...functions }, 60_000).ask(req);

describe('a text as a key', () => {
  test.each(['a', 'user-7', '!z|~', 'x'.repeat(64)])('%s is legible in Redis', (text) => {
    expect([ownKey(text), boundedKey(text)]).toEqual([`k:${text}`, text]);
  });

  test.each([' a', 'a ', 'a b', '{a}', 'a\n', 'ä', 'x'.repeat(65), 'x'.repeat(100_000)])(
    '%j is hashed: short, and of harmless characters',
    (text) => {
      expect(ownKey(text)).toMatch(/^h:[\w-]{22}$/);
      expect(boundedKey(text)).toBe(ownKey(text));
      expect(ownKey(`${text}.`)).not.toBe(ownKey(text));
    },
  );
});

describe('the functions of an app', () => {
  const nothing = { key: undefined, cost: 1, limit: undefined };

  test.each<[Partial<ClaimFunctions>, object | undefined]>([
    [{}, nothing],
    [{ key: () => 'a' }, { ...nothing, key: 'k:a' }],
    [{ key: () => '' }, nothing],
    [{ cost: () => 0 }, { ...nothing, cost: 0 }],
    [{ cost: () => Number.MAX_SAFE_INTEGER }, { ...nothing, cost: Number.MAX_SAFE_INTEGER }],
    [{ limit: () => 1 }, { ...nothing, limit: 1 }],
    [{ limit: () => LARGEST }, { ...nothing, limit: LARGEST }],
    [{ skip: () => false }, nothing],
    [{ skip: () => true }, undefined],
  ])('%#: say at once what a request is', (functions, claim) => {
    expect(ask(functions)).toEqual(claim);
  });

  test.each<[Partial<ClaimFunctions>, object | undefined]>([
    [
      { key: async () => 'a', cost: () => 2, limit: () => 3 },
      { key: 'k:a', cost: 2, limit: 3 },
    ],
    [
      { key: () => 'a', cost: async () => 2, limit: () => 3 },
      { key: 'k:a', cost: 2, limit: 3 },
    ],
    [
      { key: () => 'a', cost: () => 2, limit: async () => 3 },
      { key: 'k:a', cost: 2, limit: 3 },
    ],
    [
      { key: () => 'a', skip: async () => false },
      { ...nothing, key: 'k:a' },
    ],
    [{ key: () => 'a', skip: async () => true }, undefined],
  ])('%#: may say it later', async (functions, claim) => {
    const asked = ask(functions);
    expect(asked).toBeInstanceOf(Promise);
    expect(await asked).toEqual(claim);
  });

  test.each<[Partial<ClaimFunctions>, string]>([
    [{ key: () => 7 as never }, 'key() must return a string or undefined, returned number'],
    [{ limit: () => 0 }, 'limit() must return an integer from 1'],
    [{ limit: () => LARGEST + 1 }, 'limit() must return an integer from 1'],
    [{ limit: () => 1.5 }, 'limit() must return an integer from 1'],
    [{ cost: () => -1 }, 'cost() must return an integer of at least 0, returned -1'],
    [{ cost: () => Number.MAX_SAFE_INTEGER + 1 }, 'cost() must return an integer of at least 0'],
  ])('%#: must not say what makes no sense', async (functions, message) => {
    const asked = (async () => ask(functions))();
    await expect(asked).rejects.toThrow(message);
    await expect(asked).rejects.toMatchObject({ code: 'ERR_EXPRESSWAY_CALLBACK' });
  });

  test.each<[Partial<ClaimFunctions>, boolean]>([
    [{}, false],
    [{ key: () => 'a' }, true],
    [{ cost: () => 1 }, true],
    [{ skip: () => false }, true],
    [{ limit: () => 1 }, true],
  ])('%#: are asked where there are any', (functions, asks) => {
    expect(new OwnClaims({ limit: 5, ...functions }, 60_000).asks).toBe(asks);
  });
});
