import { createServer } from 'node:http';
import express from 'express';
import { answerFor, NONCE_FIELD } from '../harness/answer.ts';
import { serveTarget } from '../harness/target-side.ts';

// What Express itself costs before anything is forwarded.

const app = express();
app.disable('x-powered-by');
app.use((req, res) => {
  res.type('json').end(answerFor(req.get(NONCE_FIELD) ?? ''));
});

await serveTarget(createServer(app));
