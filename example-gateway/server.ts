import { runGateway, standardApp } from 'expressway/gateway';
import { createApp } from './app.ts';

// Listeners, TLS, status page, metrics, logs, reload, workers and a graceful stop, as the variables in .env say.
// With GATEWAY_CONFIG, the app has the services and routes of that file in place of one service.
await runGateway({ app: process.env.GATEWAY_CONFIG ? standardApp : createApp });
