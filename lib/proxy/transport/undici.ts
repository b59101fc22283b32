/// <reference path="./undici-files.d.ts" />
import type undici from 'undici';
import type { buildConnector as Build, Dispatcher, Client as UndiciClient } from 'undici';
import apiRequest from 'undici/lib/api/api-request.js';
import connect from 'undici/lib/core/connect.js';
import undiciErrors from 'undici/lib/core/errors.js';
import client from 'undici/lib/dispatcher/client.js';

// The parts of undici that the proxy uses. The whole package also loads fetch, WebSocket and caches: 5 MB and 45 ms of each start. It
// also replaces the agent of Node's own fetch() in this process. contract/undici.test.ts pins these files.
export const buildConnector: typeof undici.buildConnector = connect;
export const errors: typeof undici.errors = undiciErrors;
export const Client: typeof undici.Client = client;
/** The whole package makes it a method of every client. */
export const request = (client: UndiciClient, options: Dispatcher.RequestOptions): Promise<Dispatcher.ResponseData> =>
  (apiRequest as UndiciClient['request']).call(client, options) as Promise<Dispatcher.ResponseData>;
export type Client = UndiciClient;
export type ClientOptions = UndiciClient.Options;
export type Connector = Build.connector;
