/// <reference path="./undici-files.d.ts" />
import type undici from 'undici';
import type { buildConnector as Build, Client as UndiciClient } from 'undici';
import connect from 'undici/lib/core/connect.js';
import undiciErrors from 'undici/lib/core/errors.js';
import client from 'undici/lib/dispatcher/client.js';

// The parts of undici that the proxy uses. The whole package also loads fetch, WebSocket and caches: 5 MB and 45 ms of each start. It
// also replaces the agent of Node's own fetch() in this process. contract/undici.test.ts pins these files.
export const buildConnector: typeof undici.buildConnector = connect;
export const errors: typeof undici.errors = undiciErrors;
export const Client: typeof undici.Client = client;
export type Client = UndiciClient;
export type ClientOptions = UndiciClient.Options;
export type Connector = Build.connector;
