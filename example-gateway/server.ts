import { runGateway } from 'expressway/gateway';
import { createApp } from './app.ts';

// Listeners, TLS, status page, metrics, logs, reload, workers and a graceful stop, as the variables in .env say.
await runGateway({ app: createApp });
