import { openSync } from 'node:fs';
import express from 'express';
import { type Host, type HostedApp, runGateway, standardApp } from 'expressway/gateway';

// A gateway that does on demand what applications do by accident.

const MANY = 100_000;

function app(host: Host): HostedApp {
  const { limiter } = host.options;
  const maxKeys = Number(process.env.STAGED_MAX_KEYS);
  const options = { ...host.options, limiter: maxKeys > 0 ? { ...limiter, maxKeys } : limiter };
  const hosted = standardApp({ ...host, options });
  const outer = express().set('trust proxy', host.config.trustProxy);
  outer.get('/staged/ok', (_req, res) => void res.send('ok'));
  outer.get('/staged/block', (_req, res) => {
    const until = Date.now() + 1_200;
    while (Date.now() < until);
    res.send('late');
  });
  outer.get('/staged/crash', () => {
    setImmediate(() => {
      throw new Error('crashed on purpose');
    });
  });
  outer.get('/staged/warn', (_req, res) => {
    process.emitWarning('something is old', { type: 'StagedWarning', code: 'STAGED' });
    res.send('warned');
  });
  outer.get('/staged/take-files', (_req, res) => {
    try {
      for (let taken = 0; taken < MANY; taken += 1) openSync('/dev/null', 'r');
    } catch {
      res.send('all taken');
    }
  });
  outer.use(hosted.app);
  return { ...hosted, app: outer };
}

await runGateway({ app });
