import express from 'express';
import { installed, isInstalled } from '../applications/installed.ts';

type Version = readonly [name: string, create: typeof express];

/** Both versions of Express that the suite works in: 4 where `__tests__/applications` is installed. */
export const EXPRESS_VERSIONS: readonly Version[] = [
  ['Express 5', express],
  ...(isInstalled('tests with Express 4') ? [['Express 4', installed('express4')] as const] : []),
];
